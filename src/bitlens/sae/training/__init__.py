"""Training of sparse autoencoders from activations."""
