"""Ways to make a twin, one a file; `compression.COMPRESSIONS` knows where each is."""

from bitlens.compression.spec import format, parse

__all__ = ["format", "parse"]
