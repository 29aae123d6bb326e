"""LLM.int8: its weights here; what its outliers do is in the tests of activations."""

from collections.abc import Callable

import pytest
import torch

from bitlens.compression.compression import CompressedMatrix, MatrixGroup
from bitlens.compression.methods.int8 import Int8
from bitlens.errors import BitlensError
from bitlens.models.matrices import LinearMap


def int8(matrix: LinearMap, **settings: float) -> CompressedMatrix:
    return Int8(**settings).compress(MatrixGroup([matrix], 0))[0]


def test_rows_by_hand(one: Callable[..., LinearMap]) -> None:
    """[127, 0.4, 0.6] has step 1, a tenth of it 0.1; halves go to even."""
    out = int8(one([[127, 0.4, 0.6], [-12.7, 0.04, 0.06], [254, 1, 3]]))
    torch.testing.assert_close(
        out.weight, torch.tensor([[127.0, 0, 1], [-12.7, 0, 0.1], [254, 0, 4]])
    )
    assert out.bits == pytest.approx(8 + 16 / 3, abs=1e-12)


def test_a_call_by_hand(one: Callable[..., LinearMap]) -> None:
    """Column 0 has an outlier, 20: its inputs stay, and meet the int8 weight 0.5, not the 0.501
    it came from; the others are rounded by the largest of their position."""
    out = int8(one([[0.501, 63.5]]))
    assert out.weight.tolist() == [[0.5, 63.5]]
    assert out.activations is not None
    x = out.activations.round(torch.tensor([[[20.0, 1.27], [0.3, 2.54]]]))
    assert (x @ out.weight.T).flatten().tolist() == pytest.approx([10 + 80.645, 0.15 + 161.29])


def test_threshold(one: Callable[..., LinearMap]) -> None:
    """6 unless said otherwise; 0 means that there are no outliers."""
    for settings, outliers in (({}, 6.0), ({"threshold": 3.5}, 3.5), ({"threshold": 0}, None)):
        activations = int8(one([[1.0, 2.0]]), **settings).activations
        assert activations is not None
        assert activations.format == "int8"
        assert activations.outliers == outliers
    with pytest.raises(BitlensError, match=r"threshold is -1"):
        Int8(threshold=-1)


def test_experts_are_matrices(matrices: list[LinearMap]) -> None:
    """A fused expert tensor is rounded expert by expert, and a note says what a call is there."""
    fused = int8(matrices[-1])
    apart = [int8(LinearMap("expert", expert)).weight for expert in matrices[-1].weight]
    assert torch.equal(fused.weight, torch.stack(apart))
    assert "call of its own" in fused.note
    assert int8(matrices[0]).note == ""


def test_stored_otherwise(matrices: list[LinearMap]) -> None:
    """Transposed views and bfloat16 give what their values give; a row of zeros stays."""
    plain = LinearMap("plain", matrices[6].weight.contiguous())
    assert torch.equal(int8(matrices[6]).weight, int8(plain).weight)
    half = LinearMap("half", matrices[0].weight.bfloat16())
    assert torch.equal(int8(half).weight, int8(LinearMap("half", half.weight.float())).weight)
    assert int8(LinearMap("zero", torch.tensor([[0.0, 0], [1, 2]]))).weight[0].tolist() == [0, 0]
