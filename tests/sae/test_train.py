"""A dictionary that is really there is found; the rules of training hold."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from bitlens.sae.fit import measure_fit
from bitlens.sae.sae import Sae, TrainedOn
from bitlens.sae.train import Recipe, _Trainee, train_sae

TOPK = Recipe("topk", latents=48, k=4, steps=500, batch=256, rate=5e-3, dead_after=5_000)
STANDARD = replace(TOPK, architecture="standard", penalty=1.0)


@pytest.fixture(scope="module")
def planted() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """40 unit directions in 32 dimensions, and two sets of rows that are sums of about two."""
    draw = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(40, 32, generator=draw), dim=1)
    firing = (torch.rand(12_000, 40, generator=draw) < 2 / 40).float()
    codes = firing * (1 + torch.rand(12_000, 40, generator=draw))
    x = 3 * codes @ directions + torch.linspace(-2, 5, 32)
    return directions, x[:10_000], x[10_000:]


def train(recipe: Recipe, x: torch.Tensor, held_out: torch.Tensor) -> Sae:
    return train_sae(x, held_out, recipe, "planted", "resid.0", TrainedOn("none"), quiet=True)


@pytest.mark.parametrize("recipe", [TOPK, STANDARD], ids=["topk", "standard"])
def test_planted_directions_are_found(
    recipe: Recipe, planted: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
) -> None:
    """Most directions have a latent of theirs, and rows never seen are explained with few."""
    directions, x, held_out = planted
    sae = train(recipe, x, held_out)
    fit = measure_fit(sae, held_out)
    assert fit.fvu is not None and fit.fvu < 0.1 and fit.l0 < 6
    nearest = (directions @ sae.w_dec.T).amax(1)
    assert (nearest > 0.9).double().mean() > 0.8
    # Directions drawn at random are not near: the figure above says something.
    random = torch.nn.functional.normalize(torch.randn(40, 32), dim=1)
    assert ((random @ sae.w_dec.T).amax(1) > 0.9).double().mean() < 0.1


@pytest.mark.parametrize("recipe", [TOPK, STANDARD], ids=["topk", "standard"])
def test_rows_are_units_and_the_seed_decides(
    recipe: Recipe, planted: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
) -> None:
    """Decoder rows have length 1; the same seed gives the same weights, another gives others."""
    short = replace(recipe, steps=20)
    torch.rand(3)
    first, again = (train(short, *planted[1:]) for _ in range(2))
    other = train(replace(short, seed=1), *planted[1:])
    torch.testing.assert_close(first.w_dec.norm(dim=1), torch.ones(48))
    assert torch.equal(first.w_enc, again.w_enc) and torch.equal(first.b_dec, again.b_dec)
    assert not torch.equal(first.w_enc, other.w_enc)


def test_training_leaves_the_global_generator_alone(
    planted: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    """No stream of the caller moves because an SAE was trained."""
    before = torch.random.get_rng_state()
    train(replace(STANDARD, steps=5, resamplings=(0.5,), dead_after=0), *planted[1:])
    assert torch.equal(before, torch.random.get_rng_state())


def test_units_do_not_matter(planted: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    """Activations a thousand times as large give the same directions, codes as much larger."""
    _, x, held_out = planted
    short = replace(TOPK, steps=50)
    small, large = train(short, x, held_out), train(short, 1024 * x, 1024 * held_out)
    torch.testing.assert_close(small.w_dec, large.w_dec, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(1024 * small.b_dec, large.b_dec, rtol=1e-2, atol=1)


@pytest.mark.parametrize("architecture", ["topk", "standard"])
def test_dead_latents_come_back(
    architecture: Any, planted: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
) -> None:
    """Twelve latents too weak to fire stay dead by themselves and fire again with what revives
    them; the others go on as they were."""
    x = planted[1][:6400]

    def alive_of_weak(**reviving: Any) -> int:
        recipe = replace(
            TOPK, architecture=architecture, penalty=0.1, steps=100, dead_after=500, **reviving
        )
        trainee = _Trainee(x, recipe)
        with torch.no_grad():
            trainee.w_enc[:, :12] *= 0.01
            trainee.b_enc[:12] = 0.001 if architecture == "topk" else -1
        for step, rows in enumerate(x.split(64)):
            trainee.step(rows, step)
        codes = trainee.sae("", "", TrainedOn()).codes(x)
        return len(codes.latent[codes.latent < 12].unique())

    assert alive_of_weak(auxiliary=0.0, resamplings=()) == 0
    assert alive_of_weak(auxiliary=1.0, resamplings=(0.3,)) >= 10


def test_rate_and_penalty_rise_and_the_rate_falls() -> None:
    """Up within the first twentieth, flat, and down over the last third; the penalty stays."""
    recipe = Recipe("standard", 8, penalty=2.0, steps=1000, rate=1.0, warm_up=0.05, decay=0.3)
    assert [recipe.rate_at(s) for s in (0, 49, 500, 850)] == pytest.approx([0.02, 1, 1, 0.5])
    assert recipe.rate_at(999) == pytest.approx(1 / 300)
    assert [recipe.penalty_at(s) for s in (0, 99, 999)] == pytest.approx([0.02, 2, 2])
