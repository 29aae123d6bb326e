"""How a twin's texts part from the reference's, counted by hand."""

from math import inf

import pytest
from scipy.stats import binom

from bitlens.results.benchmarks.generations import (
    Generation,
    divergence,
    endings,
    first_difference,
    median,
)
from bitlens.results.records import REFERENCE


def one(doc: int, tokens: int, ended: str = "stop", **more: object) -> Generation:
    """A sample of one question."""
    about = {"model": "m", "compression": REFERENCE, "benchmark": "gsm8k", "task": "gsm8k"}
    return Generation(
        **{**about, "doc": doc, "asked": "", "text": "", "tokens": tokens, "ended": ended, **more}
    )  # type: ignore[arg-type]


def test_the_first_difference_is_counted_in_tokens() -> None:
    """Before it lie those that both chose; where one text goes on, it differs where the other
    ends."""
    assert first_difference([1, 2, 3], [1, 2, 4]) == 2
    assert first_difference([5], [6]) == 0
    assert first_difference([1, 2], [1, 2, 3]) == 2
    assert first_difference([1, 2], [1, 2]) is None
    assert first_difference([], []) is None


def test_a_median_has_the_exact_interval_of_its_order() -> None:
    """Of 20 values the 6th and the 15th: a binomial of one half lies below 6 with 2.07 %, below 7
    with 5.77 %. scipy's distribution is the oracle for other numbers."""
    found = median([float(v) for v in range(1, 21)])
    assert found is not None
    assert (found.value, found.low, found.high) == (10.5, 6.0, 15.0)
    for n in (21, 57, 400, 1314):
        of = median([float(v) for v in range(1, n + 1)])
        assert of is not None
        assert of.low is not None
        k = int(of.low)
        assert binom.cdf(k - 1, n, 0.5) <= 0.025 < binom.cdf(k, n, 0.5)
        assert of.high == n + 1 - k


def test_texts_that_never_part_count_as_never() -> None:
    """They move the median, and are no number of their own; where half of them never part there is
    none."""
    found = median([3.0] * 11 + [inf] * 9)
    assert found is not None
    assert (found.value, found.low, found.high) == (3.0, 3.0, inf)
    assert median([3.0] * 10 + [inf] * 10) is None
    few = median([1.0, 2.0, inf])
    assert few is not None
    assert (few.value, few.low, few.high) == (2.0, None, None)


def test_divergence_counts_pairs() -> None:
    """Four samples: one the same, two part after 2 and 6 tokens, one is cut off by the budget. The
    median of 2, 6, 8 and never is 7."""
    reference = [one(0, 10), one(1, 10), one(2, 10, "end"), one(3, 20, "budget")]
    twin = [
        one(0, 10),
        one(1, 14, shared=2),
        one(2, 20, "budget", shared=6),
        one(3, 20, "budget", shared=8),
        one(9, 1, shared=0),
    ]
    found = divergence(reference, twin)
    assert (found.samples, found.same.value, found.cut) == (4, 0.25, (1, 2))
    assert found.parted is not None
    assert found.parted.value == 7.0
    assert found.tokens == (12.5, 16.0)
    assert (found.longer.value, found.longer.low) == (3.5, None)


def test_of_twenty_samples_the_length_has_an_interval() -> None:
    """Differences of ten times 0 and ten times 2: mean 1, deviation 1.026, t of 19 degrees 2.093,
    so 1 ± 0.480."""
    reference = [one(doc, 5) for doc in range(20)]
    twin = [one(doc, 5 + doc % 2 * 2, shared=1) for doc in range(20)]
    longer = divergence(reference, twin).longer
    assert longer.low is not None
    assert longer.low == pytest.approx(1 - 0.4802, abs=1e-4)


def test_cut_off_is_not_wrong() -> None:
    """A sample that is wrong because the budget ended it is told apart."""
    found = endings(
        [one(0, 9, "budget"), one(1, 9, "budget"), one(2, 9), one(3, 9, "end")],
        {("gsm8k", 0): True, ("gsm8k", 1): False, ("gsm8k", 2): False, ("gsm8k", 3): True},
    )
    assert found == {"right": 2, "wrong": 1, "cut off": 1}
