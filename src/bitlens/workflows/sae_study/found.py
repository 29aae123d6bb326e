"""What do the results of a width study say? Every question its page asks of them."""

from collections.abc import Mapping
from typing import Any

from bitlens.results.counts import count
from bitlens.workflows.sae_study.curves import Row

Place = tuple[float, int, int]
"""Penalty, epochs and tokens."""


class StudyResults:
    """The results, by the questions the page asks of them."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.about, self.cka = content["about"], content["cka"]
        self.configurations = content["configurations"]
        self.estimates, self.ratios = content["estimates"], content["ratios"]

    @property
    def penalty(self) -> str:
        """What the axis is called: k or l1."""
        return str(self.about["penalty"])

    def where(self, place: Place) -> str:
        """What was not varied, in words."""
        penalty, epochs, tokens = place
        times = count(epochs, "epoch")
        return f"{self.penalty} {penalty:g}, {times}, {tokens:,} tokens"

    def main(self, twin: str) -> Place:
        """Where most widths were trained; of several, with most data, then epochs, and of those
        the middle penalty."""
        widths: dict[Place, int] = {}
        for c in self._of(twin):
            widths[place_of(c)] = widths.get(place_of(c), 0) + 1
        most = [place for place, number in widths.items() if number == max(widths.values())]
        tokens = max(place[2] for place in most)
        epochs = max(place[1] for place in most if place[2] == tokens)
        penalties = sorted(place[0] for place in most if place[1:] == (epochs, tokens))
        return penalties[len(penalties) // 2], epochs, tokens

    def curve(self, twin: str, place: Place, measure: str, column: str) -> list[tuple[str, Row]]:
        """By width."""
        return [(e["width"], e) for e in self._at(twin, place, measure, column)]

    def along(self, twin: str, axis: str, width: str, measure: str) -> list[tuple[str, Row]]:
        """By another axis, the rest as in the main place."""
        place = dict(zip(("penalty", "epochs", "tokens"), self.main(twin), strict=True))
        rows = [
            e
            for e in self.estimates
            if (e["twin"], e["width"], e["measure"], e["column"]) == (twin, width, measure, "value")
            and all(e[name] == value for name, value in place.items() if name != axis)
        ]
        return [(f"{e[axis]:,}", e) for e in rows]

    def values(self, twin: str, axis: str) -> list[str]:
        """What an axis holds, in its order."""
        return [f"{value:,}" for value in sorted({c[axis] for c in self._of(twin)})]

    def estimate(
        self, twin: str, place: Place, width: str, measure: str, column: str
    ) -> Row | None:
        """One number of one width."""
        return dict(self.curve(twin, place, measure, column)).get(width)

    def ratio(self, twin: str, place: Place, measure: str, column: str) -> Row | None:
        """Narrowest over widest."""
        rows = [
            r
            for r in self.ratios
            if (r["twin"], r["measure"], r["column"]) == (twin, measure, column)
            and place_of(r) == place
        ]
        return rows[0] if rows else None

    def widths(self, twin: str, place: Place) -> list[str]:
        """From narrow to wide."""
        there = [c for c in self._of(twin) if place_of(c) == place]
        return [c["width"] for c in sorted(there, key=lambda c: c["latents"])]

    def flows(self, twin: str, place: Place) -> list[tuple[str, list[list[list[int]]]]]:
        """By width, each seed's."""
        there = [c for c in self._of(twin) if place_of(c) == place]
        there.sort(key=lambda c: c["latents"])
        return [(c["width"], [f["flow"] for f in c["frozen"].values()]) for c in there]

    def _of(self, twin: str) -> list[Mapping[str, Any]]:
        return [c for c in self.configurations if c["twin"] == twin]

    def _at(self, twin: str, place: Place, measure: str, column: str) -> list[Row]:
        rows = [
            e
            for e in self.estimates
            if (e["twin"], e["measure"], e["column"]) == (twin, measure, column)
            and place_of(e) == place
        ]
        return sorted(rows, key=lambda e: e["latents"])


def place_of(row: Mapping[str, Any]) -> Place:
    return row["penalty"], row["epochs"], row["tokens"]
