"""The rules of training hold, and a dictionary that is really there is found."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from bitlens.sae.fit import measure_fit
from bitlens.sae.formats.load import load_sae, save_sae
from bitlens.sae.sae import TrainedOn
from bitlens.sae.training.config import SaeTrainingConfig
from bitlens.sae.training.training_sae import TrainingSae
from tests.support.planted_rows import LATENTS, TOPK, WIDTH, planted, trained

RECIPES = {
    "topk": TOPK,
    "batchtopk": replace(TOPK, architecture="batchtopk"),
    "standard": replace(TOPK, architecture="standard", penalty=2.0),
    "gated": replace(TOPK, architecture="gated", penalty=3.0),
    "jumprelu": replace(TOPK, architecture="jumprelu", penalty=0.1),
}
SEEDS = {
    "seed-plain": replace(
        TOPK, architecture="seed-plain", penalty=1e-3, warm_up=0.0, schedule="constant", rate=1e-3
    ),
    "seed-gated": replace(
        TOPK, architecture="seed-gated", warm_up=0.0, schedule="constant", rate=1e-3
    ),
}
EVERY = RECIPES | SEEDS


@pytest.mark.slow
@pytest.mark.parametrize("kind", RECIPES)
def test_planted_directions_are_found(kind: str) -> None:
    """Most directions have a latent of theirs, and rows never seen are explained with few."""
    directions, _, held_out = planted()
    (found,) = trained(RECIPES[kind])
    fit = measure_fit(found.sae, held_out)
    assert fit.fvu is not None
    assert fit.fvu < 0.25
    assert 1 < fit.l0 < 4
    assert ((directions @ found.sae.w_dec.T).amax(1) > 0.9).double().mean() > 0.75
    # Directions drawn at random are not near: the figure above says something.
    draw = torch.Generator().manual_seed(1)
    random = normalize(torch.randn(24, WIDTH, generator=draw), dim=1)
    assert ((random @ found.sae.w_dec.T).amax(1) > 0.9).double().mean() < 0.1


@pytest.mark.slow
def test_batchtopk_fires_as_often_by_its_threshold_as_it_was_trained_to() -> None:
    """k of 2 a position on average over rows never seen, each latent by the same threshold."""
    (found,) = trained(RECIPES["batchtopk"])
    assert found.sae.architecture == "jumprelu"
    assert found.sae.threshold is not None
    assert len(found.sae.threshold.unique()) == 1
    assert measure_fit(found.sae, planted()[2]).l0 == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("kind", SEEDS)
def test_the_seeds_fire_without_end(kind: str) -> None:
    """What their docstrings say: codes come out nearly dense, half of all latents or more."""
    (found,) = trained(SEEDS[kind])
    fit = measure_fit(found.sae, planted()[2])
    assert fit.fvu is not None
    assert fit.fvu < 0.25
    assert fit.l0 > LATENTS / 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", EVERY)
def test_rows_are_units_and_the_seed_decides(kind: str) -> None:
    """Decoder rows have length 1, but the seeds'; the same seed gives the same weights, another
    gives others."""
    short = replace(EVERY[kind], steps=20)
    torch.rand(3)
    first, again, other = (
        trained(config)[0].sae for config in (short, short, replace(short, seed=1))
    )
    units = torch.allclose(first.w_dec.norm(dim=1), torch.ones(LATENTS), atol=1e-5)
    assert units == (kind not in SEEDS)
    assert torch.equal(first.w_enc, again.w_enc)
    assert torch.equal(first.b_dec, again.b_dec)
    assert not torch.equal(first.w_enc, other.w_enc)


@pytest.mark.parametrize("kind", EVERY)
def test_an_sae_says_what_its_trainee_says(kind: str, tmp_path: Path) -> None:
    """Written and read back, in the activations' own units, its reconstruction leaves the squared
    error that training counted; of batchtopk as many codes at least as the threshold lets by."""
    config = replace(EVERY[kind], steps=40, penalty=0.0)
    _, x, held_out = planted()
    trainee = TrainingSae.begun(config, x)
    for rows in x.split(250):
        trainee.step(rows)
    save_sae(trainee.sae("one", "blocks.0.hook_resid_post", TrainedOn(model="none")), tmp_path)
    sae = load_sae(tmp_path)
    error = (held_out - sae.decode(sae.codes(held_out))).square().mean() * trainee.scale**2
    expected = trainee.objective(held_out)
    if kind == "gated":
        # What is minimised counts the gates' own error too.
        assert float(error) < expected
    else:
        assert float(error) == pytest.approx(expected, rel=0.2 if kind == "batchtopk" else 0.02)


def test_training_leaves_the_global_generator_alone() -> None:
    """No stream of the caller moves because an SAE was trained."""
    before = torch.random.get_rng_state()
    trained(replace(RECIPES["standard"], steps=5, resamplings=(0.5,), dead_after=0))
    trained(replace(SEEDS["seed-plain"], steps=5))
    assert torch.equal(before, torch.random.get_rng_state())


def test_units_do_not_matter() -> None:
    """Activations a thousand times as large give the same directions, codes as much larger."""
    short = replace(TOPK, steps=50, rate=5e-3)
    small, large = trained(short)[0].sae, trained(short, x=1024 * planted()[1])[0].sae
    torch.testing.assert_close(small.w_dec, large.w_dec, atol=1e-2, rtol=1e-2)
    torch.testing.assert_close(1024 * small.b_dec, large.b_dec, rtol=1e-2, atol=2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["topk", "batchtopk", "standard", "gated", "jumprelu"])
def test_dead_latents_come_back(kind: str) -> None:
    """Eight latents too weak to fire stay dead by themselves and fire again with what revives
    them; the others go on as they were."""
    x = planted()[1][:6400]

    def alive_of_weak(**reviving: object) -> int:
        short = replace(EVERY[kind], steps=100, rate=5e-3, dead_after=500)
        # With k of 2 the 24 others explain all, and which of the eight stay is a toss of a coin.
        config = replace(short, penalty=0.05, k=3, **reviving)  # type: ignore[arg-type]
        trainee = TrainingSae.begun(config, x)
        with torch.no_grad():
            trainee.weights["w_enc"][:, :8] *= 0.01
            trainee.weights["b_enc"][:8] = 0.001 if kind.endswith("topk") else -1
        for rows in x.split(64):
            trainee.step(rows)
        codes = trainee.sae("", "", TrainedOn()).codes(x)
        return len(codes.latent[codes.latent < 8].unique())

    assert alive_of_weak(auxiliary=0.0, resamplings=()) == 0
    assert alive_of_weak(auxiliary=1.0, resamplings=(0.3,)) >= 6


def test_the_threshold_of_batchtopk_is_a_mean_over_the_last_steps() -> None:
    """At first of all steps so far: after two, the mean of both smallest codes."""
    trainee = TrainingSae.begun(replace(RECIPES["batchtopk"], rate=1e-9), planted()[1])
    kept = []
    for rows in planted()[1].split(256)[:2]:
        outcome = trainee._outcome(rows, 0.0)
        assert outcome.least is not None
        kept.append(float(outcome.least))
        trainee.step(rows)
    assert float(trainee.level) == pytest.approx(sum(kept) / 2, rel=1e-3)


def schedule(name: str) -> Callable[[int], float]:
    return SaeTrainingConfig(
        architecture="topk", latents=8, k=2, steps=1000, rate=1.0, schedule=name
    ).rate_at  # type: ignore[arg-type]


def test_rate_and_penalty_rise_and_the_rate_falls() -> None:
    """Up within the first twentieth, then by the schedule; the penalty stays."""
    assert [schedule("linear")(s) for s in (0, 49, 500, 850)] == pytest.approx([0.02, 1, 1, 0.5])
    assert schedule("linear")(999) == pytest.approx(1 / 300)
    assert [schedule("constant")(s) for s in (0, 49, 999)] == pytest.approx([0.02, 1, 1])
    cosine = [0.02, 0.5, (1 + math.cos(0.999 * math.pi)) / 2]
    assert [schedule("cosine")(s) for s in (0, 500, 999)] == pytest.approx(cosine)
    config = SaeTrainingConfig(architecture="standard", latents=8, penalty=2.0, steps=1000)
    assert [config.penalty_at(s) for s in (0, 99, 999)] == pytest.approx([0.02, 2, 2])
