"""How is a small mixture of experts made, to try the routing analysis on?

`python -m tools.demo_moe.train --out DIR` makes one of the training files and the tokenizer of the
embedded model, on a CPU, from a fixed seed and in a few minutes. What makes it a mixture that is
worth auditing is that all experts are used: beside the loss of the text stands the load-balancing
loss of Switch Transformers (Fedus et al. 2021, arXiv 2101.03961), and the figures say how even the
load became.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from bitlens import seeds
from bitlens.demo import evaluation_path, model_path
from tools.demo_model.batches import IGNORED, Corpus, Phase, batch
from tools.demo_model.corpus import Document, read_documents, split_documents
from tools.demo_model.tokenizer import N_SPECIAL, encode

N_READ = 40
"""Windows of different evaluation documents that the figures are of."""


@dataclass(frozen=True, kw_only=True)
class MixtureRecipe:
    """Everything the result depends on besides the text."""

    phases: tuple[Phase, ...] = (
        Phase(800, 64, 32, 10, 8, 32),
        Phase(150, 128, 16, 3, 8, 64),
        Phase(150, 256, 8, 1, 16, 120),
    )
    n_layers: int = 4
    width: int = 64
    n_heads: int = 4
    n_experts: int = 8
    n_chosen: int = 2
    mlp: int = 128
    "neurons of one expert"
    balance: float = 0.05
    "how much the load-balancing loss counts"
    peak_rate: float = 4e-3
    last_rate: float = 2e-4
    n_warm_up: int = 60
    weight_decay: float = 0.1
    clip: float = 1.0
    seed: int = 1

    @property
    def n_steps(self) -> int:
        """Optimizer steps of all phases."""
        return sum(phase.n_steps for phase in self.phases)

    def phase_at(self, step: int) -> Phase:
        """The phase that a step is in; IndexError beyond the last."""
        for phase in self.phases:
            if step < phase.n_steps:
                return phase
            step -= phase.n_steps
        raise IndexError("step beyond the last phase")

    def rate_at(self, step: int) -> float:
        """Warm-up, then a half cosine down to the last rate."""
        if step < self.n_warm_up:
            return self.peak_rate * (step + 1) / self.n_warm_up
        done = (step - self.n_warm_up) / max(1, self.n_steps - self.n_warm_up)
        share = 0.5 * (1 + math.cos(math.pi * done))
        return self.last_rate + (self.peak_rate - self.last_rate) * share


def new_mixture(recipe: MixtureRecipe, tokenizer: PreTrainedTokenizerFast) -> Qwen3MoeForCausalLM:
    """An untrained mixture; each tensor is drawn from a stream named after it. Qwen3-MoE, because
    its experts are fused parameters, as those of most families now."""
    config: Any = Qwen3MoeConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.width,
        intermediate_size=recipe.mlp,
        moe_intermediate_size=recipe.mlp,
        num_hidden_layers=recipe.n_layers,
        num_attention_heads=recipe.n_heads,
        num_key_value_heads=recipe.n_heads,
        num_experts=recipe.n_experts,
        num_experts_per_tok=recipe.n_chosen,
        decoder_sparse_step=1,
        norm_topk_prob=True,
        router_aux_loss_coef=recipe.balance,
        max_position_embeddings=max(phase.context for phase in recipe.phases),
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config.head_dim = recipe.width // recipe.n_heads
    with torch.random.fork_rng(devices=[]):
        model = Qwen3MoeForCausalLM(config)
    model.set_attn_implementation("eager")
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            generator = seeds.generator(recipe.seed, "initial", name)
            parameter.data.copy_(torch.from_numpy(generator.normal(0.0, 0.02, parameter.shape)))
    return model


def new_optimizer(recipe: MixtureRecipe, model: Qwen3MoeForCausalLM) -> torch.optim.AdamW:
    """AdamW that decays matrices and leaves the norms' gains alone."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    gains = [p for p in model.parameters() if p.dim() == 1]
    decays = {"params": matrices, "weight_decay": recipe.weight_decay}
    stays = {"params": gains, "weight_decay": 0.0}
    return torch.optim.AdamW([decays, stays], lr=recipe.peak_rate, betas=(0.9, 0.95), fused=True)


def train_step(
    model: Qwen3MoeForCausalLM,
    optimizer: torch.optim.AdamW,
    rate: float,
    recipe: MixtureRecipe,
    rows: tuple[torch.Tensor, torch.Tensor],
) -> tuple[float, float]:
    """One update on `rows` (tokens and labels); the loss of the text before it, in nats a token,
    and that of the load, which is the number of chosen experts where it is even."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    ids, labels = rows
    output = model(input_ids=ids, use_cache=False, output_router_logits=True)
    loss = cross_entropy(
        output.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED
    )
    optimizer.zero_grad(set_to_none=True)
    (loss + recipe.balance * output.aux_loss).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
    optimizer.step()
    return float(loss.detach()), float(output.aux_loss.detach())


def train(
    recipe: MixtureRecipe,
    documents: list[Document],
    tokenizer: PreTrainedTokenizerFast,
    quiet: bool = False,
) -> Qwen3MoeForCausalLM:
    """A mixture trained to the recipe's last step."""
    assert isinstance(tokenizer.bos_token_id, int)
    assert isinstance(tokenizer.eos_token_id, int)
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    corpus = Corpus.of([encode(tokenizer, document) for document in documents], eos)
    ordinary = np.arange(N_SPECIAL, len(tokenizer))
    model = new_mixture(recipe, tokenizer)
    optimizer = new_optimizer(recipe, model)
    model.train()
    began = time.process_time()
    for step in tqdm(range(recipe.n_steps), disable=quiet, mininterval=10):
        drawn = batch(recipe.phase_at(step), step, recipe.seed, corpus, bos, ordinary)
        ids, labels = (torch.from_numpy(part) for part in drawn)
        losses = train_step(model, optimizer, recipe.rate_at(step), recipe, (ids, labels))
        if not quiet and (step + 1) % 100 == 0:
            minutes = (time.process_time() - began) / 60
            text, load = losses
            tqdm.write(f"step {step + 1}: {text:.3f}, load {load:.3f}, {minutes:.1f} min")
    model.eval()
    return model


@torch.no_grad()
def figures(model: Any, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """What the mixture predicts of held-out documents, and how evenly it uses its experts: by
    block, the largest load over the mean (1: all alike, 4: two experts of eight do everything)
    and the load's entropy over that of an even one."""
    context = model.config.max_position_embeddings
    loss, count = 0.0, 0
    load = torch.zeros(model.config.num_hidden_layers, model.config.num_experts)
    for document in read_documents(evaluation_path())[:N_READ]:
        own = tokenizer.encode(document.text, add_special_tokens=False)[: context - 1]
        ids = torch.tensor([[tokenizer.bos_token_id, *own]])
        output = model(input_ids=ids, use_cache=False, output_router_logits=True)
        loss += float(cross_entropy(output.logits[0, :-1], ids[0, 1:], reduction="sum"))
        count += ids.shape[1] - 1
        chosen = torch.stack(
            [x.topk(model.config.num_experts_per_tok).indices for x in output.router_logits]
        )
        load += torch.nn.functional.one_hot(chosen, model.config.num_experts).sum((1, 2))
    share = load / load.sum(-1, keepdim=True)
    even = math.log(model.config.num_experts)
    return {
        "documents": N_READ,
        "tokens": count,
        "nats_a_token": loss / count,
        "largest_load_over_mean": (share.amax(-1) * model.config.num_experts).tolist(),
        "entropy_of_load_over_even": (torch.special.entr(share).sum(-1) / even).tolist(),
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def save(model: Qwen3MoeForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """An ordinary transformers folder, its weights in bfloat16: half as many bytes."""
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)


def main() -> None:
    """Train, save, and write down the figures of what was saved."""
    parser = argparse.ArgumentParser(prog="python -m tools.demo_moe.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the model")
    parser.add_argument("--threads", type=int, default=1, help="another number rounds differently")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recipe = MixtureRecipe()
    tokenizer: Any = AutoTokenizer.from_pretrained(model_path())
    model = train(recipe, split_documents()["train"], tokenizer)
    save(model, tokenizer, arguments.out)
    found = figures(
        Qwen3MoeForCausalLM.from_pretrained(arguments.out, dtype=torch.float32), tokenizer
    )
    found |= {"recipe": asdict(recipe)}
    text = json.dumps(found, indent=2)
    (arguments.out / "figures.json").write_text(f"{text}\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
