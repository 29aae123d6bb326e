"""The analyses, one question a file; importing this registers them."""

from bitlens.analyses import behaviour, geometry
from bitlens.analyses.analysis import ANALYSES, Analysis

__all__ = ["ANALYSES", "Analysis", "behaviour", "geometry"]
