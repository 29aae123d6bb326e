"""How often latents fire in either model: by hand, and against counting in numpy."""

import numpy as np
import pytest
import torch

from bitlens.analyses.features.analysis import Features
from bitlens.analyses.features.flow import CHANGED, FLOW
from bitlens.sae.firing_categories import CATEGORIES
from tests.support.coded import codes, findings, identity, numbers, pair, table

NAME = CHANGED.name


def test_four_latents_by_hand() -> None:
    """Of 40 positions: half and half; never and a quarter; always and never; never and never.
    Frequent stays, dead becomes common, frequent becomes dead: 2 of the 3 that fire."""
    x = torch.tensor([[1.0, -1, 1, -1], [1, -1, 1, -1], [-1, -1, 1, -1], [-1, -1, 1, -1]])
    y = torch.tensor([[-1.0, 1, -1, -1], [-1, -1, -1, -1], [1, -1, -1, -1], [1, -1, -1, -1]])
    x, y = x.repeat(10, 1), y.repeat(10, 1)
    found = findings(identity(4), pair(x, y, torch.zeros(40, dtype=torch.int64)))
    rows = table(found, FLOW)
    places = zip(rows["reference"], rows["twin"], strict=True)
    count = dict(zip(places, rows["latents"].tolist(), strict=True))
    assert len(count) == 16
    assert sum(count.values()) == 4
    assert {place: n for place, n in count.items() if n} == {
        ("dead", "dead"): 1,
        ("dead", "common"): 1,
        ("frequent", "frequent"): 1,
        ("frequent", "dead"): 1,
    }
    assert numbers(found)[NAME][0] == pytest.approx(2 / 3)


def test_replicates_are_counted_without_their_shard() -> None:
    """Every replicate's share is that of the positions that are left."""
    draw = torch.Generator().manual_seed(1)
    rate = torch.tensor([0.0, 0.003, 0.01, 0.01, 0.49, 0.5, 0.9])
    x, y = (torch.where(torch.rand(600, 7, generator=draw) < rate, 1.0, -1.0) for _ in range(2))
    shard = torch.arange(600) // 100
    values = numbers(findings(identity(7), pair(x, y, shard)))[NAME]

    often = (((x > 0).sum(0) >= 10) | ((y > 0).sum(0) >= 10)).numpy()

    def place(of: torch.Tensor) -> np.ndarray:
        fired = (of > 0).sum(dim=0).numpy()
        found = np.digitize(fired / len(of), (1e-12, 0.01, 0.5))
        return np.where(fired < 10, found.clip(max=1), found)

    def share(rows: torch.Tensor) -> float:
        return float((place(x[rows]) != place(y[rows]))[often].mean())

    left = [torch.ones(600, dtype=torch.bool), *(shard != n for n in range(6))]
    assert values == pytest.approx([share(rows) for rows in left])
    assert values is not None
    assert len(set(values.tolist())) > 1


def test_dead_latents_change_no_share() -> None:
    """Ten more that never fire are counted as dead in both, and that is all."""
    x, y = codes(100, 6, 1, rate=0.02), codes(100, 6, 2, rate=0.02)
    wide = [torch.cat([of, -torch.ones(100, 10)], dim=1) for of in (x, y)]
    few, many = findings(identity(6), pair(x, y)), findings(identity(16), pair(*wide))
    assert numbers(few)[NAME] == pytest.approx(numbers(many)[NAME])
    extra = table(many, FLOW)["latents"] - table(few, FLOW)["latents"]
    assert extra.tolist() == [10] + [0] * 15


def test_nothing_changed_is_none() -> None:
    """An unchanged twin: a diagonal, and a share of 0."""
    x = codes(100, 6, 3)
    found = findings(identity(6), pair(x, x))
    assert np.all(numbers(found)[NAME] == 0)
    square = table(found, FLOW)["latents"].reshape(4, 4)
    assert square.trace() == square.sum() == 6
    assert table(found, FLOW)["reference"].reshape(4, 4)[:, 0].tolist() == list(CATEGORIES)


def test_silence_is_a_reason() -> None:
    """Latents that never fire have no share, nor have those that fire nine times."""
    silent = -torch.ones(10, 3)
    assert numbers(findings(identity(3), pair(silent, silent)))[NAME] is None
    seldom = torch.cat([torch.ones(9, 3), -torch.ones(91, 3)])
    assert numbers(findings(identity(3), pair(seldom, seldom.flip(0))))[NAME] is None


def test_chance_is_not_told() -> None:
    """Rates are the same whichever positions are paired."""
    assert NAME in Features().unpaired
