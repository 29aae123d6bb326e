"""Training the encoder: where it helps, and where it does not."""

from dataclasses import replace

import pytest
import torch

from bitlens.sae.repair import finetune
from bitlens.sae.repair.finetune import trained
from bitlens.sae.repair.repair import MAP, TRAINED, UNREPAIRED, repair
from tests.support.planted_repair import LATENTS, activations, on, sae, turned


@pytest.mark.slow
def test_training_helps_where_least_squares_are_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin is noisy and latents fire seldom: the line through all positions is not that through
    those on which they fire, and training against the reference's codes leaves less on held-out
    positions than the linear map it begins with; the same seed, the same weights."""
    monkeypatch.setattr(finetune, "STEPS", 200)
    whole = replace(sae(), b_enc=torch.full((LATENTS,), -0.3))
    draw = torch.Generator().manual_seed(1)
    fires = torch.rand(4000, LATENTS, generator=draw) < 0.1
    strength = 1 + torch.rand(4000, LATENTS, generator=draw)
    x = (fires * strength) @ whole.w_dec + whole.b_dec
    y = turned(x) + 0.2 * activations(seed=5, n=4000)
    made = repair(whole, on(y, x), finetune=True)
    errors = {step.name: step.error for step in made.steps}
    assert errors[TRAINED] < errors[MAP] < errors[UNREPAIRED]
    again = repair(whole, on(y, x), finetune=True)
    assert torch.equal(made.steps[-1].sae.w_enc, again.steps[-1].sae.w_enc)


def test_training_that_does_not_help_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends early and gives back what it began with."""
    monkeypatch.setattr(finetune, "EVERY", 1)
    monkeypatch.setattr(finetune, "RATE", 1e3)
    whole, part, steps = sae(), on(activations()), []
    halves = part.part(held_out=False), part.part(held_out=True)
    assert trained(whole, whole, *halves, seed=0, progress=steps.append) is whole
    assert len(steps) == finetune.PATIENCE
