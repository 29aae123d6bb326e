"""QuIP: the change of basis, and what it is good for."""

import pytest
import torch
from torch import Tensor

from bitlens.compression.compression import MatrixGroup
from bitlens.compression.methods.gptq import Gptq
from bitlens.compression.methods.quip import Quip, Rotation
from bitlens.compression.methods.rtn import Rtn
from bitlens.compression.numerics.input_statistics import InputStatistics
from bitlens.errors import BitlensError
from bitlens.models.matrices import LinearMap
from tests.support.calibrated import group_of, inputs_of

CPU = torch.device("cpu")


def draw(size: int, seed: int = 0) -> Rotation:
    return Rotation.draw(size, torch.Generator().manual_seed(seed), CPU)


def quip(matrix: LinearMap, seed: int = 0, **settings: object) -> Tensor:
    compression = Quip(**{"bits": 2, **settings})
    return compression.compress(group_of(matrix, compression, seed))[0].weight


def output_error(matrix: LinearMap, weight: Tensor) -> float:
    second = inputs_of(matrix, Quip(bits=2)).second_moment
    return float(((matrix.weight - weight) @ second * (matrix.weight - weight)).sum())


def test_a_rotation_by_hand() -> None:
    """[1, 2, 3, 4] reversed is [4 3; 2 1]; its rows exchanged and then the sign of its second
    column changed, [2 -1; 4 -3]."""
    swap, mirror = torch.tensor([[0.0, 1], [1, 0]]), torch.tensor([[1.0, 0], [0, -1]])
    rotation = Rotation(torch.tensor([3, 2, 1, 0]), swap, mirror)
    turned = rotation.apply(torch.tensor([1.0, 2, 3, 4]))
    assert turned.tolist() == [2, -1, 4, -3]
    assert rotation.undo(turned).tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("size", [1, 7, 12, 36, 768])
def test_rotations_are_orthogonal_and_undone(size: int) -> None:
    """The matrix of the change times its transpose is the identity, and undoing gives back what
    was there; factors are as alike as they can be."""
    rotation = draw(size)
    matrix = rotation.apply(torch.eye(size))
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(size), rtol=0, atol=1e-5)
    x = torch.randn(3, size, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(rotation.undo(rotation.apply(x)), x)
    assert len(rotation.left) == {1: 1, 7: 1, 12: 3, 36: 6, 768: 24}[size]


def test_rotations_spread_what_stands_out() -> None:
    """One number of 768 becomes many of about 1/28 each, none beyond a third."""
    lone = torch.zeros(768)
    lone[100] = 1
    assert draw(768).apply(lone).abs().max() < 1 / 3


def test_in_no_other_basis_it_is_gptq(
    matrices: list[LinearMap], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With bases that change nothing, quip is gptq on the same grid, exactly."""
    monkeypatch.setattr(
        Rotation,
        "draw",
        lambda size, random, device: Rotation(torch.arange(size), torch.eye(1), torch.eye(size)),
    )
    gptq = Gptq(bits=3, symmetric=False, clip="mse")
    for matrix in matrices:
        expected = gptq.compress(group_of(matrix, gptq))[0].weight
        assert torch.equal(quip(matrix, bits=3), expected)


@pytest.mark.parametrize("seed", range(3))
def test_at_eight_bits_nearly_nothing_is_lost(matrices: list[LinearMap], seed: int) -> None:
    """What is put into another basis and rounded finely comes back."""
    for matrix in matrices:
        error = torch.dist(quip(matrix, seed, bits=8), matrix.weight) / matrix.weight.norm()
        assert error < 0.02
        assert quip(matrix, seed, bits=8).is_contiguous()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("symmetric", [True, False])
def test_outliers_do_less_harm(seed: int, symmetric: bool) -> None:
    """At 2 bits, with one weight in a hundred ten times as large, the output error is smaller
    than that of gptq on the same grid, and that smaller than rounding to nearest."""
    random = torch.Generator().manual_seed(seed)
    weight = torch.randn(64, 96, generator=random)
    weight[torch.rand(64, 96, generator=random) < 0.01] *= 10
    matrix = LinearMap("layer", weight)
    same = {"bits": 2, "symmetric": symmetric, "clip": "mse"}
    gptq = Gptq(**same)
    errors = [
        output_error(matrix, quip(matrix, seed, symmetric=symmetric)),
        output_error(
            matrix,
            gptq.compress(group_of(matrix, gptq))[0].weight,
        ),
        output_error(matrix, Rtn(**same).compress(MatrixGroup([matrix], 0))[0].weight),
    ]
    assert errors == sorted(errors)
    assert errors[0] < 0.7 * errors[2]


def test_bases_follow_from_seed_and_name(matrices: list[LinearMap]) -> None:
    """Another seed or another name gives another basis; the same give the same."""
    matrix = matrices[0]
    renamed = LinearMap("another", matrix.weight)
    assert torch.equal(quip(matrix, 1), quip(matrix, 1))
    assert not torch.equal(quip(matrix, 1), quip(matrix, 2))
    assert not torch.equal(quip(matrix, 1), quip(renamed, 1))


def test_experts_are_matrices(matrices: list[LinearMap]) -> None:
    """Every expert is what it is alone, in the bases of its map."""
    fused = matrices[-1]
    second = inputs_of(fused, Quip(bits=3)).second_moment
    for weight, own, found in zip(fused.weight, second, quip(fused, bits=3), strict=True):
        inputs = InputStatistics(count=torch.tensor(9), second_moment=own)
        alone = (
            Quip(bits=3)
            .compress(MatrixGroup([LinearMap(fused.name, weight)], 0, inputs=inputs))[0]
            .weight
        )
        torch.testing.assert_close(found, alone)


@pytest.mark.parametrize(
    ("settings", "bits"), [({}, 2 + 18 / 16), ({"bits": 4, "symmetric": True}, 4 + 16 / 16)]
)
def test_bits_by_hand(matrices: list[LinearMap], settings: dict, bits: float) -> None:
    """Of 16 columns: a scale of 16 bits a row, and a zero point where the grid has one; bases
    are drawn again from the seed."""
    compression = Quip(**{"bits": 2, **settings})
    found = compression.compress(group_of(matrices[0], compression))[0]
    assert found.bits == pytest.approx(bits, abs=1e-12)
    assert found.group == 0


def test_damping_that_was_raised_is_said(matrices: list[LinearMap]) -> None:
    """Where fewer positions than columns were met and no damping was asked for."""
    x = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    inputs = InputStatistics(count=torch.tensor(3), second_moment=x.T @ x / 3)
    found = Quip(bits=4, damping=0.0).compress(MatrixGroup(matrices[:1], 0, inputs=inputs))[0]
    assert found.note.startswith("damping raised from 0 to ")
    assert torch.isfinite(found.weight).all()


def test_needs_its_inputs(matrices: list[LinearMap]) -> None:
    """Without second moments there is nothing to calibrate on."""
    assert Quip(bits=4).statistics == {"second_moment"}
    for inputs in (None, InputStatistics(count=torch.tensor(1))):
        with pytest.raises(ValueError, match="second_moment"):
            Quip(bits=4).compress(MatrixGroup(matrices, 0, inputs=inputs))


@pytest.mark.parametrize("settings", [{"bits": 1}, {"bits": 9}, {"bits": 4, "damping": -1.0}])
def test_settings_out_of_range(settings: dict) -> None:
    """Settings that cannot be are refused."""
    with pytest.raises(BitlensError, match="quip: "):
        Quip(**settings)
