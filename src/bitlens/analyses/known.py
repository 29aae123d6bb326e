"""The register of analyses: their names, and the file that each is in."""

from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from bitlens.registry import Registry

if TYPE_CHECKING:
    from bitlens.engine.analysis import Question

_NO_ANALYSES = {"correlation", "known", "predictions", "written"}
"""Modules that stand beside the analyses and are none."""

_HOMES = {
    module.name: f"bitlens.analyses.{module.name}{'.analysis' if module.ispkg else ''}"
    for module in iter_modules([str(Path(__file__).parent)])
    if module.name not in _NO_ANALYSES
}
"""Where each is: a file of its name, or the file `analysis` of a folder of its name."""

ON_REQUEST = frozenset({"causal", "probes"})
"""Analyses that are run only where they are named: they read texts of their own."""


ANALYSES: "Registry[Question]" = Registry("analysis", "bitlens.analyses", _HOMES)
