"""Trackers: experiment loggers that finished results are handed to, by their own libraries."""
