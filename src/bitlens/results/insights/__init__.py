"""What several cells of a store say together: numpy alone."""
