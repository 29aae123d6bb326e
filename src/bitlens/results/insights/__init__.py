"""What several cells of a store say together: numpy and scipy only."""
