"""GPTQ: against brute force, against rounding to nearest, and at its edges."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from bitlens.compression.compression import CompressedMatrix, MatrixGroup
from bitlens.compression.methods.gptq import Gptq
from bitlens.compression.methods.rtn import Rtn
from bitlens.compression.numerics.input_statistics import InputStatistics
from bitlens.errors import BitlensError
from bitlens.models.matrices import LinearMap
from tests.support.calibrated import inputs_of

BITS = {"bits": 3}


def gptq(matrix: LinearMap, second: Tensor, **settings: object) -> CompressedMatrix:
    inputs = InputStatistics(count=torch.tensor(100), second_moment=second)
    return Gptq(**{**BITS, **settings}).compress(MatrixGroup([matrix], 0, inputs=inputs))[0]


def rtn(matrix: LinearMap, **settings: object) -> Tensor:
    return Rtn(**{**BITS, **settings}).compress(MatrixGroup([matrix], 0))[0].weight


def layer(
    seed: int = 0, decay: float = 1.0, rows: int = 24, width: int = 64
) -> tuple[LinearMap, Tensor]:
    """A random matrix, and second moments whose eigenvalues fall like a power in random
    directions."""
    random = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(width, width, generator=random)).Q
    second = basis * torch.arange(1, width + 1).pow(-decay) @ basis.T
    return LinearMap("layer", torch.randn(rows, width, generator=random)), (second + second.T) / 2


def output_error(matrix: LinearMap, weight: Tensor, second: Tensor) -> float:
    """tr((W - Ŵ) H (W - Ŵ)ᵀ), summed over experts."""
    wrong = (matrix.weight - weight).double()
    return float((wrong @ second.double() * wrong).sum())


def brute_force(
    matrix: LinearMap, second: Tensor, damping: float = 0.01, updated: bool = True
) -> Tensor:
    """Row scales; the second moments of the columns not rounded yet are inverted at each column
    (or, not updated, cut out of the one inverse of all), in float64."""
    weight, second = matrix.weight.double().clone(), second.double()
    second = second + damping * second.diagonal().mean() * torch.eye(len(second))
    step = weight.abs().amax(-1) / (2 ** (BITS["bits"] - 1) - 1)
    largest = 2 ** (BITS["bits"] - 1) - 1
    whole = torch.linalg.inv(second)
    for j in range(len(second)):
        left = (torch.linalg.inv(second[j:, j:]) if updated else whole[j:, j:])[0]
        rounded = (weight[:, j] / step).round().clamp(-largest, largest) * step
        error = (weight[:, j] - rounded) / left[0]
        weight[:, j + 1 :] -= torch.outer(error, left[1:])
        weight[:, j] = rounded
    return weight.float()


def test_by_hand(one: Callable[..., LinearMap]) -> None:
    """[0.6, 0.7, 1] at 2 bits has step 1. 0.6 goes up to 1; the second column's inputs are half
    of the first's besides its own, so 0.4 too much there makes 0.7 into 0.3, which goes to 0."""
    second = torch.tensor([[2.0, 1, 0], [1, 1, 0], [0, 0, 1]])
    matrix = one([[0.6, 0.7, 1]])
    assert gptq(matrix, second, bits=2, damping=0.0).weight.tolist() == [[1, 0, 1]]
    assert rtn(matrix, bits=2).tolist() == [[1, 1, 1]]


@pytest.mark.parametrize("seed", range(4))
def test_equals_brute_force(seed: int) -> None:
    """The weights are those of inverting anew at every column."""
    matrix, second = layer(seed)
    torch.testing.assert_close(gptq(matrix, second).weight, brute_force(matrix, second))


@pytest.mark.parametrize("seed", range(4))
def test_without_cholesky_equals_the_inverse_that_is_never_updated(seed: int) -> None:
    """cholesky=false is the form that divides by and propagates with rows of one inverse."""
    matrix, second = layer(seed)
    expected = brute_force(matrix, second, updated=False)
    torch.testing.assert_close(gptq(matrix, second, cholesky=False).weight, expected)


@pytest.mark.parametrize("decay", [0.5, 1.0, 1.5])
def test_without_cholesky_lies_between(decay: float) -> None:
    """Its output error is between those of rounding to nearest and of GPTQ, and the more
    correlated the inputs are, the farther from GPTQ's."""
    matrix, second = layer(0, decay, 96, 256)
    nearest = output_error(matrix, rtn(matrix, bits=4), second)
    wrong = output_error(matrix, gptq(matrix, second, bits=4, cholesky=False).weight, second)
    right = output_error(matrix, gptq(matrix, second, bits=4).weight, second)
    assert right < wrong < nearest
    assert wrong / right > {0.5: 1.02, 1.0: 1.3, 1.5: 2.5}[decay]


@pytest.mark.parametrize("damping", [0.0, 0.01])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"group": 16},
        {"symmetric": False},
        {"group": 8, "symmetric": False, "clip": "mse"},
        {"convention": "gptq", "clip": "mse"},
        {"convention": "full"},
        {"act_order": True},
        {"group": 16, "act_order": True},
        {"group": 16, "act_order": True, "symmetric": False},
        {"cholesky": False},
    ],
)
def test_equals_rounding_to_nearest_where_inputs_are_uncorrelated(
    matrices: list[LinearMap], settings: dict, damping: float
) -> None:
    """With nothing to make up for with, every grid gives what rtn gives, exactly."""
    ours = {"act_order", "cholesky"}
    plain = {key: value for key, value in settings.items() if key not in ours}
    for matrix in matrices:
        *experts, _, width = matrix.weight.shape
        sizes = torch.rand(*experts, width, generator=torch.Generator().manual_seed(0)) + 0.1
        found = gptq(matrix, torch.diag_embed(sizes), damping=damping, **settings).weight
        assert torch.equal(found, rtn(matrix, **plain))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"bits": 2, "clip": "mse"},
        {"group": 16},
        {"group": 16, "symmetric": False},
        {"act_order": True},
        {"group": 16, "act_order": True},
        {"cholesky": False},
    ],
)
def test_error_is_no_larger_than_of_rounding_to_nearest(settings: dict, seed: int) -> None:
    """On correlated inputs the output error is smaller, whatever the grid and the order."""
    matrix, second = layer(seed)
    ours = {"act_order", "cholesky"}
    plain = {key: value for key, value in settings.items() if key not in ours}
    found = output_error(matrix, gptq(matrix, second, **settings).weight, second)
    assert found < output_error(matrix, rtn(matrix, **plain), second)


def test_act_order_is_another_order_of_columns() -> None:
    """With row scales: columns put in falling order of x², rounded, and put back."""
    matrix, second = layer()
    second = second * torch.outer(*[torch.logspace(-1, 1, 64)] * 2)
    order = second.diagonal().argsort(descending=True)
    sorted_map = LinearMap("sorted", matrix.weight[:, order])
    expected = torch.empty_like(matrix.weight)
    expected[:, order] = gptq(sorted_map, second[order][:, order]).weight
    found = gptq(matrix, second, act_order=True).weight
    torch.testing.assert_close(found, expected)
    assert not torch.equal(found, gptq(matrix, second).weight)


def test_act_order_keeps_the_groups() -> None:
    """Scales of groups are those of the original weights, where their columns stand."""
    matrix, second = layer()
    steps = matrix.weight.unflatten(-1, (-1, 16)).abs().amax(-1, keepdim=True) / 3
    codes = gptq(matrix, second, group=16, act_order=True).weight.unflatten(-1, (-1, 16)) / steps
    torch.testing.assert_close(codes, codes.round(), rtol=0, atol=1e-5)
    assert codes.abs().max() < 3.001


@pytest.mark.parametrize("symmetric", [True, False])
def test_scales_of_groups_follow_from_updated_weights(symmetric: bool) -> None:
    """The first group's grid is that of the original weights, later ones are not; every group
    takes no more values than its bits allow."""
    matrix, second = layer()
    groups = gptq(matrix, second, group=16, symmetric=symmetric).weight.unflatten(-1, (-1, 16))
    plain = rtn(matrix, group=16, symmetric=symmetric).unflatten(-1, (-1, 16))
    assert max(len(group.unique()) for group in groups.flatten(0, 1)) <= 8
    largest, originally = groups.abs().amax(-1), plain.abs().amax(-1)
    same = torch.isclose(largest, originally, rtol=1e-5).float().mean(0)
    assert same[0] > 0.5 > same[1:].max()


def test_experts_are_matrices(matrices: list[LinearMap]) -> None:
    """Every expert is what it is alone with its own inputs."""
    fused = matrices[-1]
    for settings in ({}, {"group": 8}, {"group": 8, "act_order": True}, {"symmetric": False}):
        compression = Gptq(bits=3, **settings)
        second = inputs_of(fused, compression).second_moment
        alone = [
            gptq(LinearMap("e", w), h, **settings).weight
            for w, h in zip(fused.weight, second, strict=True)
        ]
        found = gptq(fused, second, **settings)
        torch.testing.assert_close(found.weight, torch.stack(alone))
        assert found.weight.is_contiguous()


def test_maps_that_read_the_same_input(matrices: list[LinearMap]) -> None:
    """Several maps at once are what each is alone."""
    compression = Gptq(bits=3)
    inputs = inputs_of(matrices[0], compression)
    together = compression.compress(MatrixGroup(matrices[:3], 0, inputs=inputs))
    for matrix, result in zip(matrices[:3], together, strict=True):
        alone = compression.compress(MatrixGroup([matrix], 0, inputs=inputs))[0]
        assert torch.equal(result.weight, alone.weight)


def test_columns_never_active() -> None:
    """They become zero, it is said, and the others are what they are without them."""
    matrix, second = layer()
    second[5] = second[:, 5] = 0
    second[40] = second[:, 40] = 0
    matrix.weight[:, [5, 40]] *= 0.5
    found = gptq(matrix, second, damping=0.0)
    assert (found.weight[:, [5, 40]] == 0).all()
    assert found.note == "2 of 64 input columns never active: made zero"
    rest = [j for j in range(64) if j not in (5, 40)]
    without = gptq(LinearMap("rest", matrix.weight[:, rest]), second[rest][:, rest], damping=0.0)
    torch.testing.assert_close(found.weight[:, rest], without.weight)


def test_experts_never_active(matrices: list[LinearMap]) -> None:
    """An expert to which no token was routed is rounded to nearest, and it is said."""
    fused = matrices[-1]
    second = inputs_of(fused, Gptq(bits=3)).second_moment
    second[1] = 0
    found = gptq(fused, second)
    assert torch.equal(found.weight[1], rtn(fused)[1])
    assert not torch.equal(found.weight[0], rtn(fused)[0])
    assert found.note == "1 of 3 inputs never active: not calibrated"


@pytest.mark.parametrize("positions", [1, 10])
def test_fewer_positions_than_columns(positions: int) -> None:
    """Second moments that have no Cholesky factor get more damping, and it is said."""
    matrix, _ = layer()
    x = torch.randn(positions, 64, generator=torch.Generator().manual_seed(1))
    second = x.T @ x / positions
    found = gptq(matrix, second, damping=0.0)
    assert found.note.startswith("damping raised from 0 to ")
    assert 0 < float(found.note.rpartition(" ")[2]) <= 0.1
    assert torch.isfinite(found.weight).all()
    assert output_error(matrix, found.weight, second) < output_error(matrix, rtn(matrix), second)
    assert gptq(matrix, second).note == ""


@pytest.mark.parametrize(
    ("settings", "bits"),
    [
        ({}, 3 + 16 / 64),
        ({"group": 16}, 3 + 16 / 16),
        ({"group": 16, "symmetric": False}, 3 + 19 / 16),
        ({"group": 16, "act_order": True}, 3 + 16 / 16),
        ({"bits": 8, "symmetric": False}, 8 + 24 / 64),
    ],
)
def test_bits_by_hand(settings: dict, bits: float) -> None:
    """A scale of 16 bits for 64 weights a row, or 16 a group; a zero point of as many bits as a
    weight. The order of columns is nowhere kept."""
    found = gptq(*layer(), **settings)
    assert found.bits == pytest.approx(bits, abs=1e-12)
    assert found.group == settings.get("group", 0)


def test_storage_changes_nothing() -> None:
    """Stored transposed, or in bfloat16 with the same values, the result is the same."""
    matrix, second = layer()
    weight = matrix.weight.bfloat16()
    plain = gptq(LinearMap("plain", weight.float()), second).weight
    assert torch.equal(gptq(LinearMap("half", weight), second).weight, plain)
    transposed = weight.float().T.contiguous().T
    assert torch.equal(gptq(LinearMap("transposed", transposed), second).weight, plain)


def test_one_column_and_one_row(one: Callable[..., LinearMap]) -> None:
    """The smallest matrices are rounded to nearest; a row of zeros stays one."""
    assert gptq(one([[0.3], [0.0]]), torch.ones(1, 1)).weight.flatten().tolist() == [
        pytest.approx(0.3),
        0,
    ]
    assert gptq(one([[0.0, 0.0]]), torch.eye(2), group=2).weight.tolist() == [[0, 0]]


def test_sequential_is_a_setting() -> None:
    """True unless said otherwise, in the text form too."""
    assert Gptq(bits=4).sequential is True
    assert Gptq(bits=4, sequential=False).sequential is False


def test_needs_its_inputs(matrices: list[LinearMap]) -> None:
    """Without second moments there is nothing to calibrate on."""
    assert Gptq(bits=4).statistics == {"second_moment"}
    for inputs in (None, InputStatistics(count=torch.tensor(1))):
        with pytest.raises(ValueError, match="second_moment"):
            Gptq(bits=4).compress(MatrixGroup(matrices, 0, inputs=inputs))


def test_group_that_does_not_divide(one: Callable[..., LinearMap]) -> None:
    """A group that does not divide is refused, with the module, the width and what would."""
    with pytest.raises(BitlensError) as error:
        gptq(one(np.ones((2, 12))), torch.eye(12), group=5)
    assert "12 input columns of layers.0.mlp.up_proj" in error.value.found
    assert error.value.remedy == "group=4"


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"bits": 1}, "bits is 1"),
        ({"bits": 9}, "bits is 9"),
        ({"group": -1}, "group is -1"),
        ({"damping": -0.1}, "damping is -0.1"),
        ({"damping": 2.0}, "damping is 2.0"),
        ({"symmetric": False, "convention": "gptq"}, "convention=gptq with symmetric=false"),
    ],
)
def test_settings_out_of_range(settings: dict, found: str) -> None:
    """Settings that cannot be are refused, in words."""
    with pytest.raises(BitlensError, match=f"gptq: {found}"):
        Gptq(**{"bits": 4, **settings})
