"""Tests of trackers: what is handed to each, read back by its own library."""
