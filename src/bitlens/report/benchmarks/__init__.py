"""Benchmarks on a page: sentences, tables, charts, and the page of benchmarks alone."""
