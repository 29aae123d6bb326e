"""Ways to make a twin, one a file; importing the package registers them."""

from bitlens.compress import cast, controls, prune, rtn
from bitlens.compress.text import format, parse

__all__ = ["cast", "controls", "format", "parse", "prune", "rtn"]
