"""Running what is missing of a study: load, compress, sweep, write."""

import time
from collections.abc import Callable
from pathlib import Path

import torch

from bitlens.calibration import say_unread
from bitlens.errors import BitlensError, failed
from bitlens.estimate import contrasts, estimates
from bitlens.manifest import Done, cell_entry, make_manifest, run_record
from bitlens.model_audit import Audit
from bitlens.models.source import ModelSource, name_of
from bitlens.records import Cell
from bitlens.store import CONTRASTS, COVERAGE, ESTIMATES, Store
from bitlens.study import Study, refuse_absent_texts
from bitlens.sweep import share_one_heap


def run(
    study: Study,
    out: Path,
    command: str,
    say: Callable[[str], None] = print,
    keep_going: bool = False,
) -> Store:
    """Compute what is missing of a study and leave a complete store.

    Prints through `say` what each sweep will cost before it starts. With `keep_going` a model or
    compression that fails is recorded with its reason and the others go on; without, the error
    is raised.
    """
    _refuse_namesakes(study)
    refuse_absent_texts(study)
    say_unread(study, say)
    share_one_heap()
    store = Store.create(out)
    with store.alone():
        _run(study, store, command, say, keep_going)
    return store


def _run(
    study: Study, store: Store, command: str, say: Callable[[str], None], keep_going: bool
) -> None:
    started, done = time.monotonic(), Done()
    for source in study.models:
        for seed in study.seeds:
            try:
                Audit(study, source, seed, store, say, keep_going).run(done)
            except torch.OutOfMemoryError as error:
                if not keep_going:
                    raise _out_of_memory(source) from error
                _record_failure(study, source, seed, str(_out_of_memory(source)), done)
            except Exception as error:
                # One model that cannot be audited, for whatever reason, stops no other.
                if not keep_going:
                    raise
                reason = str(error) if isinstance(error, BitlensError) else repr(error)
                _record_failure(study, source, seed, reason, done)
    if not any(cell["status"] == "done" for cell in done.cells):
        reasons = sorted({cell["reason"] for cell in done.cells})
        raise failed("Every cell", reasons[0])
    manifest = make_manifest(study, command, done)
    store.write_table("coverage", done.coverage, COVERAGE)
    store.write_table("estimates", estimates(store, manifest, study.interval), ESTIMATES)
    store.write_table("contrasts", contrasts(store, manifest, study.interval), CONTRASTS)
    store.write_json("run", run_record(time.monotonic() - started))
    store.write_manifest(manifest)
    store.clear_partial()


def _refuse_namesakes(study: Study) -> None:
    """Rows are told apart by their model's name."""
    names = [name_of(source) for source in study.models]
    for name in names:
        if names.count(name) > 1:
            raise BitlensError(
                f"{names.count(name)} models of this study are called {name}.",
                "models with different names (of a folder, its last part counts).",
                "a study for each, with an --out of its own.",
            )


def _out_of_memory(source: ModelSource) -> BitlensError:
    return BitlensError(
        f"{source.name} ran out of memory.",
        "room for the weights, one block for every twin and the hidden states of a wave.",
        "less --memory (more waves, blocks from disk), fewer compressions or a shorter --context.",
    )


def _record_failure(study: Study, source: ModelSource, seed: int, reason: str, done: Done) -> None:
    """A model that could not be audited at all."""
    name = name_of(source)
    for text in study.compressions:
        for analysis in study.analyses:
            cell = Cell(name, text, analysis, seed)
            done.cells.append(cell_entry(cell, "failed", reason))
