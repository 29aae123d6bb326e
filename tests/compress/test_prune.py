"""Magnitude pruning: exactly so many, exactly the smallest, exactly the first of equals."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from bitlens.compress.compression import Map
from bitlens.compress.prune import Prune
from bitlens.errors import BitlensError


def pruned(maps: list[Map], sparsity: float, scope: str) -> list[np.ndarray]:
    prune = Prune(sparsity=sparsity, scope=scope)
    results = prune.compress(maps, 0, prune.survey(lambda: maps))
    return [result.weight.numpy() for result in results]


def plainly(weights: np.ndarray, sparsity: float) -> np.ndarray:
    """The smallest of a flat array zeroed, of equal ones the first, by a stable sort."""
    out = weights.copy()
    out[np.argsort(np.abs(weights), kind="stable")[: round(sparsity * len(weights))]] = 0
    return out


def test_by_hand(one: Callable[..., Map]) -> None:
    """Half of [4, -1, 3; 2, 5, -6]: by tensor the three smallest are 1, 2 and 3; by row one of
    three goes, round(1.5) being 2: of the first row 1 and 3, of the second 2 and 5."""
    map = one([[4, -1, 3], [2, 5, -6]])
    assert pruned([map], 0.5, "tensor")[0].tolist() == [[4, 0, 0], [0, 5, -6]]
    assert pruned([map], 0.5, "row")[0].tolist() == [[4, 0, 0], [0, 0, -6]]


def test_ties_go_in_order(one: Callable[..., Map]) -> None:
    """Of six equal weights, those that come first are zeroed."""
    map = one([[1, -1, 1], [1, 1, -1]])
    assert pruned([map], 0.5, "tensor")[0].tolist() == [[0, 0, 0], [1, 1, -1]]
    assert pruned([map], 1 / 3, "row")[0].tolist() == [[0, -1, 1], [0, 1, -1]]


@pytest.mark.parametrize("sparsity", [0.001, 0.1, 0.5, 0.77, 0.999])
@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("scope", ["tensor", "row", "global"])
def test_agrees_with_sorting(maps: list[Map], scope: str, coarse: bool, sparsity: float) -> None:
    """What a stable sort zeroes is zeroed, also where rounding makes most weights equal."""
    if coarse:
        maps = [Map(m.name, (m.weight * 20).round() / 20, m.head_size, m.fused) for m in maps]
    shapes = [map.weight.shape for map in maps]
    flat = [map.weight.numpy().reshape(-1) for map in maps]
    if scope == "global":
        ends = np.cumsum([len(weights) for weights in flat])[:-1]
        expected = np.split(plainly(np.concatenate(flat), sparsity), ends)
    else:
        size = [s[-1] if scope == "row" else s[-1] * s[-2] for s in shapes]
        expected = [
            np.apply_along_axis(plainly, 1, weights.reshape(-1, n), sparsity)
            for weights, n in zip(flat, size, strict=True)
        ]
    results = pruned(maps, sparsity, scope)
    for result, wanted, shape in zip(results, expected, shapes, strict=True):
        assert np.array_equal(result, wanted.reshape(shape))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_has_ties_and_exact_counts(dtype: torch.dtype) -> None:
    """Stored in 16 bits, weights repeat; the number of zeros is exact in every scope."""
    random = torch.Generator().manual_seed(0)
    maps = [Map(str(i), torch.randn(64, 96, generator=random).to(dtype)) for i in range(3)]
    assert [(w == 0).sum() for w in pruned(maps, 0.3, "tensor")] == [round(0.3 * 6144)] * 3
    assert {n for w in pruned(maps, 0.3, "row") for n in (w == 0).sum(-1)} == {round(0.3 * 96)}
    assert sum((w == 0).sum() for w in pruned(maps, 0.3, "global")) == round(0.3 * 3 * 6144)


def test_global_prunes_small_matrices_more() -> None:
    """A matrix a hundred times smaller than the other is pruned away whole."""
    random = torch.Generator().manual_seed(0)
    small, large = (torch.randn(8, 8, generator=random) * size for size in (0.01, 1.0))
    maps = [Map("large", large), Map("small", small + 0.001 * small.sign())]
    first, second = pruned(maps, 0.5, "global")
    assert (second == 0).sum() == 64 - (first == 0).sum()
    assert (second == 0).mean() > 0.9


def test_zeros_count_as_pruned(one: Callable[..., Map]) -> None:
    """Three of six weights are zero before: half is nothing to do, two thirds is one more; bits
    are 32 for each weight left, and 1."""
    map = one([[0, 0, 3], [0, 5, -6]])
    assert pruned([map], 0.5, "tensor")[0].tolist() == map.weight.tolist()
    assert pruned([map], 2 / 3, "global")[0].tolist() == [[0, 0, 0], [0, 5, -6]]
    for sparsity, left in ((0.25, 3), (0.5, 3), (2 / 3, 2)):
        bits = Prune(sparsity=sparsity).compress([map], 0)[0].bits
        assert bits == pytest.approx(32 * left / 6 + 1, abs=1e-12)


def test_bits_follow_the_stored_dtype() -> None:
    """A quarter of bfloat16 weights pruned: 16 * 3/4 + 1 bits."""
    weight = torch.randn(8, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert Prune(sparsity=0.25).compress([Map("m", weight)], 0)[0].bits == 13


def test_too_few_to_prune(one: Callable[..., Map]) -> None:
    """A share that rounds to no weight at all leaves the matrix as it is, in every scope."""
    map = one([[1, 2, 3]])
    for scope in ("tensor", "row", "global"):
        assert pruned([map], 0.1, scope)[0].tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("sparsity", [0.0, 1.0, -0.5, 2.0])
def test_sparsity_out_of_range(sparsity: float) -> None:
    """A share that would prune nothing or everything is refused."""
    with pytest.raises(BitlensError, match="above 0 and below 1"):
        Prune(sparsity=sparsity)


def test_global_needs_its_survey(maps: list[Map]) -> None:
    """Without having seen all weights a global cut cannot be made."""
    with pytest.raises(ValueError, match="survey"):
        Prune(sparsity=0.5, scope="global").compress(maps, 0)
