"""How each feature goes with itself: by hand."""

import numpy as np
import pytest
import torch

from tests.support.coded import findings, identity, numbers, pair, table


def test_one_feature_by_hand() -> None:
    """f = (1, 2, 0, 0) becomes (2, 1, 0, 1): means 3/4 and 1, variances 11/16 and 1/2,
    covariance 1 - 3/4 = 1/4. r = (1/4) / sqrt(11/32) = 0.4264; gain (1/4) / (11/16) = 4/11,
    offset 1 - 4/11 * 3/4 = 8/11; concordance (1/2) / (11/16 + 1/2 + 1/16) = 0.4. It fires twice,
    three times, twice at the same places: nothing lost, a third new, F1 4/5. All of it ten
    times, which changes none of this, for what fires less often is no feature."""
    reference = torch.tensor([[1.0, 1], [2, 1], [-1, 1], [-1, 0]])
    twin = torch.tensor([[2.0, 1], [1, 1], [-1, 1], [1, 0]])
    shard = torch.zeros(40, dtype=torch.int64)
    often = [of.repeat(10, 1) for of in (reference, twin)]
    rows = table(findings(identity(2), pair(*often, shard)))  # type: ignore[call-arg]
    assert rows["r"][0] == pytest.approx(0.25 / np.sqrt(11 / 32))
    assert rows["gain"][0] == pytest.approx(4 / 11)
    assert rows["offset"][0] == pytest.approx(8 / 11)
    assert rows["concordance"][0] == pytest.approx(0.4)
    assert rows["rate_reference"][0] == 0.5
    assert rows["rate_twin"][0] == 0.75
    assert rows["lost"][0] == 0
    assert rows["new"][0] == pytest.approx(1 / 3)
    assert rows["f1"][0] == pytest.approx(0.8)
    assert (rows["peak_reference"][0], rows["peak_twin"][0]) == (2, 2)
    assert rows["mean_reference"][0] == 0.75
    assert rows["state"].tolist() == ["damaged", "survived"]


def test_three_states_and_one_more_by_hand() -> None:
    """Above 0.9, from 0.5 to 0.9, below 0.5; and what fires in the twin only."""
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(400, 4, generator=draw) + 1
    noise = torch.rand(400, 4, generator=draw)
    y = x + noise * torch.tensor([0.1, 1.0, 0.0, 0.0])
    y[:, 2] = noise[:, 2]
    x[:, 3] = -1
    found = findings(identity(4), pair(x, y, torch.arange(400) // 20))
    rows = table(found)
    assert rows["state"].tolist() == ["survived", "degraded", "damaged", "twin only"]
    assert rows["latent"].tolist() == [0, 1, 2, 3]
    assert rows["sure"].tolist() == ["survived", "lost", "lost", "undecided"]
    assert np.isnan(rows["r"][3])
    assert rows["rate_reference"][3] == 0
    assert rows["new"][3] == 1
    values = numbers(found)
    for name, share in {
        "survived": 1 / 3,
        "degraded": 1 / 3,
        "damaged": 1 / 3,
        "kept_50": 2 / 3,
        "kept_90": 1 / 3,
        "surely_survived": 1 / 3,
        "surely_lost": 2 / 3,
        "undecided": 0,
        "twin_only": 1 / 3,
        "active": 3,
        "alive": 3,
    }.items():
        assert values[name][0] == pytest.approx(share), name
