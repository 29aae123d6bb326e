"""What features fire on as a page holds it: each text once, an activation a letter.

The contexts of all features lie in a few documents, whose tokens stand once; a context is a place
in one and what the feature does around it. What the reference does is said once for all twins.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from typing import Any

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


def evidence_data(part: FeatureEvidence) -> dict[str, Any]:
    """What the page's script needs to show a feature's contexts, firings and direction."""
    texts = _Texts(row for _, rows in part.contexts for row in rows)
    windows: dict[int, dict[Place, Row]] = {}
    for _, rows in part.contexts:
        for row in rows:
            windows.setdefault(row["latent"], {})[(row["document"], row["offset"])] = row
    latents = sorted(windows)
    tops = _tops(part, latents)
    firings = {twin: {row["latent"]: row for row in rows} for twin, rows in part.firings}
    directions = {row["latent"]: row for row in part.directions}
    return {
        "tokens": list(texts.numbers),
        "stretches": texts.stretches,
        "latents": latents,
        "tops": [_short(top) for top in tops],
        "windows": [
            [
                [*texts.place(row), row["peak"], letters(_scaled(row["reference"], top))]
                for row in windows[latent].values()
            ]
            for latent, top in zip(latents, tops, strict=True)
        ],
        "neuronpedia": next((row["neuronpedia"] for row in part.directions), None),
        "directions": [_direction(directions.get(latent)) for latent in latents],
        "twins": [
            {
                "twin": twin,
                "contexts": _of_twin(rows, windows, dict(zip(latents, tops, strict=True))),
                "firings": [_firing(firings.get(twin, {}).get(latent)) for latent in latents],
            }
            for twin, rows in part.contexts
        ],
    }


def _of_twin(
    rows: Sequence[Row], windows: Mapping[int, Mapping[Place, Row]], tops: Mapping[int, float]
) -> list[Any]:
    """Of each latent the contexts that it has there: which window each is, its rank in either
    model (from 1; 0: none), and what the twin does more than the reference, around in a circle."""
    held: dict[int, dict[Place, list[Row]]] = {}
    for row in rows:
        place = (row["document"], row["offset"])
        held.setdefault(row["latent"], {}).setdefault(place, []).append(row)
    found: list[Any] = []
    for latent, top in tops.items():
        number = {place: n for n, place in enumerate(windows[latent])}
        told = []
        for place, same in held.get(latent, {}).items():
            ranks = {row["found"]: row["rank"] + 1 for row in same}
            sides = (_scaled(same[0][who], top) for who in ("reference", "twin"))
            more = letters((b - a) % (STEPS + 1) for a, b in zip(*sides, strict=True))
            told.append([number[place], ranks.get("reference", 0), ranks.get("twin", 0), more])
        found.append(told or None)
    return found


def _tops(part: FeatureEvidence, latents: Sequence[int]) -> list[float]:
    """The largest activation of each latent in any of its contexts and models: one scale for all,
    so that what changed little is written in few different letters."""
    tops: dict[int, float] = {}
    for _, rows in part.contexts:
        for row in rows:
            tops[row["latent"]] = max(
                tops.get(row["latent"], 0.0), max(row["reference"]), max(row["twin"])
            )
    return [tops[latent] for latent in latents]


def _scaled(activations: Sequence[float], top: float) -> list[int]:
    """In shares of the top one, rounded up: what fires is not nought."""
    if top <= 0:
        return [0] * len(activations)
    scale = STEPS / top
    return [min(STEPS, ceil(v * scale - 1e-9)) if v > 0 else 0 for v in activations]


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
