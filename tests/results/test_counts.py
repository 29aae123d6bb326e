"""Words agree with their numbers."""

import pytest

from bitlens.results.counts import agreeing, count
from bitlens.workflows.audit.validity import about_documents


@pytest.mark.parametrize(
    ("number", "noun", "told"),
    [
        (0, "twin", "0 twins"),
        (1, "seed", "1 seed"),
        (61_312, "token", "61,312 tokens"),
        (1, "matrix", "1 matrix"),
        (28, "matrix", "28 matrices"),
    ],
)
def test_one_and_many(number: int, noun: str, told: str) -> None:
    """One alone is singular."""
    assert count(number, noun) == told


def test_verbs_agree() -> None:
    """One is, many are."""
    assert [agreeing(n, "is", "are") for n in (0, 1, 2)] == ["are", "is", "are"]


@pytest.mark.parametrize(
    ("documents", "copies", "told"),
    [
        (1, 0, "1 document; documents are the sampling units; in simulation"),
        (300, 0, "300 documents; documents are the sampling units"),
        (300, 1, "units; 1 more is a copy of one of these, and counted with it"),
        (300, 12, "units; 12 more are each a copy of one of these, and counted with it"),
    ],
)
def test_documents_are_counted_in_words(documents: int, copies: int, told: str) -> None:
    """One document, one copy, and many."""
    assert told in about_documents(documents, copies).detail
