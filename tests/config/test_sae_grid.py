"""Lists of settings become configs, and what is no setting is refused before anything is loaded."""

from typing import Any

import pytest

from bitlens.config.sae_grid import PENALTIES, RATE, SaeGrid, latents_of, listed
from bitlens.errors import BitlensError


def test_a_width_is_times_the_models_or_a_number() -> None:
    """From half the model's width to 32 times it, and a number of latents as it stands."""
    assert [latents_of(text, 288) for text in ("0.5x", "8x", "32x", "1000")] == [
        144, 2304, 9216, 1000,
    ]  # fmt: skip


def test_every_width_meets_every_k_and_seed() -> None:
    """Names say what differs and nothing else; steps are epochs of the positions' batches."""
    grid = SaeGrid(site="resid.1", widths=("2x", "4x"), ks=(8,), seeds=(0, 1), epochs=3)
    found = grid.configs(16, [10_000])
    assert [name for name, _ in found] == [
        "width2x.seed0", "width2x.seed1", "width4x.seed0", "width4x.seed1",
    ]  # fmt: skip
    assert [config.latents for _, config in found] == [32, 32, 64, 64]
    assert {(r.k, r.steps, r.rate, r.schedule) for _, r in found} == {(8, 12, RATE, "linear")}
    assert SaeGrid(site="resid.1", ks=(8,)).configs(16, [100])[0][0] == ""


def test_steps_are_those_of_the_chunks() -> None:
    """Three of 3,000 positions hold a batch each, though 9,000 would hold four: with more steps
    some positions would be learnt from twice. The least is one a chunk."""
    for sizes, steps in (([3000] * 3, 3), ([9000], 4), ([4096, 100], 3)):
        ((_, config),) = SaeGrid(site="resid.1", epochs=1).configs(64, sizes)
        assert config.steps == steps


def test_the_seeds_keep_their_own_ways() -> None:
    """Constant rate, no warm-up, the penalty of the code they come from."""
    ((_, plain),) = SaeGrid(site="resid.1", architecture="seed-plain").configs(64, [100])
    assert (plain.rate, plain.schedule, plain.warm_up, plain.penalty) == (1e-3, "constant", 0, 1e-3)
    ((_, gated),) = SaeGrid(site="resid.1", architecture="gated", penalties=(7.0,)).configs(
        64, [100]
    )
    assert gated.penalty == 7 != PENALTIES["gated"]


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"widths": ("0x",)}, "--width is '0x'"),
        ({"widths": ("-1x",)}, "--width is '-1x'"),
        ({"widths": ("nanx",)}, "--width is 'nanx'"),
        ({"widths": ("1e9x",)}, "--width is '1e9x'"),
        ({"widths": ("wide",)}, "--width is 'wide'"),
        ({"widths": ("0",)}, "--width is '0'"),
        ({"widths": ("16",), "ks": (17,)}, "k is 17, of 16 latents"),
        ({"ks": (0,)}, "k is 0"),
        ({"architecture": "standard", "ks": (4,)}, "--k says nothing about standard"),
        ({"penalties": (1.0,)}, "--l1 says nothing about topk"),
        ({"architecture": "seed-gated", "penalties": (1.0,)}, "--l1 says nothing about seed-gated"),
        ({"architecture": "standard", "penalties": (-1.0,)}, "penalty is -1"),
        ({"architecture": "standard", "penalties": (float("nan"),)}, "penalty is nan"),
        ({"rate": 0.0}, "learning rate is 0"),
        ({"rate": float("inf")}, "learning rate is inf"),
        ({"epochs": 0}, "--epochs is 0"),
        ({"patience": -1}, "--patience is -1"),
    ],
)
def test_what_is_no_setting_is_refused(settings: dict[str, Any], found: str) -> None:
    """With the word for it."""
    with pytest.raises(BitlensError, match=found):
        SaeGrid(site="resid.1", **settings)


def test_k_is_held_against_the_models_width() -> None:
    """Which is known once the model is loaded."""
    grid = SaeGrid(site="resid.1", widths=("0.5x",), ks=(32,))
    with pytest.raises(BitlensError, match="k is 32, of 8 latents"):
        grid.configs(16, [1])


def test_lists_are_values_with_commas() -> None:
    """Each once, and each a value."""
    assert listed("0, 1", int, "--seed") == (0, 1)
    with pytest.raises(BitlensError, match="--seed is '0,x'"):
        listed("0,x", int, "--seed")
    with pytest.raises(BitlensError, match="--seed names 1 twice"):
        listed("1,1", int, "--seed")
