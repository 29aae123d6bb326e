"""What several cells of a store say together: numpy, scipy and scikit-learn only."""
