"""Counterparts: by hand, against brute force, and as they were planted."""

from itertools import permutations

import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from bitlens.sae.alignment import matching
from bitlens.sae.alignment.matching import assign, nearest
from tests.support.planted_dictionaries import noisy, order, unit

TWO = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
OTHERS = torch.tensor([[0.8, 0.6], [0.0, 1.0]])
"""Cosines 0.8 and 0, 0.96 and 0.8."""


def test_nearest_by_hand() -> None:
    """Both of the first have the first of the others as nearest; that one's is the second, and of
    (0, 1) it is the second, too: one pair is mutual."""
    found = nearest(TWO, OTHERS)
    assert found.of_first.tolist() == pytest.approx([0.8, 0.96])
    assert found.second.tolist() == [0, 0]
    assert found.of_second.tolist() == pytest.approx([0.96, 0.8])
    assert found.first.tolist() == [1, 1]
    assert [side.tolist() for side in found.mutual()] == [[1], [0]]


def test_matching_by_hand() -> None:
    """0.8 + 0.8 is more than 0.96 + 0: the best matching gives up the best pair."""
    found = assign(TWO, OTHERS)
    assert (found.first.tolist(), found.second.tolist()) == ([0, 1], [0, 1])
    assert found.cosine.tolist() == pytest.approx([0.8, 0.8])


@pytest.mark.parametrize(("n", "m"), [(5, 5), (4, 6), (6, 4)])
def test_matching_is_the_best_of_all(n: int, m: int) -> None:
    """Of every way to give each latent of the smaller dictionary one of the larger."""
    first, second = unit(n, 3), unit(m, 3, seed=5)
    cosines = first @ second.T if n <= m else second @ first.T
    best = max(
        sum(float(cosines[i, j]) for i, j in enumerate(way))
        for way in permutations(range(max(n, m)), min(n, m))
    )
    found = assign(first, second)
    assert float(found.cosine.sum()) == pytest.approx(best, rel=1e-5)
    assert len(found.first.unique()) == len(found.second.unique()) == min(n, m)


@pytest.mark.parametrize("rows_a_tile", [1, 7, 1000])
def test_nearest_is_sklearns(rows_a_tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways, for different sizes, however many rows a tile has."""
    first, second = unit(60, 8), unit(45, 8, seed=5)
    monkeypatch.setattr(matching, "_TILE_BYTES", rows_a_tile * 4 * len(second))
    found = nearest(first, second)
    for one, other, cosine, index in (
        (first, second, found.of_first, found.second),
        (second, first, found.of_second, found.first),
    ):
        distance, place = (
            NearestNeighbors(n_neighbors=1, metric="cosine").fit(other).kneighbors(one)
        )
        assert index.tolist() == place[:, 0].tolist()
        torch.testing.assert_close(cosine, torch.from_numpy(1 - distance[:, 0]).float())


@pytest.mark.parametrize("full", [8192, 0], ids=["all cosines", "candidates"])
@pytest.mark.parametrize("noise", [0.0, 0.3, 0.6])
def test_a_permutation_is_recovered(
    full: int, noise: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exactly, by mutual nearest neighbours and by either matching; the cosine tells the noise."""
    monkeypatch.setattr(matching, "FULL", full)
    first, there = unit(300, 64), order(300)
    second = noisy(first[there], noise)
    one, other = nearest(first, second).mutual()
    assert len(one) == 300
    assert torch.equal(there[other], one)
    found = assign(first, second)
    assert len(found.first) == 300
    assert torch.equal(there[found.second], found.first)
    assert float(found.cosine.mean()) == pytest.approx((1 + noise**2) ** -0.5, abs=0.02)


@pytest.mark.parametrize(("n", "m"), [(120, 120), (90, 140), (140, 90)])
@pytest.mark.parametrize("width", [3, 6, 24])
def test_candidates_suffice(n: int, m: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all cosines from 0.5 as candidates the sum of those above it is the best there is: that
    of a full matching in which cosines below 0.5 count nothing."""
    first, second = unit(n, width), unit(m, width, seed=5)
    second[:40] = noisy(first[:40], 0.5)
    monkeypatch.setattr(matching, "FULL", 0)
    monkeypatch.setattr(matching, "CANDIDATES", 200)
    found = assign(first, second)
    assert (found.cosine >= 0.5).all()
    assert len(found.first.unique()) == len(found.second.unique()) == len(found.first)
    worth = first @ second.T
    worth[worth < 0.5] = 0
    row, column = matching.linear_sum_assignment(-worth.double().numpy())  # type: ignore[attr-defined]
    assert float(found.cosine.sum()) == pytest.approx(float(worth[row, column].sum()), rel=1e-5)


def test_crowds_are_cut_to_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 50 latents in one cone each keeps its few nearest as candidates, and finds its own."""
    monkeypatch.setattr(matching, "FULL", 0)
    monkeypatch.setattr(matching, "CANDIDATES", 3)
    first = noisy(unit(1, 16).expand(50, 16), 0.5)
    second = noisy(first, 0.05, seed=8)
    assert (first @ second.T >= 0.5).float().mean() > 0.9
    assert matching._candidates(first, second).shape == (2, 150)
    assert torch.equal(assign(first, second).second, torch.arange(50))


def test_no_candidates_no_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Directions that are all far apart stay alone."""
    monkeypatch.setattr(matching, "FULL", 0)
    assert len(assign(torch.eye(6)[:3], torch.eye(6)[3:]).first) == 0
