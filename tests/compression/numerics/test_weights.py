"""What every method needs of a map's weight, at the ends of what numbers there are."""

from collections.abc import Callable

import pytest
import torch

from bitlens.compression import parse_spec
from bitlens.compression.compression import MatrixGroup
from bitlens.compression.coverage import Storage, measure
from bitlens.compression.numerics.weights import frobenius, working_copy
from bitlens.errors import BitlensError
from bitlens.models.matrices import LinearMap
from bitlens.models.tensors import finite

LARGE = torch.full((2000, 1000), 1e36)
"""Two million, whose sum is more than float32 holds."""


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_one_bad_weight_is_found_wherever_it_is(dtype: torch.dtype, bad: float) -> None:
    """Among others that are fine, first, last or between, in rows or transposed."""
    for place in ((0, 0), (40, 36), (17, 5)):
        weights = torch.ones(41, 37, dtype=dtype)
        assert finite(weights)
        assert finite(weights.T)
        weights[place] = bad
        assert not finite(weights)
        assert not finite(weights.T)
    assert finite(torch.ones(0, 3))


def test_large_weights_are_finite(one: Callable[..., LinearMap]) -> None:
    """Their sum overflows; they themselves do not."""
    assert torch.isinf(LARGE.sum())
    assert torch.equal(working_copy(one(LARGE)), LARGE)


def test_bad_weights_are_refused_by_name(one: Callable[..., LinearMap]) -> None:
    with pytest.raises(BitlensError, match=r"up_proj holds weights that are infinite or not a n"):
        working_copy(one([[1, float("nan")]]))


@pytest.mark.parametrize("text", ["rtn:bits=8", "cast:dtype=bfloat16", "prune:sparsity=0.5"])
def test_large_weights_are_compressed(one: Callable[..., LinearMap], text: str) -> None:
    """And the error that makes is a number."""
    matrix = one(LARGE[:40] * torch.linspace(0.1, 1, 1000))
    (made,) = parse_spec(text).compress(MatrixGroup([matrix], 0))
    storage = Storage(format=text, bits=made.bits)
    row = measure(matrix.name, "block", matrix.weight, made.weight, storage=storage)
    assert row.relative_error is not None
    assert 0 < row.relative_error < 1


def test_norms_of_large_rows_by_hand() -> None:
    """[3e30, 4e30] is 5e30 long, though its square is more than float32 holds; two of them
    together are 5e30 times the root of 2. Beside it a matrix of ordinary size."""
    matrices = torch.tensor([[[3e30, 4e30], [3e30, 4e30]], [[3.0, 4], [0, 0]]])
    assert frobenius(matrices).flatten().tolist() == pytest.approx([5e30 * 2**0.5, 5], rel=1e-6)
    assert torch.isinf(frobenius(torch.tensor([[float("inf"), 1]]))).all()
