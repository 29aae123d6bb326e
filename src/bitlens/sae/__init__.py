"""Sparse autoencoders: what they are, how they are read, whether they fit, how they are trained."""
