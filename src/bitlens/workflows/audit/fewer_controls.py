"""Cells in parts: all on the same documents, or the controls, and the twins beside them, on fewer.

Controls are half of an audit's forwards, and what they are for, to say whether a twin does more
damage than they, takes fewer documents than the twin's own numbers. Twins are compared with them on
the same documents: what is paired with a control is measured there once more.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bitlens.compression.requests import TwinRequest
from bitlens.compression.twin_builder import BuiltTwins
from bitlens.config.share import share_of
from bitlens.results.counts import count
from bitlens.results.records import FEWEST
from bitlens.workflows.audit.cells import Cells
from bitlens.workflows.audit.selection import Selection
from bitlens.workflows.session import Session, narrowed


@dataclass(frozen=True, eq=False, kw_only=True)
class CellPart:
    """Cells of one model and seed that are measured in one sweep."""

    session: Session
    selection: Selection
    requests: Sequence[TwinRequest]
    """Those of its twins."""
    cells: Cells


def cell_parts(
    session: Session,
    selection: Selection,
    requests: Sequence[TwinRequest],
    built: BuiltTwins,
) -> list[CellPart]:
    """All cells; or those of the twins, and those of controls with what is compared with them."""
    whole = CellPart(
        session=session,
        selection=selection,
        requests=requests,
        cells=Cells.of(session, selection, requests, built),
    )
    asked, corpus = session.study.controls_on, session.corpus
    size = max(FEWEST, share_of(asked, corpus.n_units)) if asked else corpus.n_units
    if size >= corpus.n_units or not any(r.control and not r.floor for r in requests):
        return [whole]
    fewer = narrowed(session, corpus.first_units(size))
    there = replace(selection, plan=fewer.plan(own=selection.own))
    both = [request for request in requests if not request.floor]
    cells = Cells.of(fewer, there, both, built)
    controls = {request.text for request in both if request.control}
    # What reads no text of these is the same on however many of them.
    of_texts = {n for n in selection.names if n not in selection.own and selection.sites(n)}
    kept = {k: c for k, c in cells.by_key.items() if k[0] in controls or k[1] in of_texts}
    twins = {k: c for k, c in whole.cells.by_key.items() if k[0] not in controls}
    session.log(f"{_told(size, corpus.n_units)} ({count(len(controls), 'control')}).")
    return [
        replace(whole, cells=replace(whole.cells, by_key=twins)),
        CellPart(
            session=fewer,
            selection=there,
            # What single texts show is shown of all texts.
            requests=[replace(request, control=True) for request in both],
            cells=replace(cells, by_key=kept),
        ),
    ]


def joined(parts: Sequence[CellPart], requests: Sequence[TwinRequest]) -> Cells:
    """The cells of all parts, in the order of what was asked for."""
    whole, *rest = (part.cells for part in parts)
    if not rest:
        return whole
    (other,) = rest
    mine = {text for text, _ in whole.by_key}
    order = {request.text: number for number, request in enumerate(requests)}
    found = {**{k: c for k, c in other.by_key.items() if k[0] not in mine}, **whole.by_key}
    paired = {
        key: cell.id
        for key, cell in other.by_key.items()
        if key[0] in mine and key not in other.failed
    }
    return replace(
        whole,
        by_key=dict(sorted(found.items(), key=lambda item: order[item[0][0]])),
        # A twin that fails beside the controls alone has its cell of all documents.
        failed={
            **{key: why for key, why in other.failed.items() if key[0] not in mine},
            **whole.failed,
        },
        paired=paired,
    )


def about_controls(parts: Sequence[CellPart]) -> list[str]:
    """What the reader should know of the documents of the controls."""
    if len(parts) == 1:
        return []
    whole, fewer = (part.session.corpus.n_units for part in parts)
    return [f"{_told(fewer, whole)}: their intervals, and contrasts with them, are of these."]


def _told(size: int, every: int) -> str:
    return f"Controls, and twins beside them, on the first {size:,} of {count(every, 'document')}"
