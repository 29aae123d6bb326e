"""Gains, offsets, maps and thresholds, beside numpy and scikit-learn."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from bitlens.sae.repair.activations import PairedActivations
from bitlens.sae.repair.least_squares import (
    SHRINKAGES,
    affine,
    with_decoder,
    with_gain,
    with_map,
    with_thresholds,
)
from bitlens.sae.repair.metrics import code_error
from bitlens.sae.repair.repair import repair
from bitlens.sae.sae import Sae
from tests.support.planted_repair import (
    KINDS,
    LATENTS,
    WIDTH,
    activations,
    correlations,
    on,
    sae,
    turned,
)


def test_a_gain_and_an_offset_by_hand() -> None:
    """One latent, z = x. The twin says 1, 2, 3 and, silent, -4 where the reference says 3, 5, 7
    and 9: f = 2 z + 1 on the three positions where it fires, whatever the fourth is."""
    one, nought = torch.ones(1, 1), torch.zeros(1)
    plain = Sae(
        label="one",
        hook="resid.0",
        architecture="standard",
        w_enc=one,
        b_enc=nought,
        w_dec=one,
        b_dec=nought,
    )
    x, y = torch.tensor([[3.0], [5], [7], [9]]), torch.tensor([[1.0], [2], [3], [-4]])
    made = with_gain(plain, on(y, x))
    assert made.w_enc.item() == pytest.approx(2)
    assert made.b_enc.item() == pytest.approx(1)
    assert made.encode(y).flatten().tolist() == pytest.approx([3, 5, 7, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_gain_and_an_offset_are_those_of_polyfit(kind: str) -> None:
    """Latent by latent, numpy's line through the codes of both where the twin fires."""
    whole, x = sae(kind), activations()
    y = x + 0.2 * activations(seed=4)
    made = with_gain(whole, on(y))
    f, g = whole.encode(x).double().numpy(), whole.encode(y).double().numpy()
    for j in range(LATENTS):
        fires = g[:, j] > 0
        gain, offset = np.polyfit(g[fires, j], f[fires, j], 1)
        assert torch.allclose(made.w_enc[:, j], float(gain) * whole.w_enc[:, j], atol=1e-4)
        wanted = gain * float(whole.b_enc[j]) + offset
        assert float(made.b_enc[j]) == pytest.approx(wanted, abs=1e-3)


def test_a_gain_and_an_offset_do_not_change_the_order_of_positions() -> None:
    """Of noise they mend strength and not correlation: r moves little, concordance a lot."""
    whole, x = sae(), activations()
    y = 0.4 * x + 0.1 * activations(seed=4)
    made = with_gain(whole, on(y))
    before, after = correlations(whole, whole, x, y), correlations(whole, made, x, y)
    assert np.median(after) < np.median(before) + 0.1
    assert code_error(whole, made, on(y)) < 0.5 * code_error(whole, whole, on(y))


@pytest.mark.parametrize("shrinkage", [1e-6, 0.1, 10.0])
def test_the_map_is_the_ridge_regression_of_what_is_left(shrinkage: float) -> None:
    """scikit-learn's, of y - x on x; with much shrinkage, the identity."""
    x, y = activations().double(), turned(activations()).double()
    ((weight, bias),) = affine(x.float(), y.float(), [shrinkage])
    penalty = shrinkage * float((x - x.mean(0)).square().sum(0).mean())
    ridge = Ridge(alpha=penalty).fit(x.numpy(), (y - x).numpy())
    wanted = torch.from_numpy(ridge.coef_.T).float() + torch.eye(WIDTH)
    assert torch.allclose(weight, wanted, atol=1e-4)
    assert torch.allclose(bias, torch.from_numpy(ridge.intercept_).float(), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_decoder_changes_no_code(kind: str) -> None:
    """What is decoded follows the twin; what fires, and how much, is as it was."""
    whole, y = sae(kind), turned(activations())
    part = on(y)
    made = with_decoder(whole, part.part(held_out=False), part.part(held_out=True))
    assert torch.allclose(made.encode(y), whole.encode(y), atol=1e-4)
    left = [(s.decode(s.codes(y)) - y).square().mean() for s in (whole, made)]
    assert left[1] < left[0]


@pytest.mark.parametrize("normalisation", ["constant_norm_rescale", "layer_norm"])
def test_rows_of_zeros_say_nothing_about_the_decoder(normalisation: Any) -> None:
    """They have no scale to be divided by: with some of them among the positions the decoder is
    the one without them, and every step's is finite; of nothing but them, it stays."""
    whole, y = replace(sae(), normalisation=normalisation), turned(activations())
    some = torch.cat([y, torch.zeros(40, WIDTH)])
    part = PairedActivations(some, some, torch.arange(len(some)) % 4 == 0)
    without = on(y, y)
    made, wanted = (
        with_decoder(whole, p.part(held_out=False), p.part(held_out=True)) for p in (part, without)
    )
    assert torch.allclose(made.w_dec, wanted.w_dec, atol=1e-5)
    assert torch.allclose(made.b_dec, wanted.b_dec, atol=1e-5)
    for step in repair(whole, part, finetune=True).steps:
        assert all(t.isfinite().all() for t in (step.sae.w_enc, step.sae.b_enc, step.sae.w_dec))
        assert step.error <= 1
    silent = on(torch.zeros_like(y))
    assert with_decoder(whole, silent.part(held_out=False), silent.part(held_out=True)) is whole


@pytest.mark.parametrize("kind", ["jumprelu", "gated"])
def test_thresholds_bring_back_how_often_latents_fire(kind: str) -> None:
    """In the twin, which is weaker, as often as in the reference; without a threshold nothing
    changes."""
    whole, x = sae(kind), activations()
    y = 0.8 * x
    made = with_thresholds(whole, whole, on(y))
    wanted, before, after = (
        (s.encode(v) > 0).sum(dim=0) for s, v in ((whole, x), (whole, y), (made, y))
    )
    assert (before < wanted).any()
    assert torch.equal(after, wanted)
    plain = sae()
    assert with_thresholds(plain, plain, on(y)) is plain


def test_the_shrinkage_is_chosen_on_what_was_not_learnt_from() -> None:
    """Few positions of much noise: the map that leaves least on others, by hand over all
    shrinkages, is not the least shrunk one."""
    whole, draw = sae(), torch.Generator().manual_seed(0)
    x = torch.randn(400, WIDTH, generator=draw)
    y = x + 0.5 * torch.randn(400, WIDTH, generator=draw)
    both = PairedActivations(x, y, torch.arange(400) >= 24)
    learnt, held = both.part(held_out=False), both.part(held_out=True)
    made = with_map(whole, learnt, held)
    rows, wanted = (whole.read(part)[0] for part in (held.twin, held.reference))
    maps = list(affine(whole.read(learnt.twin)[0], whole.read(learnt.reference)[0], SHRINKAGES))
    left = [float((rows @ weight + bias - wanted).square().mean()) for weight, bias in maps]
    best = int(np.argmin(left))
    assert best > 0
    assert torch.allclose(made.w_enc, maps[best][0] @ whole.w_enc)
