"""Repair: planted damage that an encoder can undo, and damage that none can."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bitlens.errors import BitlensError
from bitlens.sae.formats.load import load_sae, save_sae
from bitlens.sae.repair.repair import GAIN, MAP, UNREPAIRED, repair
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


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("layer_norm", "centred")])
def test_a_twin_that_is_a_linear_map_of_the_reference_is_repaired(kind: str) -> None:
    """On activations it has not seen every latent goes with itself by more than 0.99, and the
    decoder follows the twin; before, hardly any latent did."""
    whole = sae(kind)
    x, other = activations(), activations(seed=3)
    y = turned(x)
    made = repair(whole, on(y))
    assert [step.name for step in made.steps] == [UNREPAIRED, GAIN, MAP]
    assert made.best.name == MAP
    assert np.median(correlations(whole, whole, other, turned(other))) < 0.95
    fixed = made.best.sae
    assert correlations(whole, fixed, other, turned(other)).min() > 0.99
    before, after = (
        (s.decode(s.codes(turned(other))) - turned(other)).square().mean() for s in (whole, fixed)
    )
    assert after < before
    assert made.readable.min() > 0.99


def test_what_was_lost_is_not_repaired_and_it_is_said() -> None:
    """The twin forgets half of the dimensions: no encoder finds what they held, and the reach of
    the best linear one says so; what can be read still is."""
    whole = replace(sae(), w_enc=torch.eye(WIDTH).repeat(1, 2)[:, :LATENTS].contiguous())
    x = activations()
    y = x.clone()
    y[:, WIDTH // 2 :] = 0
    made = repair(whole, on(y), finetune=True)
    held = torch.arange(LATENTS) % WIDTH < WIDTH // 2
    r = np.nan_to_num(correlations(whole, made.best.sae, x, y))
    assert r[held.numpy()].min() > 0.99
    assert r[~held.numpy()].max() < 0.3
    assert (made.readable > 0.9).tolist() == held.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_a_twin_that_is_its_reference_needs_no_repair(kind: str) -> None:
    """The error is 0 as it is and stays next to nothing in every step; the SAE as it is wins."""
    whole = sae(kind)
    made = repair(whole, on(activations()))
    assert made.steps[0].error == 0
    assert made.best.name == UNREPAIRED
    assert all(step.error < 0.02 for step in made.steps)


@pytest.mark.parametrize("kind", ["standard", "topk", "jumprelu", "gated", "layer_norm"])
def test_a_repaired_sae_is_an_ordinary_one(kind: str, tmp_path: object) -> None:
    """Written and read back it says the same."""
    y = turned(activations())
    made = repair(sae(kind), on(y)).steps[-1].sae
    save_sae(made, f"{tmp_path}/repaired")
    again = load_sae(f"{tmp_path}/repaired")
    assert torch.allclose(again.encode(y), made.encode(y), atol=1e-4)


def test_too_few_positions_are_refused() -> None:
    """No map of 16 dimensions can be learnt from 12 positions."""
    with pytest.raises(BitlensError, match="calibration"):
        repair(sae(), on(activations(n=16), activations(n=16)))


def test_an_sae_that_is_not_linear_where_it_fires_is_refused() -> None:
    """A gain folded into such an encoder would not be a gain of its code."""
    with pytest.raises(BitlensError, match="squared"):
        repair(replace(sae(), architecture="squared"), on(activations()))  # type: ignore[arg-type]


def test_a_code_times_a_gate_is_refused() -> None:
    """The sigmoid would have to be repaired too: told by name, with what can be repaired."""
    gated = replace(
        sae(),
        architecture="seed-gated",
        w_gate=torch.ones(WIDTH, LATENTS),
        b_gate=torch.zeros(LATENTS),
    )
    with pytest.raises(BitlensError, match=r"planted is seed-gated[\s\S]*one of standard, topk"):
        repair(gated, on(activations()))
