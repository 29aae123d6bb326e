"""The table of every matrix of a model, or of a twin beside its reference."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bitlens.compression import parse_spec
from bitlens.compression.compression import Compression
from bitlens.compression.coverage import Row, total
from bitlens.compression.methods.checkpoint import Checkpoint
from bitlens.compression.twin import CompressedTwin
from bitlens.config.study import Study
from bitlens.report.page.parts import Column, Table
from bitlens.report.text.numbers import plain, size
from bitlens.workflows.session import Log, Session

COLUMNS = {
    "module": False,
    "kind": False,
    "format": False,
    "bits": True,
    "group": True,
    "size": True,
    "changed": True,
    "SQNR, dB": True,
    "note": False,
}
"""Titles, and whether they stand over numbers."""


def checkpoint_at(place: str) -> Compression:
    """What stands for a model that was compressed elsewhere: a folder, a file or a hub id."""
    return Checkpoint(path=place)


def of_model(study: Study) -> Table:
    """How the model of a study of one is stored; what there is to know of its weights stands below.
    BitlensError for a model that does not fit into memory."""
    session = Session.in_memory(study, log=lambda _: None)
    rows = CompressedTwin(session.layout, parse_spec("nothing")).coverage()
    made = table(rows, compared=False)
    return replace(made, caption=" ".join([*session.loaded.notes, made.caption]))


def of_twin(study: Study, log: Log) -> Table:
    """A twin compared with its reference, module by module; nothing is assumed. BitlensError for a
    twin that cannot be made."""
    _, twin = Session.in_memory(study, log).build_twin()
    twin.complete_coverage()
    return table(twin.coverage(), compared=True)


def table(rows: Sequence[Row], *, compared: bool = True) -> Table:
    """One row a parameter, in the model's order, and the sum of it all below."""
    return Table(
        tuple(Column(title, numeric) for title, numeric in COLUMNS.items()),
        tuple(_row(row, compared=compared) for row in rows),
        f"{summary(rows, compared=compared)} group: input columns that share a scale.",
    )


def summary(rows: Sequence[Row], *, compared: bool = True) -> str:
    """All of the rows in a sentence."""
    whole = total(rows)
    told = f"{whole.whole_bits:.2f} bits per weight over all {whole.parameters:,} parameters, "
    told += size(whole.bytes)
    if compared:
        told += " when packed"
        told += f"; {whole.changed:.1%} of them changed"
        if whole.bits is not None:
            told += f"; {whole.bits:.2f} bits per weight over what was compressed"
    return f"{told}."


def stored(folder: Path) -> str:
    """How much room the weights in a model folder take, in a sentence."""
    taken = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return f"As an ordinary folder, with every weight stored in full, it takes {size(taken)}."


def _row(row: Row, *, compared: bool) -> tuple[str, ...]:
    return (
        row.module,
        row.kind,
        row.format if row.compressed or not row.note.startswith("tied") else "",
        plain(row.bits, 2),
        str(row.group) if row.group else "",
        size(row.bytes) if row.parameters else "",
        f"{row.changed:.1%}" if compared and row.parameters else "",
        plain(row.sqnr_db, 1) if row.sqnr_db is not None else "",
        row.note if compared or row.note.startswith("tied") else "",
    )
