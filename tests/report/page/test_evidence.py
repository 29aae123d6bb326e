"""What features fire on, packed for the page and read back."""

from typing import Any

import pytest

from bitlens.report.page.browsers import FeatureEvidence, Row
from bitlens.report.page.evidence import evidence_data

TEXT = ["a", "b\n", "c", "d", "e", "f"]


def row(latent: int, found: str, rank: int, offset: int, sides: dict[str, list[float]]) -> Row:
    """A context of the tokens from one before a place to one after."""
    return {
        "latent": latent, "found": found, "rank": rank, "document": "x", "offset": offset,
        "peak": 1, "tokens": TEXT[offset - 1 : offset + 2], **sides,
    }  # fmt: skip


def part(**twins: list[Row]) -> FeatureEvidence:
    """Contexts alone, by twin."""
    return FeatureEvidence(contexts=tuple((n, tuple(r)) for n, r in twins.items()), firings=(),
                           directions=())  # fmt: skip


def numbers(letters: str) -> list[int]:
    """What letters stand for."""
    return [ord(letter) - 48 for letter in letters]


def test_tokens_stand_once_in_stretches() -> None:
    """Contexts that overlap or touch are one stretch; a line break is seen."""
    sides = {"reference": [0.0, 1.0, 0.0], "twin": [0.0, 1.0, 0.0]}
    data = evidence_data(part(t=[row(7, "reference", 0, 1, sides), row(9, "twin", 0, 3, sides)]))
    assert data["tokens"] == ["a", "b↵", "c", "d", "e"]
    assert data["stretches"] == [("x", 0, [0, 1, 2, 3, 4])]
    assert data["latents"] == [7, 9]
    assert [window[0][:3] for window in data["windows"]] == [[0, 1, 1], [0, 3, 1]]


def test_activations_are_shares_of_the_largest_anywhere() -> None:
    """Of 4 in the second twin: 2 is 128 steps, rounded up, 0.001 is one, and a twin's letters say
    what it has more than the reference, around in a circle of 256."""
    first = {"reference": [0.0, 2.0, 0.001], "twin": [1.0, 2.0, 0.0]}
    second = {"reference": [0.0, 2.0, 0.001], "twin": [0.0, 4.0, 0.0]}
    data = evidence_data(part(one=[row(7, "reference", 0, 1, first), row(7, "twin", 2, 1, first)],
                              two=[row(7, "twin", 4, 1, second)]))  # fmt: skip
    assert data["tops"] == [4.0]
    ((_, _, _, letters),) = data["windows"][0]
    assert numbers(letters) == [0, 128, 1]
    (found, other) = (twin["contexts"][0] for twin in data["twins"])
    ((window, before, after, more),) = found
    assert (window, before, after) == (0, 1, 3)
    assert numbers(more) == [64, 0, 255]
    ((_, before, after, more),) = other
    assert (before, after) == (0, 5)
    assert numbers(more) == [0, 127, 255]


def test_what_is_not_there_is_nothing() -> None:
    """A latent that only another twin shows has no contexts here, nor a direction that is not
    stored; a silent context is all noughts."""
    silent = {"reference": [0.0] * 3, "twin": [0.0] * 3}
    data: dict[str, Any] = evidence_data(part(one=[row(7, "twin", 0, 1, silent)], two=[]))
    assert data["twins"][1]["contexts"] == [None]
    assert data["twins"][0]["firings"] == data["directions"] == [None]
    assert numbers(data["windows"][0][0][3]) == [0, 0, 0]
    assert data["neuronpedia"] is None


def test_firings_and_directions_pass_through() -> None:
    """Letters for shares, counts as they are, four tokens at either end, two digits."""
    sides = {"reference": [0.0, 1.0, 0.0], "twin": [0.0, 1.0, 0.0]}
    ends = {f"{end}{of}": list(what) for end in ("up", "down")
            for of, what in (("", "pqrst"), ("_by", (3.14159, 2, 1, 0.5, 0.1)))}  # fmt: skip
    firing = {"latent": 7, "top": 2.0, "positions": 9, "reference": [255, 0], "twin": [0, 1],
              "bins_reference": [8, 0], "bins_twin": [0, 1]}  # fmt: skip
    held = FeatureEvidence(
        contexts=(("t", (row(7, "twin", 0, 1, sides),)),),
        firings=(("t", (firing,)),),
        directions=({"latent": 7, "neuronpedia": "m/s", **ends},),
    )
    data = evidence_data(held)
    (found,) = data["twins"][0]["firings"]
    assert (found[:2], found[4:]) == ([2.0, 9], [[8, 0], [0, 1]])
    assert [numbers(letters) for letters in found[2:4]] == [[255, 0], [0, 1]]
    assert data["directions"][0][0] == [["p", 3.1], ["q", 2.0], ["r", 1.0], ["s", 0.5]]
    assert data["neuronpedia"] == "m/s"


@pytest.mark.parametrize("token", ["</script>", "\u2028"])
def test_hostile_tokens_are_data(token: str) -> None:
    """They stand in the list of tokens as they are: the page writes them as text."""
    sides = {"reference": [1.0], "twin": [1.0]}
    one = {**row(7, "twin", 0, 1, sides), "tokens": [token], "peak": 0}
    assert evidence_data(part(t=[one]))["tokens"] == [token]
