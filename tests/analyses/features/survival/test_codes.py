"""Whole codes: what they leave unexplained, and how alike they are."""

from dataclasses import replace

import pytest
import torch

from bitlens.results.records import MetricResult
from tests.support import tiny
from tests.support.coded import findings, identity, numbers, pair


def test_agreement_on_firing_stands_beside_its_chance() -> None:
    """Two latents at four positions. One fires at two, in the twin at one of them: 3 of 4 agree,
    where rates of 1/2 and 1/4 alone give 1/8 + 3/8. The other never does: 4 of 4, either way."""
    reference = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    twin = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    found = findings(identity(2), pair(reference, twin))
    (agreement,) = (
        o for o in found if isinstance(o, MetricResult) and o.metric == "firing_agreement"
    )
    assert agreement.values is not None
    assert (agreement.values[0], agreement.chance) == (7 / 8, 3 / 4)


def test_what_the_sae_leaves_unexplained() -> None:
    """By the mean over documents that are there, with every shard left out; about the mean."""
    sae = tiny.sae(16, 24)
    draw = torch.Generator().manual_seed(0)
    x = 2 * torch.randn(60, 16, generator=draw) + 3
    y = x + 0.7 * torch.randn(60, 16, generator=draw)
    shard = torch.arange(60) // 15
    placed = replace(tiny.placed(sae), site="resid.0")
    values = numbers(findings(placed, pair(x, y, shard)))
    for row, left_out in enumerate([None, *range(4)]):
        fvu = []
        for v in (x, y):
            v = v[shard != left_out] if left_out is not None else v
            relu = torch.relu((v - sae.b_dec) @ sae.w_enc + sae.b_enc)
            error = (v - relu @ sae.w_dec - sae.b_dec).double().square().sum()
            fvu.append(float(error / (v - v.mean(0)).double().square().sum()))
        assert values["fvu reference"][row] == pytest.approx(fvu[0], rel=1e-5)
        assert values["fvu twin"][row] == pytest.approx(fvu[1], rel=1e-5)
        assert values["fvu_ratio"][row] == pytest.approx(fvu[1] / fvu[0], rel=1e-5)


def test_centred_codes_lose_what_the_mean_code_gives() -> None:
    """Two codes that share nothing but a large mean: alike by an earlier tool's measure, nothing
    alike about the mean."""
    draw = torch.Generator().manual_seed(0)
    mean = torch.rand(20, generator=draw) * 10
    x, y = (mean + 0.3 * torch.randn(300, 20, generator=draw) for _ in range(2))
    placed = replace(identity(20), mean_code=mean)
    values = numbers(findings(placed, pair(x, y)))
    assert values["sample_correlation"][0] > 0.95
    assert abs(values["sample_correlation_alive"][0]) < 0.05


def test_token_sets_by_hand() -> None:
    """Feature 0 keeps 9 of its ten top tokens (0.9), feature 1 keeps 7 (0.7, below 0.8): one in
    two; a third fires in neither and does not count."""
    x = torch.full((40, 3), -1.0)
    x[:10, 0] = x[10:20, 1] = torch.arange(10, 0, -1.0)
    y = x.clone()
    y[0, 0], y[30, 0] = -1, 5
    y[10:13, 1], y[30:33, 1] = -1, 5
    values = numbers(findings(identity(3), pair(x, y)))
    assert values["top20_token_sets"][0] == 0.5
