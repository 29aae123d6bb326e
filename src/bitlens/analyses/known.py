"""The register of analyses: their names, and the file that each is in."""

from typing import TYPE_CHECKING

from bitlens.registry import Registry

if TYPE_CHECKING:
    from bitlens.engine.analysis import Analysis

_NAMES = ("attention", "behaviour", "geometry", "heads", "lens", "transfer")

ANALYSES: "Registry[Analysis]" = Registry(
    "analysis",
    "bitlens.analyses",
    {"features": "bitlens.analyses.features.analysis"}
    | {name: f"bitlens.analyses.{name}" for name in _NAMES},
)
