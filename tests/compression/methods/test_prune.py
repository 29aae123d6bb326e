"""Pruning: exactly so many, exactly the smallest, exactly the first of equals; by magnitude, by
Wanda and by SparseGPT; patterns."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from bitlens.compression.compression import MatrixGroup
from bitlens.compression.methods.prune import Prune
from bitlens.compression.methods.rtn import Rtn
from bitlens.compression.numerics.input_statistics import InputStatistics
from bitlens.errors import BitlensError
from bitlens.models.matrices import LinearMap
from tests.support.calibrated import group_of, inputs_of


def pruned(matrices: list[LinearMap], sparsity: float, scope: str) -> list[np.ndarray]:
    prune = Prune(sparsity=sparsity, scope=scope)
    results = prune.compress(MatrixGroup(matrices, 0, prune.prepare(lambda: matrices)))
    return [result.weight.numpy() for result in results]


def plainly(weights: np.ndarray, sparsity: float) -> np.ndarray:
    """The smallest of a flat array zeroed, of equal ones the first, by a stable sort."""
    out = weights.copy()
    out[np.argsort(np.abs(weights), kind="stable")[: round(sparsity * len(weights))]] = 0
    return out


def test_by_hand(one: Callable[..., LinearMap]) -> None:
    """Half of [4, -1, 3; 2, 5, -6]: by tensor the three smallest are 1, 2 and 3; by row one of
    three goes, round(1.5) being 2: of the first row 1 and 3, of the second 2 and 5."""
    matrix = one([[4, -1, 3], [2, 5, -6]])
    assert pruned([matrix], 0.5, "tensor")[0].tolist() == [[4, 0, 0], [0, 5, -6]]
    assert pruned([matrix], 0.5, "row")[0].tolist() == [[4, 0, 0], [0, 0, -6]]


def test_ties_go_in_order(one: Callable[..., LinearMap]) -> None:
    """Of six equal weights, those that come first are zeroed."""
    matrix = one([[1, -1, 1], [1, 1, -1]])
    assert pruned([matrix], 0.5, "tensor")[0].tolist() == [[0, 0, 0], [1, 1, -1]]
    assert pruned([matrix], 1 / 3, "row")[0].tolist() == [[0, -1, 1], [0, 1, -1]]


@pytest.mark.parametrize("sparsity", [0.001, 0.1, 0.5, 0.77, 0.999])
@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("scope", ["tensor", "row", "global"])
def test_agrees_with_sorting(
    matrices: list[LinearMap], scope: str, coarse: bool, sparsity: float
) -> None:
    """What a stable sort zeroes is zeroed, also where rounding makes most weights equal."""
    if coarse:
        matrices = [replace(m, weight=(m.weight * 20).round() / 20) for m in matrices]
    shapes = [matrix.weight.shape for matrix in matrices]
    flat = [matrix.weight.numpy().reshape(-1) for matrix in matrices]
    if scope == "global":
        ends = np.cumsum([len(weights) for weights in flat])[:-1]
        expected = np.split(plainly(np.concatenate(flat), sparsity), ends)
    else:
        size = [s[-1] if scope == "row" else s[-1] * s[-2] for s in shapes]
        expected = [
            np.apply_along_axis(plainly, 1, weights.reshape(-1, n), sparsity)
            for weights, n in zip(flat, size, strict=True)
        ]
    results = pruned(matrices, sparsity, scope)
    for result, wanted, shape in zip(results, expected, shapes, strict=True):
        assert np.array_equal(result, wanted.reshape(shape))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_has_ties_and_exact_counts(dtype: torch.dtype) -> None:
    """Stored in 16 bits, weights repeat; the number of zeros is exact in every scope."""
    random = torch.Generator().manual_seed(0)
    weights = [torch.randn(64, 96, generator=random).to(dtype) for _ in range(3)]
    matrices = [LinearMap(str(i), weight) for i, weight in enumerate(weights)]
    assert [(w == 0).sum() for w in pruned(matrices, 0.3, "tensor")] == [round(0.3 * 6144)] * 3
    assert {n for w in pruned(matrices, 0.3, "row") for n in (w == 0).sum(-1)} == {round(0.3 * 96)}
    assert sum((w == 0).sum() for w in pruned(matrices, 0.3, "global")) == round(0.3 * 3 * 6144)


def test_global_prunes_small_matrices_more() -> None:
    """A matrix a hundred times smaller than the other is pruned away whole."""
    random = torch.Generator().manual_seed(0)
    small, large = (torch.randn(8, 8, generator=random) * size for size in (0.01, 1.0))
    matrices = [LinearMap("large", large), LinearMap("small", small + 0.001 * small.sign())]
    first, second = pruned(matrices, 0.5, "global")
    assert (second == 0).sum() == 64 - (first == 0).sum()
    assert (second == 0).mean() > 0.9


def test_zeros_count_as_pruned(one: Callable[..., LinearMap]) -> None:
    """Three of six weights are zero before: half is nothing to do, two thirds is one more; bits
    are 32 for each weight left, and 1."""
    matrix = one([[0, 0, 3], [0, 5, -6]])
    assert pruned([matrix], 0.5, "tensor")[0].tolist() == matrix.weight.tolist()
    assert pruned([matrix], 2 / 3, "global")[0].tolist() == [[0, 0, 0], [0, 5, -6]]
    for sparsity, left in ((0.25, 3), (0.5, 3), (2 / 3, 2)):
        bits = Prune(sparsity=sparsity).compress(MatrixGroup([matrix], 0))[0].bits
        assert bits == pytest.approx(32 * left / 6 + 1, abs=1e-12)


def test_bits_follow_the_stored_dtype() -> None:
    """A quarter of bfloat16 weights pruned: 16 * 3/4 + 1 bits."""
    weight = torch.randn(8, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert Prune(sparsity=0.25).compress(MatrixGroup([LinearMap("m", weight)], 0))[0].bits == 13


def test_too_few_to_prune(one: Callable[..., LinearMap]) -> None:
    """A share that rounds to no weight at all leaves the matrix as it is, in every scope."""
    matrix = one([[1, 2, 3]])
    for scope in ("tensor", "row", "global"):
        assert pruned([matrix], 0.1, scope)[0].tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("sparsity", [0.0, 1.0, -0.5, 2.0])
def test_sparsity_out_of_range(sparsity: float) -> None:
    """A share that would prune nothing or everything is refused."""
    with pytest.raises(BitlensError, match="above 0 and below 1"):
        Prune(sparsity=sparsity)


def test_global_needs_what_it_prepares(matrices: list[LinearMap]) -> None:
    """Without having seen all weights a global cut cannot be made."""
    with pytest.raises(ValueError, match="what it prepares"):
        Prune(sparsity=0.5, scope="global").compress(MatrixGroup(matrices, 0))


def test_one_way_to_say_how_many() -> None:
    """Of sparsity, pattern and match exactly one is given."""
    for settings in (
        {},
        {"sparsity": 0.5, "pattern": "2:4"},
        {"sparsity": 0.5, "match": Rtn(bits=6)},
        {"pattern": "2:4", "match": Rtn(bits=6), "sparsity": 0.5},
    ):
        with pytest.raises(BitlensError, match="one of sparsity, pattern and match") as error:
            Prune(**settings)
        assert all(name in error.value.found for name in settings)


def test_a_match_is_resolved_by_the_audit(matrices: list[LinearMap]) -> None:
    """Pruning that is to match another compression compresses once its sparsity is known."""
    matched = Prune(match=Rtn(bits=6), on="perplexity")
    with pytest.raises(ValueError, match="the sparsity that matches"):
        matched.compress(MatrixGroup(matrices, 0))
    resolved = replace(matched, match=None, sparsity=0.25)
    assert (resolved.compress(MatrixGroup(matrices[:1], 0))[0].weight == 0).sum() == 128


def wanda(matrix: LinearMap, square: object, **settings: object) -> np.ndarray:
    mean_square = torch.as_tensor(square, dtype=torch.float32)
    inputs = InputStatistics(count=torch.tensor(9), mean_square=mean_square)
    prune = Prune(**{"by": "wanda", "sparsity": 0.5, **settings})
    return prune.compress(MatrixGroup([matrix], 0, inputs=inputs))[0].weight.numpy()


def test_wanda_by_hand(one: Callable[..., LinearMap]) -> None:
    """Inputs of mean squares 4, 1, 1, 16 make [1, -3, 2, 0.4] weigh 2, 3, 2, 1.6: of each row
    half goes, of the equal ones the first; among both rows those of the small row go."""
    matrix = one([[1, -3, 2, 0.4], [0.1, 0.3, -0.2, 0.04]])
    rows = wanda(matrix, [4, 1, 1, 16])
    assert np.allclose(rows, [[0, -3, 2, 0], [0, 0.3, -0.2, 0]])
    together = wanda(matrix, [4, 1, 1, 16], scope="tensor")
    assert np.allclose(together, [[1, -3, 2, 0.4], [0, 0, 0, 0]])


@pytest.mark.parametrize("scope", ["row", "tensor"])
def test_wanda_with_equal_inputs_is_magnitude(matrices: list[LinearMap], scope: str) -> None:
    """Where all inputs are of one size, |w| decides."""
    for matrix in matrices:
        square = torch.full((*matrix.weight.shape[:-2], matrix.weight.shape[-1]), 2.25)
        expected = pruned([matrix], 0.3, scope)[0]
        assert np.array_equal(wanda(matrix, square, sparsity=0.3, scope=scope), expected)


@pytest.mark.parametrize("sparsity", [0.01, 0.3, 0.6])
@pytest.mark.parametrize("scope", ["auto", "row", "tensor"])
def test_wanda_agrees_with_sorting(matrices: list[LinearMap], scope: str, sparsity: float) -> None:
    """What a stable sort of |w| times the root of x² puts first is zeroed, experts each with
    their own inputs; also where inputs were never active, whose weights are worth nothing."""
    for matrix in matrices:
        square = inputs_of(matrix, Prune(sparsity=0.5, by="wanda")).mean_square.clone()
        square[..., ::3] = 0
        scores = (matrix.weight.abs() * square.sqrt().unsqueeze(-2)).numpy()
        n = scores.shape[-1] * (scores.shape[-2] if scope == "tensor" else 1)
        expected = matrix.weight.numpy().copy().reshape(-1, n)
        first = np.argsort(scores.reshape(-1, n), axis=-1, kind="stable")
        np.put_along_axis(expected, first[:, : round(sparsity * n)], 0, -1)
        found = wanda(matrix, square, sparsity=sparsity, scope=scope)
        assert np.array_equal(found.reshape(-1, n), expected)


def test_a_pattern_by_hand(one: Callable[..., LinearMap]) -> None:
    """2:4 keeps the two largest of every four, of equal ones the last; 1:2 one of every two."""
    matrix = one([[4, -1, 3, 2, 1, 1, 1, -1]])
    by_four = Prune(pattern="2:4").compress(MatrixGroup([matrix], 0))[0].weight
    assert by_four.tolist() == [[4, 0, 3, 0, 0, 0, 1, -1]]
    assert Prune(pattern="1:2").compress(MatrixGroup([matrix], 0))[0].weight.tolist() == [
        [4, 0, 3, 0, 0, 1, 0, -1]
    ]
    weighed = wanda(matrix, [1, 1, 1, 100, 9, 9, 1, 1], pattern="2:4", sparsity=None)
    assert weighed.tolist() == [[4, 0, 0, 2, 1, 1, 0, 0]]


@pytest.mark.parametrize("by", ["magnitude", "wanda", "sparsegpt"])
@pytest.mark.parametrize("pattern", ["2:4", "1:8", "3:4"])
def test_a_pattern_holds_everywhere(matrices: list[LinearMap], pattern: str, by: str) -> None:
    """Exactly n of every m are left, whoever chooses them."""
    prune, (n, m) = Prune(pattern=pattern, by=by), map_ints(pattern)
    for matrix in matrices:
        found = prune.compress(group_of(matrix, prune))[0].weight
        assert ((found != 0).unflatten(-1, (-1, m)).sum(-1) == n).all()


def map_ints(pattern: str) -> tuple[int, int]:
    n, m = pattern.split(":")
    return int(n), int(m)


def test_bits_of_a_pattern_by_hand(matrices: list[LinearMap]) -> None:
    """2:4 of float32: half of 32 bits, and which of the six pairs it is, over four weights; of
    bfloat16 1:8, an eighth of 16 bits and log2(8) over eight weights."""
    by_four = Prune(pattern="2:4").compress(MatrixGroup(matrices[:1], 0))[0]
    assert by_four.bits == pytest.approx(16 + math.log2(6) / 4, abs=1e-12)
    half = LinearMap("half", matrices[0].weight.bfloat16())
    assert Prune(pattern="1:8").compress(MatrixGroup([half], 0))[0].bits == pytest.approx(
        2 + 3 / 8, abs=1e-12
    )


def test_bits_are_the_same_by_whatever_score(matrices: list[LinearMap]) -> None:
    """A quarter of float32 weights gone: 24 bits and one of mask."""
    for by in ("magnitude", "wanda", "sparsegpt"):
        prune = Prune(sparsity=0.25, by=by)
        for matrix in matrices:
            assert prune.compress(group_of(matrix, prune))[0].bits == 25


@pytest.mark.parametrize("pattern", ["4:4", "0:4", "5:4", "2-4", "24", "2:4:8", "a:b"])
def test_patterns_that_are_none(pattern: str) -> None:
    """A pattern is n:m with n from 1 and below m."""
    with pytest.raises(BitlensError, match=r"n:m") as error:
        Prune(pattern=pattern)
    assert repr(pattern) in error.value.found


@pytest.mark.parametrize("by", ["magnitude", "sparsegpt"])
def test_a_pattern_that_does_not_divide(one: Callable[..., LinearMap], by: str) -> None:
    """A width that is no multiple of m is refused, with the module."""
    prune = Prune(pattern="2:4", by=by)
    inputs = InputStatistics(count=torch.tensor(1), second_moment=torch.eye(6))
    with pytest.raises(BitlensError, match=r"up_proj has 6 input columns"):
        prune.compress(MatrixGroup([one(np.ones((2, 6)))], 0, inputs=inputs))


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"pattern": "2:4", "scope": "row"}, "scope=row with a pattern"),
        ({"sparsity": 0.5, "by": "sparsegpt", "scope": "tensor"}, "scope=tensor with sparsegpt"),
        ({"sparsity": 0.5, "by": "wanda", "scope": "global"}, "scope=global with wanda"),
    ],
)
def test_scopes_that_cannot_be(settings: dict, found: str) -> None:
    """A scope that would have no effect, or that cannot be known, is refused."""
    with pytest.raises(BitlensError, match=found):
        Prune(**settings)


def test_what_each_score_needs(matrices: list[LinearMap]) -> None:
    """Magnitude needs no data; the others say what they miss."""
    assert Prune(sparsity=0.5).statistics == frozenset()
    for by, statistic, words in (
        ("wanda", "mean_square", "mean_square"),
        ("sparsegpt", "second_moment", "second_moment"),
    ):
        prune = Prune(sparsity=0.5, by=by)
        assert prune.statistics == {statistic}
        for inputs in (None, InputStatistics(count=torch.tensor(1))):
            with pytest.raises(ValueError, match=words):
                prune.compress(MatrixGroup(matrices, 0, inputs=inputs))


def test_sparsegpt_does_the_least_harm(matrices: list[LinearMap]) -> None:
    """On correlated inputs the output error is smallest where others make up for what goes, and
    Wanda's is smaller than that of magnitude."""
    for matrix in matrices:
        errors = []
        for by in ("sparsegpt", "wanda", "magnitude"):
            prune = Prune(sparsity=0.5, by=by)
            found = prune.compress(group_of(matrix, prune))[0].weight
            second = inputs_of(matrix, Prune(sparsity=0.5, by="sparsegpt")).second_moment
            wrong = matrix.weight - found
            errors.append(float((wrong @ second * wrong).sum()))
        assert errors == sorted(errors)
