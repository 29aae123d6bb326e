"""Optimal brain surgery: the decomposition, and the order in which columns are settled."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bitlens.compression.numerics import optimal_brain_surgeon as obs
from bitlens.compression.numerics.grid import QuantizationGrid
from bitlens.errors import BitlensError


def moments(width: int, seed: int = 0, positions: int = 200, experts: int = 2) -> Tensor:
    """Second moments of correlated inputs, `[expert, in, in]`, float64."""
    random = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=random, dtype=torch.float64)
    x = torch.randn(experts, positions, width, generator=random, dtype=torch.float64) @ mixing
    return x.mT @ x / positions


def brain_surgery(
    columns: Tensor, second: Tensor, unit: int, begin: Callable[[Tensor], Callable[[Tensor], None]]
) -> Tensor:
    """The plain way: after each column of `[in, out]`, all later ones move to where the output
    error is least, by the inverse of the second moments of those not settled yet."""
    columns = columns.clone()
    for j in range(len(columns)):
        if j % unit == 0:
            settle = begin(columns[j : j + unit])
        before = columns[j].clone()
        settle(columns[j])
        left = torch.linalg.inv(second[j:, j:])[0]
        columns[j + 1 :] -= torch.outer(left[1:] / left[0], before - columns[j])
    return columns


def test_by_hand() -> None:
    """[2 1; 1 1] = [1 1; 0 1] diag(1, 1) [1 0; 1 1]; a first column that is made larger by 0.4
    makes the second smaller by 0.4."""
    second = torch.tensor([[[2.0, 1.0], [1.0, 1.0]]])
    found = obs.decompose(second, 0.0)
    assert found.upper.tolist() == [[[1, 1], [0, 1]]]
    assert found.d.tolist() == [[1, 1]]
    columns = torch.tensor([[[0.5], [0.75]]])
    ends: list[float] = []

    def settle(number: int, column: Tensor) -> None:
        ends.append(column.item())
        column.add_(0.5 if number == 0 else 0)

    obs.settle_(columns, found.upper, 2, lambda start, unit: settle)
    assert ends == [0.5, 0.25]
    assert columns.flatten().tolist() == [1.0, 0.25]


@pytest.mark.parametrize("damping", [0.0, 0.01, 1.0])
@pytest.mark.parametrize("largest_first", [False, True])
def test_decomposition(damping: float, largest_first: bool) -> None:
    """Multiplied together again, the factors are the damped second moments, and U of GPTQ, the
    Cholesky factor of their inverse, is diag(d)^-½ (I + A)⁻¹."""
    second = moments(24)
    found = obs.decompose(second, damping, largest_first)
    mean = second.diagonal(dim1=1, dim2=2).mean(-1)
    whole = second + damping * mean[:, None, None] * torch.eye(24)
    if largest_first:
        sizes = second.diagonal(dim1=1, dim2=2).gather(1, found.order)
        assert (sizes.diff(dim=-1) <= 0).all()
        whole = torch.stack([m[o][:, o] for m, o in zip(whole, found.order, strict=True)])
    torch.testing.assert_close(found.upper * found.d[:, None] @ found.upper.mT, whole)
    gptq = torch.linalg.cholesky(torch.linalg.inv(whole), upper=True)
    torch.testing.assert_close(torch.linalg.inv(found.upper) / found.d.sqrt()[..., None], gptq)
    assert found.damping.tolist() == [damping, damping]


@pytest.mark.parametrize(
    ("width", "unit"), [(1, 1), (33, 33), (96, 96), (96, 8), (90, 30), (80, 4)]
)
@pytest.mark.parametrize("symmetric", [True, False])
def test_equals_inverting_anew_for_every_column(width: int, unit: int, symmetric: bool) -> None:
    """Rounded with every unit's grid fitted to its weights as they then are, columns end where
    brute force leaves them, to machine precision."""
    second = moments(width)
    random = torch.Generator().manual_seed(1)
    columns = torch.randn(2, width, 20, generator=random, dtype=torch.float64)
    grid = QuantizationGrid(3, symmetric)

    def begin(start: int, weights: Tensor) -> obs.Settle:
        levels = grid.fit(weights, (-2,))
        return lambda number, column: levels.round_(column)

    def plainly(weights: Tensor) -> Callable[[Tensor], None]:
        levels = grid.fit(weights, (-2,))
        return lambda column: levels.round_(column[None])

    expected = [brain_surgery(c, h, unit, plainly) for c, h in zip(columns, second, strict=True)]
    obs.settle_(columns, obs.decompose(second, 0.0).upper, unit, begin)
    torch.testing.assert_close(columns, torch.stack(expected), rtol=1e-11, atol=1e-11)


def test_units_begin_in_order_with_what_is_left() -> None:
    """Each unit is begun once, after all columns before it, also where the last is shorter."""
    begun: list[tuple[int, int]] = []
    settled: list[int] = []

    def begin(start: int, columns: Tensor) -> obs.Settle:
        assert settled == list(range(start))
        begun.append((start, columns.shape[1]))
        return lambda number, column: settled.append(number)

    obs.settle_(torch.ones(1, 70, 3), torch.eye(70)[None], 16, begin)
    assert begun == [(0, 16), (16, 16), (32, 16), (48, 16), (64, 6)]
    assert settled == list(range(70))


def test_damping_is_raised_for_whom_it_is_too_little() -> None:
    """Of two experts the one that met 4 positions with 24 columns gets more damping, and it is
    said; the other keeps what was asked for."""
    second = torch.stack([moments(24, experts=1)[0], moments(24, positions=4, experts=1)[0]])
    second = second.float()
    weights = torch.randn(2, 24, 5)
    kept: list[float] = []

    def work(columns: Tensor, found: obs.Decomposition) -> None:
        kept.extend(found.damping.tolist())
        assert torch.isfinite(found.upper).all()
        assert (found.d > 0).all()

    note = obs.operate_([weights], second, 1e-9, work)
    assert kept[0] == pytest.approx(1e-9)
    assert 1e-7 < kept[1] < 1e-3
    assert note == f"damping raised from 1e-09 to {kept[1]:.1g} in 1 of 2 experts"


def test_never_active_columns_and_experts() -> None:
    """A column that was never active becomes zero and touches no other; an expert that was never
    active keeps its weights, and is worked on as if all columns were alike."""
    second = moments(6).float()
    second[0, 2] = second[0, :, 2] = 0
    second[1] = 0
    weights = torch.ones(2, 6, 3)

    def work(columns: Tensor, found: obs.Decomposition) -> None:
        assert torch.equal(found.upper[1], torch.eye(6))
        assert (found.d[1] == 1).all()
        apart = torch.zeros(6)
        apart[2] = 1
        assert torch.equal(found.upper[0, 2], apart)
        assert torch.equal(found.upper[0, :, 2], apart)

    note = obs.operate_([weights], second, 0.01, work)
    assert (weights[0, 2] == 0).all()
    assert weights.sum() == 33
    assert note == (
        "1 of 12 input columns never active: made zero; 1 of 2 inputs never active: not calibrated"
    )


def test_experts_in_parts_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many experts are worked on at a time, each meets its own second moments."""
    second = moments(8, experts=5).float()
    sizes: list[int] = []
    uppers: list[Tensor] = []

    def work(columns: Tensor, found: obs.Decomposition) -> None:
        sizes.append(len(columns))
        uppers.append(found.upper)

    weights = torch.zeros(5, 8, 2)
    assert obs.operate_([weights], second, 0.01, work) == ""
    monkeypatch.setattr(obs, "_WORKING_SET", 2 * 8 * 8 * 4)
    assert obs.operate_([weights], second, 0.01, work) == ""
    assert sizes == [5, 2, 2, 1]
    assert torch.equal(torch.cat(uppers[1:]), uppers[0])


def test_what_is_no_second_moment() -> None:
    """A matrix that no damping makes positive definite is a mistake of the caller."""
    with pytest.raises(ValueError, match="no second moments"):
        obs.decompose(torch.tensor([[[1.0, 30.0], [30.0, 1.0]]]), 0.01)


@pytest.mark.parametrize("damping", [-0.01, 1.5])
def test_damping_out_of_range(damping: float) -> None:
    """A damping that takes away, or that is more than all there is, is refused."""
    with pytest.raises(BitlensError, match=f"gptq: damping is {damping}"):
        obs.check_damping("gptq", damping)
