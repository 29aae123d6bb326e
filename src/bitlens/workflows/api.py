"""An audit from Python: results and the report in one call."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bitlens.compression.compression import Compression
from bitlens.config.study import audit_of, refuse_absent
from bitlens.report.build import build as build_report
from bitlens.results.store import Store
from bitlens.workflows.audit.run import run

__all__ = ["audit", "build_report"]


def audit(
    model: str,
    to: str | Iterable[str | Compression],
    out: str | Path,
    log: Callable[[str], None] = print,
    replace: bool = False,
    **settings: Any,
) -> Store:
    """What does a model lose under these compressions? Results and report.html in the folder out.

    `model` is a hub id or a folder; `settings` are the fields of Study and ModelSource by name
    (`tokens=10_000, dtype="bfloat16"`). What is already in `out` is not computed again; what a run
    of other settings left there is refused unless `replace`.
    BitlensError for whatever is unknown, absent or impossible.
    """
    study = audit_of(model, to, **settings)
    given = {"to": list(study.compressions), "out": str(out), **settings}
    arguments = ", ".join([repr(model), *(f"{name}={value!r}" for name, value in given.items())])
    refuse_absent(study)
    store = run(study, Path(out), f"bitlens.audit({arguments})", log, replace=replace)
    build_report(store.root)
    return store
