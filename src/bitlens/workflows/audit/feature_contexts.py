"""Where does a feature fire most, in either model, and on what text?

A second, small sweep over documents that the first one chose: enough of them to show every
feature's top positions, read by the reference and the twins up to the SAE's site.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitlens.analyses.features.analysis import BITS
from bitlens.data.corpus import Corpus
from bitlens.data.display import CorpusTexts
from bitlens.engine.plan import CORPUS, make_plan
from bitlens.engine.sweep import REFERENCE, ForwardRun, ReadRequest, Sweep
from bitlens.engine.swept_model import Reference, SweptModel
from bitlens.models.layout import Layout
from bitlens.models.sites import site
from bitlens.results.records import DetailTable
from bitlens.sae.placed_sae import PlacedSae

DOCUMENTS_SHARE, FEWEST = 4, 4
"""Contexts come from one document in four at most, or from so many."""
SHOWN = 3
"""Top positions shown of a feature in each model."""
BEFORE, AFTER = 16, 8
"""Tokens shown around a top position."""


@dataclass(frozen=True)
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
"""By stream, SAE and row of the corpus: activations of each latent over the row."""


def contexts(
    layout: Layout,
    twins: Mapping[str, SweptModel],
    placed: Sequence[PlacedSae],
    wanted: Mapping[str, DetailTable],
    corpus: Corpus,
    texts: CorpusTexts,
    batch_tokens: int,
    hidden_bytes: int,
) -> dict[str, DetailTable]:
    """The table `contexts` of every twin. `wanted`: by twin, the places of its features."""
    places = {twin: _places(shown) for twin, shown in wanted.items()}
    chosen = _documents([p for ps in places.values() for p in ps], corpus)
    kept = {twin: _shown([p for p in ps if p.document in chosen]) for twin, ps in places.items()}
    latents: dict[str, set[int]] = {}
    for p in (p for ps in kept.values() for p in ps):
        latents.setdefault(p.sae, set()).add(p.latent)
    rows: dict[int, int] = {}
    for p in (p for ps in kept.values() for p in ps):
        row = texts.row(p.document, p.offset)
        rows[row] = max(rows.get(row, 0), p.offset - int(corpus.starts[row]) + AFTER + 1)
    if not rows:
        return {}
    used = [p for p in placed if p.sae.label in latents]
    mine = {name: twin for name, twin in twins.items() if name in kept}
    read = _read(layout, mine, used, latents, corpus, rows, batch_tokens, hidden_bytes)
    return {
        twin: DetailTable("contexts", _columns(ps, read, twin, corpus, texts))
        for twin, ps in kept.items()
        if ps
    }


def _places(shown: DetailTable) -> list[TopPosition]:
    found: list[TopPosition] = []
    ranks: dict[tuple[str, int, str], int] = {}
    for sae, where, latent, who, position in zip(*shown.columns.values(), strict=True):
        rank = ranks.get((sae, latent, who), 0)
        ranks[(sae, latent, who)] = rank + 1
        document, offset = position >> BITS, position & ((1 << BITS) - 1)
        found.append(TopPosition(sae, where, latent, who, rank, document, offset))
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


@torch.no_grad()
def _read(
    layout: Layout,
    twins: Mapping[str, SweptModel],
    placed: Sequence[PlacedSae],
    latents: Mapping[str, set[int]],
    corpus: Corpus,
    rows: Mapping[int, int],
    batch_tokens: int,
    hidden_bytes: int,
) -> Codes:
    """Activations of the shown latents on the chosen rows, by the reference and every twin.
    `rows`: how many tokens of each are shown; later ones change nothing before them."""
    small = replace(
        corpus,
        rows=tuple(corpus.rows[row][:count] for row, count in rows.items()),
        document=np.arange(len(rows)),
        starts=np.zeros(len(rows), dtype=np.int64),
        document_names=tuple(map(str, rows)),
    )
    numbers = list(rows)
    device = layout.device
    plan = make_plan(small, "all", 0, batch_tokens, device=device)
    deepest = max(site(p.site).depth for p in placed)
    names = [REFERENCE, *twins]
    sites = frozenset(p.site for p in placed)
    sweep = Sweep(
        layout,
        {REFERENCE: Reference(layout), **twins},
        [ForwardRun(name, name, stop=deepest + 1) for name in names],
        [ReadRequest(name, sites, CORPUS) for name in names],
        plan.batches,
        hidden_bytes,
    )
    read: Codes = {}
    for wave in sweep.waves:
        for step in sweep.run(wave):
            for name, activations in step.activations.items():
                for p in placed:
                    if p.site in activations and name not in step.again:
                        values = activations[p.site].flatten(0, 1)[step.index]
                        found = _codes_of(p, values.float(), sorted(latents[p.sae.label]))
                        for place, row in _by_row(step.batch.document[step.index]):
                            of = {latent: codes[place] for latent, codes in found.items()}
                            read[(name, p.sae.label, numbers[row])] = of
            del step
    return read


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
    places: Sequence[TopPosition], read: Codes, twin: str, corpus: Corpus, texts: CorpusTexts
) -> dict[str, list[Any]]:
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
