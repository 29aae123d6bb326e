"""What does the size of an SAE, its penalty, its training and its data do to what a compressed
model shares with its reference? A grid of SAEs trained on both."""
