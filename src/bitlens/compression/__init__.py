"""Ways to make a twin, one a file; `compression.COMPRESSIONS` knows where each is."""

from bitlens.compression.spec import format_spec, parse_spec

__all__ = ["format_spec", "parse_spec"]
