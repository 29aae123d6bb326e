"""What a twin changes in the reference's activations: how structured it is, where it lies, and what
it says."""
