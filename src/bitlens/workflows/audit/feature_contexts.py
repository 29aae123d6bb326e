"""Contexts of features: where each fires most, in either model, on what text, and how strongly.

Of short texts from the codes that the sweep kept. Of long ones by a second, small sweep over
documents that the first one chose: enough of them to show every feature's top positions, read by
the reference and the twins up to the SAE's site.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch

from bitlens.engine.places import unpacked
from bitlens.engine.runs import REFERENCE
from bitlens.engine.swept_model import SweptModel
from bitlens.results.records import DetailTable
from bitlens.results.table_schema import SHOWN
from bitlens.sae.placed_sae import PlacedSae
from bitlens.workflows.audit.feature_places import MOST, Places, documents, few
from bitlens.workflows.audit.few_rows import read_rows
from bitlens.workflows.session import Session

BEFORE, AFTER = 16, 8
"""Tokens shown around a top position."""
PAIRS, BINS, STEPS = 24, 12, 255
"""Of a feature: pairs of activations kept at most, bins of its histogram, and steps of a share."""
SIDES = ("reference", "twin")


@dataclass(frozen=True, eq=False, kw_only=True)
class Fired:
    """Where some latents of one SAE fire in one model, on the rows that were read."""

    key: np.ndarray
    """`[n]` ascending: latent, row and place in one integer."""
    value: np.ndarray
    """`[n]`"""
    rows: int
    longest: int

    @classmethod
    def of(cls, found: Sequence[tuple[np.ndarray, ...]], rows: int, longest: int) -> "Fired":
        """Of (latent, row, place, value), batch by batch."""
        latent, row, place, value = (np.concatenate(part) for part in zip(*found, strict=True))
        key = (latent * rows + row) * longest + place
        order = np.argsort(key)
        return cls(key=key[order], value=value[order], rows=rows, longest=longest)

    def within(
        self, latent: np.ndarray, row: np.ndarray, begin: np.ndarray, end: np.ndarray
    ) -> list[list[float]]:
        """Of each stretch of a row, from place `begin` to before `end`, a latent's activations,
        those places included where it is silent."""
        base = (latent * self.rows + row) * self.longest + begin
        low, high = np.searchsorted(self.key, base), np.searchsorted(self.key, base + end - begin)
        count = high - low
        stretch = np.repeat(np.arange(len(base)), count)
        entry = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + low[stretch]
        dense = np.zeros((len(base), int((end - begin).max(initial=0))))
        dense[stretch, self.key[entry] - base[stretch]] = self.value[entry]
        whole = zip(dense.tolist(), (end - begin).tolist(), strict=True)
        return [values[:length] for values, length in whole]

    def everywhere(self, latent: int) -> tuple[np.ndarray, np.ndarray]:
        """Where a latent fires, and how strongly."""
        size = self.rows * self.longest
        low, high = np.searchsorted(self.key, (latent * size, (latent + 1) * size))
        return self.key[low:high], self.value[low:high]


Codes = Mapping[tuple[str, str], Fired]
"""By model and SAE."""


def contexts(
    session: Session,
    twins: Mapping[str, SweptModel],
    placed: Sequence[PlacedSae],
    wanted: Mapping[str, DetailTable],
    known: Mapping[str, DetailTable],
    hidden_bytes: int,
) -> dict[str, list[DetailTable]]:
    """The tables `contexts` and `firings` of every twin. `wanted`: by twin, the top positions of
    its features, as the analysis found them; `known`: the codes that the sweep kept of them, where
    it did; `hidden_bytes`: of the hidden states that are held at a time."""
    places = {twin: Places.of(shown) for twin, shown in wanted.items()}
    known = {twin: of for twin, of in known.items() if _all_known(of, places[twin])}
    whole = known.keys() == places.keys()
    room = MOST if whole else few(session.corpus.n_documents)
    chosen = documents(list(places.values()), room)
    kept = {twin: of.to_show(chosen) for twin, of in places.items()}
    kept = {twin: of for twin, of in kept.items() if len(of)}
    if not kept:
        return {}
    reader = _Reader(session=session, twins=twins, placed=placed, kept=kept)
    read = {} if whole else reader.codes(hidden_bytes)
    tokens = _decoder(session)
    found: dict[str, list[DetailTable]] = {}
    for twin in kept:
        codes = reader.known(twin, known[twin]) if whole else read
        found[twin] = [reader.contexts(twin, codes, tokens), reader.firings(twin, codes)]
    return found


def _all_known(codes: DetailTable, places: Places) -> bool:
    """Whether there are codes of every SAE that has features to show."""
    return set(np.unique(places.sae)) <= set(np.unique(codes.columns["sae"]))


def _decoder(session: Session) -> Callable[[int], list[str]]:
    """The tokens of a row of the corpus as text, each looked up once."""
    token = cache(session.texts.token)
    return cache(lambda row: [token(int(t)) for t in session.corpus.rows[row]])


@dataclass(frozen=True, eq=False, kw_only=True)
class _Reader:
    """The small sweep over the rows that are shown, and what is made of it."""

    session: Session
    twins: Mapping[str, SweptModel]
    placed: Sequence[PlacedSae]
    kept: Mapping[str, Places]

    @cached_property
    def rows(self) -> dict[int, int]:
        """By row of the corpus, how many tokens of it are read; later ones change nothing before
        them."""
        corpus = self.session.corpus
        rows: dict[int, int] = {}
        for of in self.kept.values():
            at = of.rows(corpus)
            for row, end in zip(at, of.offset - corpus.starts[at] + AFTER + 1, strict=True):
                rows[int(row)] = max(rows.get(int(row), 0), int(end))
        return {row: min(rows[row], len(corpus.rows[row])) for row in sorted(rows)}

    @torch.no_grad()
    def codes(self, hidden_bytes: int) -> Codes:
        """Where the shown latents fire on these rows, in the reference and every twin."""
        wanted = {p.sae.label: self._latents(p) for p in self.placed}
        named = {name: twin for name, twin in self.twins.items() if name in self.kept}
        sites = {p.site for p in self.placed if wanted[p.sae.label].any()}
        found: dict[tuple[str, str], list[tuple[np.ndarray, ...]]] = {}
        tokens = [self.session.corpus.rows[row][:count] for row, count in self.rows.items()]
        for step in read_rows(self.session, named, tokens, sites, hidden_bytes):
            row, place = (of[step.index].cpu() for of in (step.batch.document, step.batch.offset))
            for name, activations in step.activations.items():
                for p in self.placed:
                    if p.site in activations and name not in step.again:
                        codes = p.sae.codes(activations[p.site].flatten(0, 1)[step.index].float())
                        at, latent, value = (
                            of.cpu() for of in (codes.row, codes.latent, codes.value)
                        )
                        mine = wanted[p.sae.label][latent]
                        parts = (latent[mine], row[at[mine]], place[at[mine]], value[mine])
                        held = found.setdefault((name, p.sae.label), [])
                        held.append(tuple(part.numpy() for part in parts))
            del step
        longest = max(self.rows.values())
        return {key: Fired.of(parts, len(self.rows), longest) for key, parts in found.items()}

    def known(self, twin: str, kept: DetailTable) -> Codes:
        """The same of one twin, of what the sweep kept."""
        corpus, columns = self.session.corpus, kept.columns
        document, offset = unpacked(columns["place"])
        of_corpus = corpus.rows_at(document, offset)
        place = offset - corpus.starts[of_corpus]
        numbers, counts = (np.array(of) for of in zip(*self.rows.items(), strict=True))
        row = np.searchsorted(numbers, of_corpus).clip(max=len(numbers) - 1)
        read = (numbers[row] == of_corpus) & (place < counts[row])
        latent, longest = columns["latent"].astype(np.int64), int(counts.max())
        found: dict[tuple[str, str], Fired] = {}
        for sae in np.unique(columns["sae"]):
            for of_twin, name in enumerate((REFERENCE, twin)):
                mine = read & (columns["sae"] == sae) & (columns["of_twin"] == bool(of_twin))
                parts = tuple(of[mine] for of in (latent, row, place, columns["value"]))
                found[(name, str(sae))] = Fired.of([parts], len(numbers), longest)
        return found

    def _latents(self, placed: PlacedSae) -> torch.Tensor:
        """`[latents]`: which of an SAE some twin shows."""
        wanted = torch.zeros(placed.sae.latents, dtype=torch.bool)
        for of in self.kept.values():
            wanted[torch.from_numpy(of.latent[of.sae == placed.sae.label])] = True
        return wanted

    def contexts(self, twin: str, codes: Codes, tokens: Callable[[int], list[str]]) -> DetailTable:
        """A row a top position of either model, with the text and both activations around it."""
        corpus, texts, of = self.session.corpus, self.session.texts, self.kept[twin]
        row = of.rows(corpus)
        place = of.offset - corpus.starts[row]
        begin = np.maximum(0, place - BEFORE)
        end = np.minimum(place + AFTER + 1, corpus.lengths[row])
        read = np.searchsorted(np.array(list(self.rows)), row)
        around: dict[str, list[list[float]]] = {who: [[]] * len(of) for who in SIDES}
        for sae in np.unique(of.sae):
            (mine,) = np.nonzero(of.sae == sae)
            for who, name in zip(SIDES, (REFERENCE, twin), strict=True):
                fired = codes[(name, str(sae))]
                found = fired.within(of.latent[mine], read[mine], begin[mine], end[mine])
                for i, values in zip(mine.tolist(), found, strict=True):
                    around[who][i] = values
        spans = zip(row.tolist(), begin.tolist(), end.tolist(), strict=True)
        columns = {
            "sae": of.sae.tolist(),
            "site": of.site.tolist(),
            "latent": of.latent,
            "found": [SIDES[int(who)] for who in of.of_twin],
            "rank": of.rank,
            "document": [texts.document(n) for n in of.document.tolist()],
            "offset": of.offset,
            "peak": place - begin,
            "tokens": [tokens(r)[first:last] for r, first, last in spans],
            **around,
        }
        return DetailTable("contexts", columns)

    def firings(self, twin: str, codes: Codes) -> DetailTable:
        """A row a feature: how strongly it fires in both models where it fires in either, on the
        rows that were read."""
        of = self.kept[twin]
        _, first = np.unique(of.feature, return_index=True)
        columns: dict[str, list[Any]] = {name: [] for name in SHOWN["firings"].names}
        for i in first.tolist():
            sae, latent = str(of.sae[i]), int(of.latent[i])
            both = [codes[(name, sae)].everywhere(latent) for name in (REFERENCE, twin)]
            values = {"sae": sae, "site": str(of.site[i]), "latent": latent, **_firings(*both)}
            # Read in other batches, what fired by a hair may be silent.
            for name, value in values.items() if values["positions"] else ():
                columns[name].append(value)
        return DetailTable("firings", columns)


def _firings(
    reference: tuple[np.ndarray, np.ndarray], twin: tuple[np.ndarray, np.ndarray]
) -> dict[str, Any]:
    """Histograms and some pairs of one feature's activations, by (position, activation)."""
    sides = (reference, twin)
    positions, number = np.unique(np.concatenate([at for at, _ in sides]), return_inverse=True)
    pairs = np.zeros((2, len(positions)))
    pairs[0, number[: len(reference[0])]] = reference[1]
    pairs[1, number[len(reference[0]) :]] = twin[1]
    top = float(pairs.max(initial=0.0))
    # Evenly over the reference's activations, the largest and the smallest among them.
    order = np.lexsort((pairs[1], pairs[0]))
    chosen = order[np.linspace(0, len(order) - 1, min(PAIRS, len(order))).astype(int)]
    found: dict[str, Any] = {"top": top, "positions": len(positions)}
    for side, who in zip(pairs, SIDES, strict=True):
        # Rounded up: what fires is not nought.
        found[who] = np.minimum(np.ceil(side[chosen] / top * STEPS), STEPS).astype(np.uint8)
        bins = np.ceil(side[side > 0] / top * BINS).astype(int)
        found[f"bins_{who}"] = np.bincount(np.minimum(bins, BINS) - 1, minlength=BINS)
    return found
