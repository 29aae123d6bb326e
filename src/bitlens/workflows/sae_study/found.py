"""The results of a study of SAEs, by the questions that its page asks of them."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from bitlens.results.counts import count
from bitlens.workflows.sae_study.curves import Row

Place = tuple[float, int, int]
"""Penalty, epochs and tokens."""


class StudyResults:
    """What a file of results holds, every twin's together."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.about, self.cka = content["about"], content["cka"]
        self.configurations = content["configurations"]
        self.estimates, self.ratios = content["estimates"], content["ratios"]

    @property
    def penalty(self) -> str:
        """What the axis is called: k or l1."""
        return str(self.about["penalty"])

    @property
    def twins(self) -> "list[TwinResults]":
        """What is known of each twin, by its text."""
        return [
            TwinResults(self, twin) for twin in sorted({c["twin"] for c in self.configurations})
        ]


class TwinResults:
    """What is known of one twin, where most widths were trained."""

    def __init__(self, study: StudyResults, twin: str) -> None:
        self.study, self.twin = study, twin
        self._configurations = [c for c in study.configurations if c["twin"] == twin]

    @cached_property
    def place(self) -> Place:
        """Where most widths were trained; of several, with most data, then epochs, and of those
        the middle penalty."""
        widths: dict[Place, int] = {}
        for c in self._configurations:
            widths[_place(c)] = widths.get(_place(c), 0) + 1
        most = [place for place, number in widths.items() if number == max(widths.values())]
        tokens = max(place[2] for place in most)
        epochs = max(place[1] for place in most if place[2] == tokens)
        penalties = sorted(place[0] for place in most if place[1:] == (epochs, tokens))
        return penalties[len(penalties) // 2], epochs, tokens

    @property
    def where(self) -> str:
        """What was not varied, in words."""
        penalty, epochs, tokens = self.place
        times = count(epochs, "epoch")
        return f"{self.study.penalty} {penalty:g}, {times}, {tokens:,} tokens"

    @property
    def cka(self) -> Mapping[str, Any] | None:
        """Debiased CKA of its activations with the reference's; None where it is not known."""
        known: Mapping[str, Any] | None = self.study.cka.get(self.twin)
        return known

    @property
    def widths(self) -> list[str]:
        """From narrow to wide."""
        return [c["width"] for c in self._here]

    @property
    def flows(self) -> list[tuple[str, list[list[list[int]]]]]:
        """By width, each seed's counts of latents by how often they fire on either model."""
        return [(c["width"], [f["flow"] for f in c["frozen"].values()]) for c in self._here]

    def curve(self, measure: str, column: str) -> list[tuple[str, Row]]:
        """A number by width."""
        rows = [
            row
            for row in self._rows(self.study.estimates, measure, column)
            if _place(row) == self.place
        ]
        return [(row["width"], row) for row in sorted(rows, key=lambda row: row["latents"])]

    def estimate(self, width: str, measure: str, column: str) -> Row | None:
        """A number of one width; None where it was not measured."""
        return dict(self.curve(measure, column)).get(width)

    def ratio(self, measure: str, column: str) -> Row | None:
        """A number of the narrowest width over that of the widest; None where there is none."""
        rows = self._rows(self.study.ratios, measure, column)
        return next((row for row in rows if _place(row) == self.place), None)

    def along(self, axis: str, width: str, measure: str) -> list[tuple[str, Row]]:
        """A number of one width by another axis, the rest as where most widths were trained."""
        place = dict(zip(("penalty", "epochs", "tokens"), self.place, strict=True))
        return [
            (f"{row[axis]:,}", row)
            for row in self._rows(self.study.estimates, measure, "value")
            if row["width"] == width
            and all(row[name] == value for name, value in place.items() if name != axis)
        ]

    def values(self, axis: str) -> list[str]:
        """What an axis holds, in its order."""
        return [f"{value:,}" for value in sorted({c[axis] for c in self._configurations})]

    @property
    def _here(self) -> list[Mapping[str, Any]]:
        there = [c for c in self._configurations if _place(c) == self.place]
        return sorted(there, key=lambda c: c["latents"])

    def _rows(self, rows: list[Row], measure: str, column: str) -> list[Row]:
        wanted = (self.twin, measure, column)
        return [row for row in rows if (row["twin"], row["measure"], row["column"]) == wanted]


def _place(row: Mapping[str, Any]) -> Place:
    return row["penalty"], row["epochs"], row["tokens"]
