"""Laws of copies: found word for word and nearly, and nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlens.data import copies
from bitlens.data.copies import NEAR, RUN, units

DRAW = np.random.default_rng(0)


def changed(ids: np.ndarray, places: int) -> np.ndarray:
    """The same document with so many tokens replaced, far from each other."""
    other = ids.copy()
    other[np.linspace(0, len(ids) - 1, places, dtype=int)] += 10_000
    return other


def in_common(a: np.ndarray, b: np.ndarray) -> float:
    """The similarity by its definition: runs that both have, of all that either has."""
    first, second = (
        {tuple(ids[n : n + RUN]) for n in range(max(1, len(ids) - RUN + 1))} for ids in (a, b)
    )
    return len(first & second) / len(first | second)


def test_copies_are_named_by_the_first_of_them() -> None:
    """Word for word, and with one token in a hundred replaced; others are units of their own."""
    a, b, c = (DRAW.integers(0, 5000, 400) for _ in range(3))
    near = changed(b, 4)
    assert in_common(b, near) > NEAR + 0.05
    assert units([a, b, a, c, near, a[:300]]).tolist() == [0, 1, 0, 3, 1, 5]


@pytest.mark.parametrize("places", [0, 2, 3, 40, 80])
def test_the_similarity_decides(places: int) -> None:
    """On either side of it, and not within the error of an estimate, as its definition has it."""
    found, expected = [], []
    for _ in range(20):
        ids = DRAW.integers(0, 5000, 400)
        other = changed(ids, places)
        assert abs(in_common(ids, other) - NEAR) > 0.12
        found.append(units([ids, other])[1] == 0)
        expected.append(in_common(ids, other) >= NEAR)
    assert found == expected


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=12), max_size=12), st.integers(1, 40)
)
def test_equal_documents_are_one_unit(documents: list[list[int]], part: int) -> None:
    """However short, and whatever is looked at together."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copies, "_TOKENS_A_PART", part)
        found = units([np.array(ids) for ids in documents])
    for n, ids in enumerate(documents):
        assert found[n] <= documents.index(ids)
        assert found[found[n]] == found[n]


def test_stock_phrases_make_no_copies() -> None:
    """Documents that share half of their text are two draws of text."""
    licence = DRAW.integers(0, 5000, 200)
    documents = [np.concatenate([licence, DRAW.integers(0, 5000, 200)]) for _ in range(30)]
    assert units(documents).tolist() == list(range(30))


def test_copies_of_copies_are_one_unit() -> None:
    """A draft, the next and the one after: each near to the one before."""
    drafts = [DRAW.integers(0, 5000, 400)]
    for n in range(4):
        following = drafts[-1].copy()
        following[90 * n : 90 * n + 12] = DRAW.integers(0, 5000, 12)
        drafts.append(following)
    assert in_common(drafts[0], drafts[-1]) < NEAR
    assert units(drafts).tolist() == [0] * 5
