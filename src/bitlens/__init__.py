"""Measures of what survives of a language model's interpretable structure under compression.

The public names. Each is imported when it is first used, so that importing bitlens is quick.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING

if _TYPE_CHECKING:
    from typing import Any

    from bitlens.compression import format_spec, parse_spec
    from bitlens.config.study import Study, load_study
    from bitlens.errors import (
        BitlensError,
        CapacityError,
        DataError,
        InputError,
        ModelError,
        ResultsError,
        SaeError,
    )
    from bitlens.models.source import ModelSource
    from bitlens.report.audit import Audit
    from bitlens.report.audit import open_run as open  # noqa: A004
    from bitlens.report.build import build as build_report
    from bitlens.results.store import Store
    from bitlens.sae.formats.load import load_sae
    from bitlens.workflows.api import audit, twin
    from bitlens.workflows.audit.run import run

_ERRORS = "bitlens.errors"
_HOMES = {
    "Audit": "bitlens.report.audit",
    "BitlensError": _ERRORS,
    "CapacityError": _ERRORS,
    "DataError": _ERRORS,
    "InputError": _ERRORS,
    "ModelError": _ERRORS,
    "ModelSource": "bitlens.models.source",
    "ResultsError": _ERRORS,
    "SaeError": _ERRORS,
    "Store": "bitlens.results.store",
    "Study": "bitlens.config.study",
    "audit": "bitlens.workflows.api",
    "build_report": "bitlens.report.build:build",
    "format_spec": "bitlens.compression",
    "load_sae": "bitlens.sae.formats.load",
    "load_study": "bitlens.config.study",
    "open": "bitlens.report.audit:open_run",
    "parse_spec": "bitlens.compression",
    "run": "bitlens.workflows.audit.run",
    "twin": "bitlens.workflows.api",
}
"""Where each name is, and what it is called there where that is something else."""

__all__ = [
    "Audit",
    "BitlensError",
    "CapacityError",
    "DataError",
    "InputError",
    "ModelError",
    "ModelSource",
    "ResultsError",
    "SaeError",
    "Store",
    "Study",
    "audit",
    "build_report",
    "format_spec",
    "load_sae",
    "load_study",
    "open",
    "parse_spec",
    "run",
    "twin",
]


def __getattr__(name: str) -> "Any":
    from importlib import import_module

    if name == "__version__":
        from importlib.metadata import version

        return version("bitlens")
    if name not in _HOMES:
        raise AttributeError(f"module 'bitlens' has no attribute {name!r}")
    module, _, called = _HOMES[name].partition(":")
    return getattr(import_module(module), called or name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
