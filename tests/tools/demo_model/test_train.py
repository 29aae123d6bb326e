"""A run that was stopped ends where an unbroken one does."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tools.demo_model.batches import Phase
from tools.demo_model.corpus import Document
from tools.demo_model.train import Recipe, train

TINY = Recipe(
    phases=(Phase(3, 16, 4, 2, 3, 6), Phase(3, 24, 3, 1, 4, 8)),
    n_layers=2,
    width=16,
    n_heads=2,
    mlp=32,
    n_vocabulary=300,
    n_warm_up=2,
    checkpoint_every=2,
)
DOCUMENTS = [Document(f"{i}.py", f"def f{i}(x):\n    return x + {i}\n" * 20) for i in range(5)]


def test_resuming_gives_the_same_weights(tmp_path: Path) -> None:
    """Stopping after step 3 and going on changes no weight, whatever was drawn in between."""
    unbroken = train(TINY, DOCUMENTS, tmp_path / "unbroken", quiet=True)
    halfway = train(TINY, DOCUMENTS, tmp_path / "broken", stop_after=3, quiet=True)
    torch.rand(7)
    resumed = train(TINY, DOCUMENTS, tmp_path / "broken", quiet=True)
    for a, b, c in zip(
        unbroken.parameters(), resumed.parameters(), halfway.parameters(), strict=True
    ):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


def test_training_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    """No stream of the caller moves because a model was trained."""
    before = torch.random.get_rng_state()
    train(TINY, DOCUMENTS, tmp_path, stop_after=1, quiet=True)
    assert torch.equal(before, torch.random.get_rng_state())


def test_another_recipe_is_refused(tmp_path: Path) -> None:
    """A checkpoint of other settings is not silently continued."""
    train(TINY, DOCUMENTS, tmp_path, stop_after=1, quiet=True)
    with pytest.raises(ValueError, match="another recipe"):
        train(replace(TINY, seed=2), DOCUMENTS, tmp_path, quiet=True)


def test_rate_rises_then_falls() -> None:
    """Warm-up to the peak, then down to the last rate."""
    recipe = Recipe()
    rates = [recipe.rate_at(step) for step in range(recipe.n_steps)]
    top = rates.index(max(rates))
    assert top in (recipe.n_warm_up - 1, recipe.n_warm_up)
    assert max(rates) == recipe.peak_rate
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] == pytest.approx(recipe.last_rate, rel=0.01)
