"""What SAEs of one configuration say: planted survival, planted directions."""

import numpy as np
import pytest
import torch

from bitlens.sae.alignment.compare import BEST, MUTUAL, ROTATED, SHARED
from bitlens.sae.alignment.published import procrustes_alignment
from bitlens.workflows.sae_study.measures import IN_SAMPLE, SURVIVAL, R, aligned, frozen
from tests.support.planted_dictionaries import noisy, order, sae_of, unit
from tests.support.saes import activations, small_sae


@pytest.mark.parametrize("kind", ["standard", "topk"])
def test_a_twin_that_changes_nothing_keeps_every_feature(kind: str) -> None:
    """r is 1, FVU and L0 are those of the reference, and no latent changes its category; at other
    positions hardly any feature survives."""
    sae, x = small_sae(kind), activations(3000)
    found = frozen(sae, x, x)
    assert (found.values[SURVIVAL], found.values[R]) == (1, 1)
    assert found.values["fvu_reference"] == found.values["fvu_twin"]
    assert found.chance[SURVIVAL] < 0.2
    assert abs(found.chance[R]) < 0.3
    flow = np.array(found.flow)
    assert flow.sum() == sae.latents
    assert np.all(flow == np.diag(np.diag(flow)))


def test_correlations_are_numpys() -> None:
    """Of codes with zeros, over more positions than are read at a time."""
    sae, x = small_sae(), activations(5000)
    y = x + 0.7 * activations(5000, seed=9)
    one, other = sae.encode(x).double().numpy(), sae.encode(y).double().numpy()
    active = (one > 0).mean(0) > 0.001
    r = np.array(
        [
            np.corrcoef(a, b)[0, 1]
            for a, b in zip(*(of.T[active] for of in (one, other)), strict=True)
        ]
    )
    found = frozen(sae, x, y).values
    assert found[SURVIVAL] == pytest.approx((r > 0.9).mean())
    # The lower of two middle ones.
    assert found[R] == pytest.approx(np.sort(r)[(len(r) - 1) // 2], abs=1e-6)


def test_latents_that_fall_silent_flow_to_the_dead() -> None:
    """The twin's activations are all the same, and below every bias."""
    sae, x = small_sae(), activations(200)
    still = torch.zeros_like(x)
    fires = sae.encode(still[:1])[0] > 0
    flow = np.array(frozen(sae, x, still).flow)
    assert flow[:, 0].sum() == int((~fires).sum())
    assert flow[:, 3].sum() == int(fires.sum())


def several(noise: float, first: int) -> dict[int, object]:
    """Four SAEs that know the same 40 directions, each in its own order and inexactly."""
    common = unit(40, 12, seed=77)
    return {
        seed: sae_of(noisy(common, noise, first + seed)[order(40, first + seed)])
        for seed in range(4)
    }


def test_every_pair_of_different_seeds_is_compared_once() -> None:
    """Twelve between the models, six within the reference, one a seed of the same one and of
    chance; what both know is found, and random directions share none of it."""
    reference, twin = several(0.1, 10), several(0.1, 20)
    found = aligned(reference, twin).found  # type: ignore[arg-type]
    for measure in (BEST, MUTUAL, SHARED, IN_SAMPLE):
        sizes = {role: len(numbers) for role, numbers in found[measure].items()}
        assert sizes == {"value": 12, "same": 4, "random": 4, "ceiling": 6}
    assert min(found[SHARED]["value"].values()) > 0.95
    assert max(found[SHARED]["random"].values()) < 0.7
    assert "0 0" not in found[BEST]["value"]
    assert "3 1" in found[BEST]["value"]
    known = procrustes_alignment(reference[3].w_enc.T, twin[1].w_enc.T)  # type: ignore[attr-defined]
    assert found[IN_SAMPLE]["value"]["3 1"] == pytest.approx(known)


def test_the_ceiling_is_between_seeds_of_the_reference() -> None:
    """Which know the same directions; the twin's, which know others, have no say in it."""
    strangers = {seed: sae_of(unit(40, 12, seed=90 + seed)) for seed in range(4)}
    found = aligned(several(0.1, 10), strangers).found[SHARED]  # type: ignore[arg-type]
    assert min(found["ceiling"].values()) > 0.95
    assert max(found["value"].values()) < 0.7


def test_the_dead_are_left_out_but_of_what_was_published() -> None:
    """Ten latents that never fired change in-sample Procrustes and nothing else."""
    common = unit(40, 12, seed=5)
    alive = {seed: sae_of(noisy(common, 0.1, seed)) for seed in range(2)}
    dead = {
        seed: sae_of(
            torch.cat([sae.w_dec, unit(10, 12, seed=50 + seed)]),
            torch.cat([sae.w_enc.T, unit(10, 12, seed=60 + seed)]),
            firing_rate=(torch.arange(50) < 40).double(),
        )
        for seed, sae in alive.items()
    }
    plain, beside = aligned(alive, alive).found, aligned(dead, dead).found
    for measure in (BEST, MUTUAL, SHARED):
        for role in ("value", "ceiling"):
            assert beside[measure][role] == pytest.approx(plain[measure][role], abs=1e-5)
    assert beside[IN_SAMPLE]["value"] != pytest.approx(plain[IN_SAMPLE]["value"], abs=1e-3)


def test_a_measure_without_a_value_says_why() -> None:
    """Nine latents in twelve dimensions have too few pairs for a rotation to be held out."""
    few = {seed: sae_of(unit(9, 12, seed=seed)) for seed in range(2)}
    found = aligned(few, few)
    assert ROTATED not in found.found
    assert "a rotation of 12 dimensions takes 24" in found.absent[ROTATED]
