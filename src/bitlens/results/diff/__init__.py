"""What a twin changes in the reference's activations, as numbers, and the file they are in."""
