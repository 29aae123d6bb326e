"""What is in every matrix of a model, or of a twin beside its reference? The table alone."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from bitlens.compression import parse_spec
from bitlens.compression.compression import Compression
from bitlens.compression.coverage import Row, total
from bitlens.compression.methods.checkpoint import Checkpoint
from bitlens.compression.twin import CompressedTwin
from bitlens.config.study import Study
from bitlens.report.page.parts import Column, Table
from bitlens.report.text.numbers import plain, size
from bitlens.workflows.session import build_twin, load_whole

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
    """As the model itself is stored."""
    loaded, layout = load_whole(study)
    rows = CompressedTwin(layout, parse_spec("nothing")).coverage()
    made = table(rows, compared=False)
    return replace(made, caption=" ".join([*loaded.notes, made.caption]))


def of_twin(study: Study, log: Callable[[str], None]) -> Table:
    """A twin compared with its reference, module by module; nothing is assumed."""
    _, _, twin = build_twin(study, log)
    twin.complete_coverage()
    return table(twin.coverage(), compared=True)


def table(rows: Sequence[Row], compared: bool = True) -> Table:
    """One row a parameter, in the model's order, and the sum of it all below."""
    return Table(
        tuple(Column(title, numeric) for title, numeric in COLUMNS.items()),
        tuple(_row(row, compared) for row in rows),
        f"{summary(rows, compared)} group: input columns that share a scale.",
    )


def summary(rows: Sequence[Row], compared: bool = True) -> str:
    """All of the rows in a sentence."""
    whole = total(rows)
    told = f"{whole.whole_bits:.2f} bits per weight over all {whole.parameters:,} parameters, "
    told += size(whole.bytes)
    if compared:
        told += f"; {whole.changed:.1%} of them changed"
        if whole.bits is not None:
            told += f"; {whole.bits:.2f} bits per weight over what was compressed"
    return f"{told}."


def _row(row: Row, compared: bool) -> tuple[str, ...]:
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
