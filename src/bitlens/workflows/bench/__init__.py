"""Benchmarks: the harness' tasks asked of a model and all its twins."""
