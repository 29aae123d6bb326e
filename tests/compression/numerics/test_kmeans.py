"""K-means in one dimension."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from bitlens.compression.numerics.kmeans import means


def error(rows: Tensor, counts: Tensor, values: Tensor) -> Tensor:
    """Squared distances to the nearest value, each counted so often, by row."""
    distance = (rows.unsqueeze(-1) - values.unsqueeze(1)).abs().amin(-1)
    return (distance.double() ** 2 * counts).sum(-1)


def members(rows: int, count: int, spread: float) -> tuple[Tensor, Tensor]:
    """Normal members that count alike, or as log-normal numbers."""
    random = torch.Generator().manual_seed(0)
    members = torch.randn(rows, count, generator=random)
    return members, (spread * torch.randn(rows, count, generator=random)).exp()


def test_by_hand() -> None:
    """0 and 1 are together, 10 and 12 too: where all count alike at 0.5 and 11, where 1 counts
    three times at 0.75 and 11."""
    rows = torch.tensor([[12.0, 0, 1, 10], [12, 0, 1, 10]])
    counts = torch.tensor([[1, 1, 1, 1], [1, 1, 3, 1]])
    assert means(rows, counts, 2).tolist() == [[0.5, 11], [0.75, 11]]


@pytest.mark.parametrize("number", [2, 8, 16])
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_about_as_good_as_scikit_learn(number: int, spread: float) -> None:
    """On average within 3 % of the error of its best of five starts."""
    rows, counts = members(8, 1000, spread)
    theirs = [
        KMeans(number, n_init=5, random_state=0).fit(row[:, None], sample_weight=count).inertia_
        for row, count in zip(rows.numpy(), counts.numpy(), strict=True)
    ]
    ours = error(rows, counts, means(rows, counts, number)).numpy()
    assert np.mean(ours / theirs) < 1.03


def test_every_value_is_the_mean_of_what_is_nearest() -> None:
    """Where Lloyd's iteration stops nothing is left to do, and values rise."""
    rows, counts = members(20, 300, 1.0)
    values = means(rows, counts, 8)
    assert (values.diff() >= 0).all()
    nearest = torch.searchsorted((values[:, 1:] + values[:, :-1]) / 2, rows)
    mass = torch.zeros(20, 8).scatter_add_(-1, nearest, counts)
    moment = torch.zeros(20, 8).scatter_add_(-1, nearest, counts * rows)
    torch.testing.assert_close((moment / mass)[mass > 0], values[mass > 0], atol=1e-5, rtol=1e-4)


def test_members_that_count_most_get_values_of_their_own() -> None:
    """Four members of 768 that count a thousand times are met almost exactly, which spreading and
    Lloyd's iteration alone do not achieve: trades do."""
    rows, counts = members(8, 768, 0.0)
    counts[:, :4] = 1000
    values = means(rows, counts, 16)
    far = (rows[:, :4, None] - values[:, None]).abs().amin(-1)
    assert far.max() < 0.03


def test_what_counts_nothing_moves_nothing() -> None:
    """Members that count 0 have no say, however far away."""
    rows, counts = members(4, 200, 1.0)
    counts[:, :20] = 0
    moved = rows.clone()
    moved[:, :20] = 1e4
    assert torch.equal(means(rows[:, 20:], counts[:, 20:], 4), means(moved, counts, 4))


@pytest.mark.parametrize("number", [4, 256])
def test_fewer_members_than_values(number: int) -> None:
    """Rows of one member, of equal ones, and of fewer than there are values are met exactly."""
    for rows in (torch.tensor([[3.0]]), torch.full((2, 5), -0.5), torch.tensor([[1.0, 2, 4]])):
        values = means(rows, torch.ones_like(rows), number)
        assert torch.isfinite(values).all()
        assert error(rows, torch.ones_like(rows), values).max() == 0
