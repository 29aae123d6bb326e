"""A study of SAEs: what their size, penalty, training and data do to what a compressed model shares
with its reference. A grid of SAEs, trained on both."""
