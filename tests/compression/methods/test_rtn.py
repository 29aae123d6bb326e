"""Round to nearest: what shares a scale."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from bitlens.compression.compression import MatrixGroup
from bitlens.compression.methods.rtn import Rtn
from bitlens.errors import BitlensError
from bitlens.models.matrices import LinearMap


def rtn(matrix: LinearMap, **settings: object) -> Tensor:
    return Rtn(**{"bits": 3, **settings}).compress(MatrixGroup([matrix], 0))[0].weight


def absmax(weights: Tensor, dims: tuple[int, ...], bits: int = 3) -> Tensor:
    """Absolute-maximum rounding over these axes, the plain way."""
    step = weights.abs().amax(dims, keepdim=True) / (2 ** (bits - 1) - 1)
    return (weights / step).round() * step


def heads_apart(rows: Tensor, size: int) -> Tensor:
    """Rows `[head * size, in]` as TransformerLens stores them: `[head, in, size]`."""
    return rows.unflatten(0, (-1, size)).transpose(1, 2)


def heads_together(heads: Tensor) -> Tensor:
    """The way back."""
    return heads.transpose(1, 2).flatten(0, 1)


def test_a_row_by_hand(one: Callable[..., LinearMap]) -> None:
    """Each output row has its own scale: [-1, 0.3, 0.75] and ten times that."""
    out = rtn(one([[-1, 0.3, 0.75], [-10, 3, 7.5]]))
    expected = torch.tensor([[-1, 1 / 3, 2 / 3], [-10, 10 / 3, 20 / 3]])
    assert torch.allclose(out, expected)


def test_a_tensor_by_hand(one: Callable[..., LinearMap]) -> None:
    """One scale of 10/3 for the whole matrix leaves of the small row nothing."""
    out = rtn(one([[-1, 0.3, 0.75], [-10, 3, 7.5]]), scope="tensor")
    assert torch.allclose(out, torch.tensor([[0, 0, 0], [-10, 10 / 3, 20 / 3]]))


def test_groups_by_hand(one: Callable[..., LinearMap]) -> None:
    """Groups of two input columns: [-1, 0.3] has step 1/3, [6, 1.5] step 2."""
    out = rtn(one([[-1, 0.3, 6, 1.5]]), group=2)
    assert torch.allclose(out, torch.tensor([[-1, 1 / 3, 6, 2]]))


@pytest.mark.parametrize("settings", [{}, {"symmetric": False}, {"group": 16}, {"clip": "mse"}])
def test_groups_are_rows_of_the_reshaped_matrix(matrices: list[LinearMap], settings: dict) -> None:
    """Grouping is what rounding the rows of [out * groups, group] gives."""
    for matrix in matrices:
        as_rows = LinearMap(matrix.name, matrix.weight.reshape(-1, 16))
        settings_of_rows = {key: value for key, value in settings.items() if key != "group"}
        expected = rtn(as_rows, **settings_of_rows).view(matrix.weight.shape)
        assert torch.equal(rtn(matrix, **{"group": 16, **settings}), expected)


def test_experts_are_matrices(matrices: list[LinearMap]) -> None:
    """A fused expert tensor is rounded expert by expert, also where a matrix shares one scale."""
    fused = matrices[-1]
    for settings in ({}, {"scope": "tensor"}, {"axis": "input"}, {"axis": "heads"}, {"group": 8}):
        apart = [rtn(LinearMap("expert", expert), **settings) for expert in fused.weight]
        assert torch.equal(rtn(fused, **settings), torch.stack(apart))


@pytest.mark.parametrize("place", [0, 1])
def test_input_axis_reduces_over_the_index_within_the_head(
    matrices: list[LinearMap], place: int
) -> None:
    """axis=input of a query map with four heads, or a key map with two, is TransformerLens's
    [head, d_model, d_head] reduced over its last axis."""
    matrix = matrices[place]
    expected = heads_together(absmax(heads_apart(matrix.weight, 8), (-1,)))
    torch.testing.assert_close(rtn(matrix, axis="input"), expected)


@pytest.mark.parametrize("place", [0, 1])
def test_heads_axis_reduces_over_heads_and_inputs(matrices: list[LinearMap], place: int) -> None:
    """axis=heads of a query or key map is [head, d_model, d_head] reduced over all but its last."""
    matrix = matrices[place]
    expected = heads_together(absmax(heads_apart(matrix.weight, 8), (0, 1)))
    torch.testing.assert_close(rtn(matrix, axis="heads"), expected)


@pytest.mark.parametrize("axis", ["input", "heads"])
def test_output_projection_with_heads_apart(matrices: list[LinearMap], axis: str) -> None:
    """W_O as [head, d_head, d_model]: over its last axis for input, over the others for heads."""
    matrix = matrices[5]
    heads = matrix.weight.t().unflatten(0, (4, 8))
    rounded = absmax(heads, (-1,) if axis == "input" else (0, 1))
    torch.testing.assert_close(rtn(matrix, axis=axis), rounded.flatten(0, 1).t())


@pytest.mark.parametrize("axis", ["input", "heads"])
def test_mlp_stored_as_input_by_output(matrices: list[LinearMap], axis: str) -> None:
    """W_in as [d_model, d_mlp]: over its last axis for input, over its first for heads."""
    matrix = matrices[6]
    rounded = absmax(matrix.weight.t(), (-1,) if axis == "input" else (0,))
    torch.testing.assert_close(rtn(matrix, axis=axis), rounded.t())


@pytest.mark.parametrize("axis", ["input", "heads"])
@pytest.mark.parametrize("fused", ["contiguous", "interleaved"])
def test_a_fused_map_is_its_three_parts(fused: str, axis: str) -> None:
    """Query, key and value of one map are rounded as if they were three maps."""
    parts = torch.randn(3, 4, 2, 10, generator=torch.Generator().manual_seed(0))
    parts *= torch.tensor([1.0, 5.0, 25.0]).view(3, 1, 1, 1)
    stored = parts if fused == "contiguous" else parts.transpose(0, 1)
    matrix = LinearMap("qkv", stored.flatten(0, 2), head_size=2, fused=fused)
    apart = [rtn(LinearMap("part", part.flatten(0, 1), head_size=2), axis=axis) for part in parts]
    out = rtn(matrix, axis=axis).view(stored.shape)
    out = out if fused == "contiguous" else out.transpose(0, 1)
    assert torch.equal(out, torch.stack(apart).view(parts.shape))


@pytest.mark.parametrize(
    ("settings", "bits"),
    [
        ({}, 3 + 16 / 16),
        ({"group": 8}, 3 + 16 / 8),
        ({"group": 8, "symmetric": False}, 3 + 19 / 8),
        ({"scope": "tensor"}, 3 + 16 / 512),
        ({"axis": "input"}, 3 + 16 / 8),
        ({"axis": "heads"}, 3 + 16 / 64),
    ],
)
def test_bits_by_hand(matrices: list[LinearMap], settings: dict, bits: float) -> None:
    """A query map [32, 16] of four heads at 3 bits: 16 weights a row, 8 a head and column, 64 an
    index within the head, 512 in all."""
    assert Rtn(bits=3, **settings).compress(MatrixGroup(matrices[:1], 0))[0].bits == pytest.approx(
        bits, abs=1e-12
    )


def test_transposed_storage_changes_nothing(matrices: list[LinearMap]) -> None:
    """A map stored [in, out] gives what the same map stored [out, in] gives."""
    transposed = matrices[6]
    plain = LinearMap(transposed.name, transposed.weight.contiguous())
    for settings in ({}, {"group": 8}, {"scope": "tensor"}, {"axis": "input"}):
        assert torch.equal(rtn(transposed, **settings), rtn(plain, **settings))


def test_group_that_does_not_divide(one: Callable[..., LinearMap]) -> None:
    """A group that does not divide is refused, with the module, the width and what would."""
    with pytest.raises(BitlensError) as error:
        rtn(one(np.ones((2, 12))), group=5)
    assert "12 input columns of layers.0.mlp.up_proj" in error.value.found
    assert error.value.expected == "one of 2, 3, 4, 6, 12."
    assert error.value.remedy == "group=4"


@pytest.mark.parametrize(
    "settings",
    [
        {"group": 64, "scope": "tensor"},
        {"group": 64, "axis": "heads"},
        {"axis": "input", "scope": "tensor"},
        {"symmetric": False, "convention": "gptq"},
        {"bits": 1},
        {"bits": 9},
        {"group": -1},
    ],
)
def test_settings_that_contradict_each_other(settings: dict) -> None:
    """Settings of which one would have no effect are refused, as are those out of range."""
    with pytest.raises(BitlensError, match="rtn"):
        Rtn(**{"bits": 4, **settings})


def test_rows_that_are_no_heads(one: Callable[..., LinearMap]) -> None:
    """A map whose rows are no whole number of heads is named."""
    for fused in (None, "contiguous", "interleaved"):
        with pytest.raises(BitlensError, match=r"up_proj has 10 rows"):
            rtn(one(np.ones((10, 4)), head_size=4, fused=fused), axis="heads")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(one: Callable[..., LinearMap], bad: float) -> None:
    """NaN and infinity are refused by module, not rounded away."""
    with pytest.raises(BitlensError, match=r"layers\.0\.mlp\.up_proj"):
        rtn(one([[1.0, bad]]))
