"""The small mixture of experts: it learns, uses its experts, and is read back as it was saved."""

from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, Qwen3MoeForCausalLM

from bitlens.demo import model_path
from tools.demo_model.batches import Phase
from tools.demo_model.corpus import Document
from tools.demo_moe.train import MixtureRecipe, new_mixture, save, train

TINY = MixtureRecipe(
    phases=(Phase(2, 16, 4, 2, 3, 6), Phase(2, 24, 3, 1, 4, 8)),
    n_layers=2,
    width=16,
    n_heads=2,
    n_experts=4,
    mlp=8,
    n_warm_up=1,
)
DOCUMENTS = [Document(f"{i}.py", f"def f{i}(x):\n    return x + {i}\n" * 20) for i in range(5)]


@pytest.mark.slow
def test_a_mixture_is_trained_and_saved(tmp_path: Path) -> None:
    """Every fused parameter of experts and every router is learnt, and the folder is an ordinary
    one, in bfloat16."""
    tokenizer = AutoTokenizer.from_pretrained(model_path())
    before = dict(new_mixture(TINY, tokenizer).named_parameters())
    model = train(TINY, DOCUMENTS, tokenizer, quiet=True)
    learnt = [n for n, p in model.named_parameters() if not torch.equal(p, before[n])]
    assert sum("experts" in name for name in learnt) == 2 * 2
    assert sum("gate.weight" in name for name in learnt) == 2
    save(model, tokenizer, tmp_path)
    again = Qwen3MoeForCausalLM.from_pretrained(tmp_path)
    assert again.dtype == torch.bfloat16
    assert (again.config.num_experts, again.config.num_experts_per_tok) == (4, 2)


def test_rate_rises_then_falls() -> None:
    """Warm-up to the peak, then down to the last rate."""
    recipe = MixtureRecipe()
    rates = [recipe.rate_at(step) for step in range(recipe.n_steps)]
    assert max(rates) == recipe.peak_rate
    assert rates[-1] < 1.1 * recipe.last_rate
    with pytest.raises(IndexError):
        recipe.phase_at(recipe.n_steps)
