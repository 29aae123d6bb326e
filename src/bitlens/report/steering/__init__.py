"""The page of a steering run."""
