"""A twin as a folder of its own, and the record of how it was made."""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bitlens.compression import parse_spec
from bitlens.compression.checkpoints.plain import RECORD
from bitlens.compression.coverage import Row
from bitlens.compression.methods.checkpoint import Checkpoint
from bitlens.compression.twin import Twin
from bitlens.compression.twin_builder import BuiltTwins
from bitlens.config.study import Study
from bitlens.errors import InputError, ModelError, ResultsError
from bitlens.models.files import weights_hash
from bitlens.results.counts import count
from bitlens.results.files.reading import read_json
from bitlens.results.files.writing import ROOM, explained, new_folder, reserved, write
from bitlens.workflows.session import Log, Session, log_unread

MATRICES = ("block", "router", "embedding", "unembedding")
"""Kinds of parameters of which a module has one: its name stands for it."""


def save(study: Study, out: Path, log: Log) -> Sequence[Row]:
    """Write the twin of a study of one model and one compression: a transformers folder with its
    weights and tokenizer, and a record of how it was made. The rows of its coverage table; none
    where the folder holds this very twin already.

    All of the folder appears at once, or nothing. BitlensError where there is something already,
    where nothing can be written, and for what cannot be made.
    """
    (text,) = study.compressions
    if isinstance(parse_spec(text), Checkpoint):
        raise InputError(
            f"{text} is a model already.",
            "a compression that bitlens makes, such as rtn:bits=4.",
            "copy it as it is: cp -r.",
        )
    log_unread(study, log)
    if (out / RECORD).is_file():
        with reserved(out, "--save"):
            session = Session.in_memory(study, log)
            built, _ = session.build_twin()
            _require(out, _made_by(session, built))
        log(f"{out} holds this twin already; nothing to do.")
        return ()
    with new_folder(out, "--save") as aside:
        session = Session.in_memory(study, log)
        built, twin = session.build_twin()
        rows, dtype = _write(aside, out, session, built=built, twin=twin)
    _log_rounding(session, twin, text, dtype)
    return rows


def _write(
    aside: Path, out: Path, session: Session, *, built: BuiltTwins, twin: Twin
) -> tuple[Sequence[Row], str]:
    """Write a twin to the folder `aside`, which becomes `out`; the rows of its coverage table, and
    the dtype it is stored in."""
    model = twin.model(rounding=False)
    rows, dtype = twin.coverage(), str(model.dtype).removeprefix("torch.")
    if model.dtype == session.layout.dtype and not any(row.changed for row in rows):
        (text,) = built.twins
        raise ModelError(
            f"{text} changes no weight of {session.loaded.name}: the folder would be a copy.",
            "a compression that changes something.",
            "--with rtn:bits=4; or copy the folder.",
        )
    record = {**_made_by(session, built), **_found(twin, rows, dtype)}
    with explained(out, ROOM, "another --save."):
        model.save_pretrained(aside)
        session.loaded.tokenizer.save_pretrained(aside)
        record["weights"] = weights_hash(aside)
        written = json.dumps(record, indent=1, allow_nan=False)
        write(aside / RECORD, f"{written}\n".encode())
    return rows, dtype


def _log_rounding(session: Session, twin: Twin, text: str, dtype: str) -> None:
    """What of a twin an ordinary folder does not hold."""
    if twin.narrowed:
        session.log(
            f"The folder is stored in {dtype}, as {session.loaded.name} is: what {text} makes of "
            f"{count(len(twin.narrowed), 'matrix')} is rounded to that, which an audit of it does "
            "not do. --dtype float32 keeps it exact."
        )
    if twin.rounded:
        session.log(
            f"An ordinary folder holds weights only. That the inputs of {len(twin.rounded)} "
            f"matrices are rounded too stands in {RECORD}; what loads the folder will not do it."
        )


def _require(out: Path, wanted: Mapping[str, Any]) -> None:
    """BitlensError where a folder holds another twin, or weights that are not those of its
    record."""
    there = read_json(out / RECORD)
    known = there if isinstance(there, dict) else {}
    now = json.loads(json.dumps(wanted)) | {"weights": weights_hash(out)}
    differing = [
        f"{name} {known.get(name)}, not {value}"
        for name, value in now.items()
        if known.get(name) != value
    ]
    if differing:
        raise ResultsError(
            f"{out} holds something else: {'; '.join(differing)}.",
            "a new or empty folder, or the same twin, whole.",
            "another --save.",
        )


def _made_by(session: Session, built: BuiltTwins) -> dict[str, Any]:
    """What decides about the one twin that was built."""
    (compression,) = built.twins
    corpus = built.calibration
    return {
        "bitlens": version("bitlens"),
        "model": session.loaded.name,
        "reference": session.loaded.fingerprint,
        "compression": compression,
        "seed": session.seed,
        "dtype": str(session.layout.dtype).removeprefix("torch."),
        "calibration": corpus
        and {
            "name": corpus.name,
            "documents": corpus.n_documents,
            "tokens": corpus.n_tokens,
            "sha256": corpus.token_hash,
        },
    }


def _found(twin: Twin, rows: Sequence[Row], dtype: str) -> dict[str, Any]:
    """What came of it, matrix by matrix; `dtype`: what the folder is stored in."""
    return {
        "matrices": {
            row.module: {"bits": row.bits, "group": row.group, "note": row.note}
            for row in rows
            if row.compressed and row.kind in MATRICES
        },
        "inputs_rounded": sorted(twin.rounded),
        "stored": {
            "dtype": dtype,
            "rounded to it": sorted(twin.narrowed),
        },
    }
