"""The analyses, one question a file; importing this registers them."""

from bitlens.analyses import attention, behaviour, features, geometry, heads, lens, transfer
from bitlens.analyses.analysis import ANALYSES, Analysis

__all__ = [
    "ANALYSES",
    "Analysis",
    "attention",
    "behaviour",
    "features",
    "geometry",
    "heads",
    "lens",
    "transfer",
]
