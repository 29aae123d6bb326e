"""What the page of a difference claims, and what it does not."""

from typing import Any

import pytest

from bitlens.report.diff.finding import findings


def number(of: str, metric: str, value: float, half: float, documents: int) -> Any:
    """A number with its interval."""
    return {
        "site": "resid.1", "twin": "t", "of": of, "metric": metric, "value": value,
        "low": value - half, "high": value + half, "documents": documents, "reason": None,
    }  # fmt: skip


def run(less: float | None, half: float = 0.02, documents: int = 30) -> Any:
    """A twin of which 40 % is explained, and noise of which so much less is."""
    rows = [
        number("twin", "explained_dictionary", 0.4, 0.01, documents),
        number("twin", "explained_mean", 0.1, 0.01, documents),
    ]
    if less is not None:
        rows += [
            number("noise", "explained_dictionary", 0.4 - less, 0.01, documents),
            number("twin", "dictionary_less_noise", less, half, documents),
        ]
    return {"sites": ["resid.1"], "twins": ["t"], "k": 8, "rows": rows}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (run(0.1), "explain 40 % of what t changes at resid.1 on other documents, 10.0 points "
                   "more than of noise of its size (30 %)"),
        (run(-0.1), "10.0 points less than of noise of its size (50 %)"),
        (run(0.1, half=0.2), "No twin's difference surely has more structure than noise"),
        (run(0.1, documents=5), "Too few documents to say whether a twin's difference has more"),
        (run(None), "no noise was run to compare it with"),
    ],
)  # fmt: skip
def test_the_heading_claims_what_is_sure(given: Any, expected: str) -> None:
    """By the interval of the difference to noise, and not of few documents."""
    (found,) = findings(given)
    assert expected in found.text
    if "points" in expected:
        assert "one draw of noise: how much others would differ is not" in found.numbers


def test_nothing_changed_is_said() -> None:
    """A twin that equals its reference at the site has no shares."""
    given = {"sites": ["resid.1"], "twins": ["t"], "k": 8, "rows": []}
    (found,) = findings(given)
    assert found.text == "No twin changes anything here"


def test_a_twin_without_noise_is_not_spoken_for() -> None:
    """Rounding of caches has no noise of its size."""
    given = run(0.1, half=0.2)
    other = [dict(row, twin="kv") for row in given["rows"] if "noise" not in row["metric"]]
    beside = [row for row in other if row["of"] == "twin"]
    (found,) = findings({**given, "twins": ["t", "kv"], "rows": [*given["rows"], *beside]})
    assert found.text.startswith("Of 1 of 2 differences, which could be compared with noise")
