"""Contexts of features: where each fires most, in either model, and on what text.

A second, small sweep over documents that the first one chose: enough of them to show every
feature's top positions, read by the reference and the twins up to the SAE's site.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitlens.analyses.features.analysis import BITS
from bitlens.data.corpus import Corpus
from bitlens.engine.runs import REFERENCE
from bitlens.engine.step import Step
from bitlens.engine.swept_model import SweptModel
from bitlens.results.records import DetailTable
from bitlens.sae.placed_sae import PlacedSae
from bitlens.workflows.audit.few_rows import read_rows
from bitlens.workflows.session import Session

DOCUMENTS_SHARE, FEWEST = 4, 4
"""Contexts come from one document in four at most, or from so many."""
SHOWN = 3
"""Top positions shown of a feature in each model."""
BEFORE, AFTER = 16, 8
"""Tokens shown around a top position."""


@dataclass(frozen=True, kw_only=True)
class TopPosition:
    """A top position of a feature."""

    sae: str
    site: str
    latent: int
    found: str
    """Whose top position it is: `reference` or `twin`."""
    rank: int
    document: int
    offset: int


Codes = dict[tuple[str, str, int], dict[int, np.ndarray]]
"""By model, SAE and row of the corpus: activations of each latent over the row."""


def contexts(
    session: Session,
    twins: Mapping[str, SweptModel],
    placed: Sequence[PlacedSae],
    wanted: Mapping[str, DetailTable],
    hidden_bytes: int,
) -> dict[str, DetailTable]:
    """The table `contexts` of every twin. `wanted`: by twin, the top positions of its features, as
    the analysis found them; `hidden_bytes`: of the hidden states that are held at a time."""
    corpus, texts = session.corpus, session.texts
    places = {twin: _places(shown) for twin, shown in wanted.items()}
    chosen = _documents([p for ps in places.values() for p in ps], corpus)
    kept = {twin: _shown([p for p in ps if p.document in chosen]) for twin, ps in places.items()}
    latents: dict[str, set[int]] = {}
    rows: dict[int, int] = {}
    for p in (p for ps in kept.values() for p in ps):
        latents.setdefault(p.sae, set()).add(p.latent)
        row = texts.row(p.document, p.offset)
        rows[row] = max(rows.get(row, 0), p.offset - int(corpus.starts[row]) + AFTER + 1)
    if not rows:
        return {}
    reader = _ContextReader(
        session=session,
        twins={name: twin for name, twin in twins.items() if name in kept},
        placed=[p for p in placed if p.sae.label in latents],
        latents=latents,
        rows=rows,
    )
    codes = reader.codes(hidden_bytes)
    return {
        twin: DetailTable("contexts", _columns(ps, codes, twin, session))
        for twin, ps in kept.items()
        if ps
    }


def _places(shown: DetailTable) -> list[TopPosition]:
    found: list[TopPosition] = []
    ranks: dict[tuple[str, int, str], int] = {}
    for sae, where, latent, who, position in zip(*shown.columns.values(), strict=True):
        rank = ranks.get((sae, latent, who), 0)
        ranks[(sae, latent, who)] = rank + 1
        found.append(
            TopPosition(
                sae=sae,
                site=where,
                latent=latent,
                found=who,
                rank=rank,
                document=position >> BITS,
                offset=position & ((1 << BITS) - 1),
            )
        )
    return found


def _documents(places: Sequence[TopPosition], corpus: Corpus) -> set[int]:
    """A few documents that hold places of as many features as can be: each the one that adds
    most, high ranks counting more."""
    room = max(FEWEST, corpus.n_documents // DOCUMENTS_SHARE)
    left = {(p.sae, p.latent, p.found) for p in places}
    by_document: dict[int, dict[tuple[str, int, str], float]] = {}
    for p in places:
        gains = by_document.setdefault(p.document, {})
        key = (p.sae, p.latent, p.found)
        gains[key] = max(gains.get(key, 0.0), 1 / (1 + p.rank))
    chosen: set[int] = set()
    while left and len(chosen) < room:
        gain = {
            d: sum(g for key, g in gains.items() if key in left)
            for d, gains in by_document.items()
            if d not in chosen
        }
        best = max(sorted(gain), key=lambda d: gain[d], default=None)
        if best is None or not gain[best]:
            break
        chosen.add(best)
        left -= by_document[best].keys()
    return chosen


def _shown(places: Sequence[TopPosition]) -> list[TopPosition]:
    """The highest of each feature's places in each model."""
    count: dict[tuple[str, int, str], int] = {}
    kept = []
    for p in sorted(places, key=lambda p: p.rank):
        key = (p.sae, p.latent, p.found)
        count[key] = count.get(key, 0) + 1
        if count[key] <= SHOWN:
            kept.append(p)
    return sorted(kept, key=lambda p: (p.sae, p.latent, p.found, p.rank))


@dataclass(frozen=True, eq=False, kw_only=True)
class _ContextReader:
    """The small sweep over the rows that are shown."""

    session: Session
    twins: Mapping[str, SweptModel]
    placed: Sequence[PlacedSae]
    latents: Mapping[str, set[int]]
    """By SAE, those that are shown."""
    rows: Mapping[int, int]
    """By row of the corpus, how many tokens of it are shown; later ones change nothing before
    them."""

    @torch.no_grad()
    def codes(self, hidden_bytes: int) -> Codes:
        """Activations of the shown latents on the chosen rows, by the reference and every twin."""
        by_row: Codes = {}
        numbers = list(self.rows)
        for step in self._steps(hidden_bytes):
            for name, activations in step.activations.items():
                for p in self.placed:
                    if p.site in activations and name not in step.again:
                        values = activations[p.site].flatten(0, 1)[step.index]
                        latents = sorted(self.latents[p.sae.label])
                        found = _codes_of(p, values.float(), latents)
                        for place, row in _by_row(step.batch.document[step.index]):
                            of = {latent: codes[place] for latent, codes in found.items()}
                            by_row[(name, p.sae.label, numbers[row])] = of
            del step
        return by_row

    def _steps(self, hidden_bytes: int) -> Iterator[Step]:
        rows = self.session.corpus.rows
        return read_rows(
            self.session,
            self.twins,
            [rows[row][:count] for row, count in self.rows.items()],
            {p.site for p in self.placed},
            hidden_bytes,
        )


def _codes_of(placed: PlacedSae, values: Tensor, latents: Sequence[int]) -> dict[int, np.ndarray]:
    """Latent to its activation at every position."""
    codes = placed.sae.codes(values)
    found = {}
    for latent in latents:
        mine = codes.latent == latent
        dense = torch.zeros(codes.rows)
        dense[codes.row[mine].cpu()] = codes.value[mine].cpu()
        found[latent] = dense.numpy()
    return found


def _by_row(document: Tensor) -> list[tuple[np.ndarray, int]]:
    """Where each row's positions are."""
    numbers = document.cpu().numpy()
    return [(np.flatnonzero(numbers == row), int(row)) for row in np.unique(numbers)]


def _columns(
    places: Sequence[TopPosition], read: Codes, twin: str, session: Session
) -> dict[str, list[Any]]:
    corpus, texts = session.corpus, session.texts
    columns: dict[str, list[Any]] = {}
    for p in places:
        row = texts.row(p.document, p.offset)
        if (twin, p.sae, row) not in read:
            continue
        peak = p.offset - int(corpus.starts[row])
        begin, end = max(0, peak - BEFORE), peak + AFTER + 1
        activations = {
            who: read[(name, p.sae, row)][p.latent][begin:end].tolist()
            for who, name in (("reference", REFERENCE), ("twin", twin))
        }
        values = {
            "sae": p.sae,
            "site": p.site,
            "latent": p.latent,
            "found": p.found,
            "rank": p.rank,
            "document": texts.document(p.document),
            "offset": p.offset,
            "peak": peak - begin,
            "tokens": [texts.token(int(t)) for t in corpus.rows[row][begin:end]],
            **activations,
        }
        for name, value in values.items():
            columns.setdefault(name, []).append(value)
    return columns
