"""Benchmarks over local files: what is asked for, and tasks that bitlens defines itself."""
