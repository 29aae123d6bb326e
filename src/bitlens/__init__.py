"""Measures of what survives of a language model's interpretable structure under compression.

The public names. Each is imported when it is first used, so that importing bitlens is quick.
"""

from importlib import import_module
from importlib.metadata import version
from typing import Any

_HOMES = {
    **dict.fromkeys(
        (
            "BitlensError",
            "CapacityError",
            "DataError",
            "InputError",
            "ModelError",
            "ResultsError",
            "SaeError",
        ),
        "bitlens.errors",
    ),
    "ModelSource": "bitlens.models.source",
    "Store": "bitlens.results.store",
    "Study": "bitlens.config.study",
    "audit": "bitlens.workflows.api",
    "build_report": "bitlens.workflows.api",
    "format_spec": "bitlens.compression",
    "load_study": "bitlens.config.study",
    "parse_spec": "bitlens.compression",
    "run": "bitlens.workflows.audit.run",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("bitlens")
    if name not in _HOMES:
        raise AttributeError(f"module 'bitlens' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
