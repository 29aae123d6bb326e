"""Ways to make a twin, one a file; importing the package registers them."""

from bitlens.compress import cast, checkpoint, controls, prune, rtn
from bitlens.compress.text import format, parse

__all__ = ["cast", "checkpoint", "controls", "format", "parse", "prune", "rtn"]
