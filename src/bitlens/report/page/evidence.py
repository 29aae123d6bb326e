"""What features fire on as a page holds it: each text once, an activation a letter.

The contexts of all features lie in a few documents, whose tokens stand once; a context is a place
in one and what the feature does around it. What the reference does is said once for all twins.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from bitlens.report.page.browsers import FeatureEvidence, Row
from bitlens.report.page.columns import letters
from bitlens.report.text.numbers import running

STEPS, TOKENS = 255, 4
"""Steps of a share; tokens told at either end of a direction."""
Place = tuple[str, int]
"""Document, and offset in it."""


class _Texts:
    """The tokens around all contexts, stretch by stretch."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.numbers: dict[str, int] = {}
        raw: dict[str, int] = {}
        tokens: dict[Place, int] = {}
        seen: set[tuple[str, int, int]] = set()
        for row in rows:
            begin = row["offset"] - row["peak"]
            if (key := (row["document"], begin, len(row["tokens"]))) in seen:
                continue
            seen.add(key)
            for i, token in enumerate(row["tokens"]):
                if token not in raw:
                    raw[token] = self.numbers.setdefault(running(token), len(self.numbers))
                tokens[(row["document"], begin + i)] = raw[token]
        self.stretches: list[tuple[str, int, list[int]]] = []
        self._at: dict[Place, int] = {}
        before: Place | None = None
        for document, offset in sorted(tokens):
            if before != (document, offset - 1):
                self.stretches.append((document, offset, []))
            before = (document, offset)
            self.stretches[-1][2].append(tokens[before])
            self._at[before] = len(self.stretches) - 1

    def place(self, row: Row) -> tuple[int, int]:
        """The stretch of a context's top position, and where in it."""
        stretch = self._at[(row["document"], row["offset"])]
        return stretch, row["offset"] - self.stretches[stretch][1]


class _Activations:
    """What fires in the contexts of one twin, in either model, end to end."""

    def __init__(self, rows: Sequence[Row]) -> None:
        lengths = [len(row["reference"]) for row in rows]
        self._ends = [0, *itertools.accumulate(lengths)]
        self._latents = np.repeat([row["latent"] for row in rows], lengths)
        self._sides = [_joined(row[who] for row in rows) for who in ("reference", "twin")]

    def into(self, tops: np.ndarray, latents: Sequence[int]) -> None:
        """Raise tops, one a latent, to the largest activation here: one scale for all models, so
        that what changed little is written in few different letters."""
        for side in self._sides:
            np.maximum.at(tops, np.searchsorted(latents, self._latents), side)

    def letters(self, tops: np.ndarray, latents: Sequence[int]) -> tuple[list[str], list[str]]:
        """By row, what the reference does, and what the twin does more, around in a circle; in
        shares of the top one, rounded up: what fires is not nought."""
        top = tops[np.searchsorted(latents, self._latents)]
        scale = np.divide(STEPS, top, out=np.zeros(len(top)), where=top > 0)
        reference, twin = (
            np.clip(np.ceil(np.maximum(side, 0) * scale - 1e-9), 0, STEPS).astype(np.int64)
            for side in self._sides
        )
        return self._cut(reference), self._cut((twin - reference) % (STEPS + 1))

    def _cut(self, steps: np.ndarray) -> list[str]:
        text = letters(steps.tolist())
        return [text[begin:end] for begin, end in itertools.pairwise(self._ends)]


def _joined(parts: Iterable[Sequence[float]]) -> np.ndarray:
    return np.fromiter(itertools.chain.from_iterable(parts), np.float64)


def evidence_data(part: FeatureEvidence) -> dict[str, Any]:
    """What the page's script needs to show a feature's contexts, firings and direction."""
    texts = _Texts(row for _, rows in part.contexts for row in rows)
    latents = sorted({row["latent"] for _, rows in part.contexts for row in rows})
    fired = [_Activations(rows) for _, rows in part.contexts]
    tops = np.zeros(len(latents))
    for one in fired:
        one.into(tops, latents)
    windows: dict[int, dict[Place, list[Any]]] = {latent: {} for latent in latents}
    mores = []
    for (_, rows), one in zip(part.contexts, fired, strict=True):
        before, more = one.letters(tops, latents)
        mores.append(more)
        for row, told in zip(rows, before, strict=True):
            window = [*texts.place(row), row["peak"], told]
            windows[row["latent"]][(row["document"], row["offset"])] = window
    firings = {twin: {row["latent"]: row for row in rows} for twin, rows in part.firings}
    directions = {row["latent"]: row for row in part.directions}
    return {
        "tokens": list(texts.numbers),
        "stretches": texts.stretches,
        "latents": latents,
        "tops": [_short(top) for top in tops.tolist()],
        "windows": [list(windows[latent].values()) for latent in latents],
        "neuronpedia": next((row["neuronpedia"] for row in part.directions), None),
        "directions": [_direction(directions.get(latent)) for latent in latents],
        "twins": [
            {
                "twin": twin,
                "contexts": _of_twin(rows, more, windows),
                "firings": [_firing(firings.get(twin, {}).get(latent)) for latent in latents],
            }
            for (twin, rows), more in zip(part.contexts, mores, strict=True)
        ],
    }


def _of_twin(
    rows: Sequence[Row], more: Sequence[str], windows: Mapping[int, Mapping[Place, Any]]
) -> list[Any]:
    """Of each latent the contexts that it has there: which window each is, its rank in either
    model (from 1; 0: none), and what the twin does more than the reference."""
    number = {latent: {at: n for n, at in enumerate(held)} for latent, held in windows.items()}
    found: dict[int, dict[Place, list[Any]]] = {latent: {} for latent in windows}
    for row, letters_more in zip(rows, more, strict=True):
        at = (row["document"], row["offset"])
        of = found[row["latent"]]
        told = of.setdefault(at, [number[row["latent"]][at], 0, 0, letters_more])
        told[1 if row["found"] == "reference" else 2] = row["rank"] + 1
    return [list(held.values()) or None for held in found.values()]


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _direction(row: Row | None) -> Any:
    if row is None:
        return None
    return [
        [
            [running(token), float(f"{by:.2g}")]
            for token, by in list(zip(row[end], row[f"{end}_by"], strict=True))[:TOKENS]
        ]
        for end in ("up", "down")
    ]


def _firing(row: Row | None) -> Any:
    if row is None:
        return None
    pairs = [letters(row["reference"]), letters(row["twin"])]
    bins = [row["bins_reference"], row["bins_twin"]]
    return [_short(row["top"]), row["positions"], *pairs, *bins]
