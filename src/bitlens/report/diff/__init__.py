"""The page of a run of `diff`."""
