"""What a run of `diff` found, in sentences: whether a twin's difference has more structure than
noise of its size, and where it lies."""

from collections.abc import Iterator, Mapping
from typing import Any

from bitlens.report.page.parts import Statement
from bitlens.report.text.differences import above, below
from bitlens.report.text.few import sayable
from bitlens.report.text.numbers import amount, plain, points
from bitlens.results.diff.file import NOISE, RANDOM, TWIN

Spot = tuple[str, str]
"""A site and a twin."""
ONE_EACH = (
    "One SAE each, of one seed, and one draw of noise: how much others would differ is not in the "
    "intervals, which are over documents"
)
"""What a difference to noise does not count."""


def find(run: Mapping[str, Any], spot: Spot, metric: str, of: str = TWIN) -> dict[str, Any] | None:
    """A number as it may be shown, if it is there."""
    wanted = (*spot, of, metric)
    for row in run["rows"]:
        if (row["site"], row["twin"], row["of"], row["metric"]) == wanted:
            return sayable(row)
    return None


def spots(run: Mapping[str, Any]) -> list[Spot]:
    """Every site and twin with a difference of which shares were measured."""
    every = [(site, twin) for site in run["sites"] for twin in run["twins"]]
    shares = ("explained_mean", "explained_dictionary")
    return [spot for spot in every if all(find(run, spot, share) for share in shares)]


def findings(run: Mapping[str, Any]) -> Iterator[Statement]:
    """The one the heading states: of the twin that differs from noise most, where one surely
    does."""
    known = spots(run)
    if not known:
        yield Statement("No twin changes anything here")
        return
    numbers = ". ".join(f"{twin} at {site}: {_numbers(run, (site, twin))}" for site, twin in known)
    less = {spot: row for spot in known if (row := find(run, spot, "dictionary_less_noise"))}
    if not less:
        spot = max(known, key=lambda spot: _share(run, spot, TWIN))
        yield Statement(f"{_explains(run, spot)}; no noise was run to compare it with", numbers)
        return
    numbers += f". {ONE_EACH}"
    sure = {spot: row for spot, row in less.items() if above(row, 0) or below(row, 0)}
    if not sure:
        yield Statement(_unsure(known, less), numbers)
        return
    spot = max(sure, key=lambda spot: abs(sure[spot]["value"]))
    more = "more" if sure[spot]["value"] > 0 else "less"
    noise = plain(100 * _share(run, spot, NOISE), 0)
    by = plain(100 * abs(sure[spot]["value"]), 1)
    yield Statement(
        f"{_explains(run, spot)}, {by} points {more} than of noise of its size ({noise} %)",
        numbers,
    )


def _unsure(known: list[Spot], less: Mapping[Spot, dict[str, Any]]) -> str:
    """Why no difference is told from noise's; of those alone that have an interval."""
    told = [spot for spot, row in less.items() if row["low"] is not None]
    if not told:
        return (
            "Too few documents to say whether a twin's difference has more structure than noise of "
            "its size"
        )
    if told == known:
        return "No twin's difference surely has more structure than noise of its size"
    return (
        f"Of {len(told)} of {len(known)} differences, which could be compared with noise of their "
        "size, none surely has more structure"
    )


def _explains(run: Mapping[str, Any], spot: Spot) -> str:
    site, twin = spot
    share = plain(100 * _share(run, spot, TWIN), 0)
    return (
        f"{run['k']} features at a time explain {share} % of what {twin} changes at {site} on "
        "other documents"
    )


def _share(run: Mapping[str, Any], spot: Spot, of: str) -> float:
    row = find(run, spot, "explained_dictionary", of)
    return row["value"] if row and row["value"] is not None else 0.0


def _numbers(run: Mapping[str, Any], spot: Spot) -> str:
    """All of it beside noise and random directions, and the difference to noise."""
    own = find(run, spot, "explained_dictionary")
    assert own is not None
    told = [amount(own, "share")]
    for of, name in ((NOISE, "noise"), (RANDOM, "random directions")):
        beside = find(run, spot, "explained_dictionary", of)
        if beside is not None:
            told.append(f"{name} {amount(beside, 'share')}")
    less = find(run, spot, "dictionary_less_noise")
    if less is not None:
        told.append(f"more than noise by {points(less)}")
    return ", ".join(told)
