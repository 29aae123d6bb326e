"""Near-duplicate directions: by hand, against scikit-learn and scipy, block by block."""

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import connected_components
from sklearn.metrics.pairwise import cosine_similarity

from bitlens.sae import neighbours as module
from bitlens.sae.neighbours import NEAR, neighbours


def test_a_chain_is_one_group_by_hand() -> None:
    """0° and 40° and 80°: cos 40° = 0.766 joins neighbours, so all three, though cos 80° = 0.17;
    200° is 120° from the nearest: cos = -0.5. Length does not matter."""
    angle = torch.deg2rad(torch.tensor([0.0, 40, 80, 200]))
    length = torch.tensor([[1.0], [3], [0.1], [2]])
    nearest, group = neighbours(length * torch.stack([angle.cos(), angle.sin()], dim=1))
    assert nearest == pytest.approx([0.7660, 0.7660, 0.7660, -0.5], abs=1e-4)
    assert group[0] == group[1] == group[2] != group[3]


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty directions in blocks of seven: the cosines of scikit-learn, the components of scipy."""
    draw = np.random.default_rng(0)
    directions = draw.standard_normal((40, 4))
    monkeypatch.setattr(module, "BLOCK", 7)
    nearest, group = neighbours(torch.from_numpy(directions))
    cosine = cosine_similarity(directions)
    np.fill_diagonal(cosine, -1)
    assert nearest == pytest.approx(cosine.max(axis=1), abs=1e-6)
    count, expected = connected_components(cosine > NEAR, directed=False)
    assert 1 < count < 40
    assert np.array_equal(group[:, None] == group, expected[:, None] == expected)


def test_equal_directions_are_one_group() -> None:
    """A dictionary that has collapsed, and a direction of no length, which is near nothing."""
    nearest, group = neighbours(torch.cat([torch.ones(600, 3), torch.zeros(1, 3)]))
    assert len(set(group[:600])) == 1
    assert group[600] != group[0]
    assert nearest[:600] == pytest.approx(np.ones(600))
    assert nearest[600] == 0
