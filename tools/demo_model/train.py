"""How was the embedded model made?

`python -m tools.demo_model.train --out DIR` makes it again from the standard library of the running
interpreter, on a CPU and from a fixed seed. It may be stopped at any time: started again it
continues from its last checkpoint and takes the same path.

Short periods come first: with long ones only, or with a higher rate, no induction head forms
within the first few million tokens; later phases lengthen periods and context to where the
heads are wanted.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bitlens import seeds
from tools.demo_model.batches import IGNORED, Corpus, Phase, batch
from tools.demo_model.corpus import Document, split_documents, write_documents
from tools.demo_model.tokenizer import N_SPECIAL, encode, train_tokenizer


@dataclass(frozen=True)
class Recipe:
    """Everything the result depends on besides the text."""

    phases: tuple[Phase, ...] = (
        Phase(1200, 64, 64, 48, 8, 32),
        Phase(1000, 128, 32, 14, 8, 64),
        Phase(3800, 256, 16, 4, 16, 120),
    )
    n_layers: int = 4
    width: int = 256
    n_heads: int = 8
    mlp: int = 768
    n_vocabulary: int = 2048
    peak_rate: float = 1.5e-3
    last_rate: float = 1e-4
    n_warm_up: int = 100
    weight_decay: float = 0.1
    clip: float = 1.0
    seed: int = 1
    checkpoint_every: int = 200

    @property
    def n_steps(self) -> int:
        """Optimizer steps of all phases."""
        return sum(phase.n_steps for phase in self.phases)

    @property
    def context(self) -> int:
        """The longest row, in tokens."""
        return max(phase.context for phase in self.phases)

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


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """An untrained model; each tensor is drawn from a stream named after it.

    Eager attention, because at these lengths its backward pass is the faster one on a CPU.
    """
    config = LlamaConfig(
        vocab_size=recipe.n_vocabulary,
        hidden_size=recipe.width,
        intermediate_size=recipe.mlp,
        num_hidden_layers=recipe.n_layers,
        num_attention_heads=recipe.n_heads,
        num_key_value_heads=recipe.n_heads,
        max_position_embeddings=recipe.context,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        model = LlamaForCausalLM(config)
    model.set_attn_implementation("eager")
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            generator = seeds.generator(recipe.seed, "initial", name)
            drawn = generator.normal(0.0, 0.02, parameter.shape)
            parameter.data.copy_(torch.from_numpy(drawn))
    return model


def new_optimizer(recipe: Recipe, model: LlamaForCausalLM) -> torch.optim.AdamW:
    """AdamW that decays matrices and leaves the norms' gains alone."""
    matrices = [p for p in model.parameters() if p.dim() == 2]
    gains = [p for p in model.parameters() if p.dim() != 2]
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": recipe.weight_decay},
            {"params": gains, "weight_decay": 0.0},
        ],
        lr=recipe.peak_rate,
        betas=(0.9, 0.95),
        fused=True,
    )


def train_step(
    model: LlamaForCausalLM,
    optimizer: torch.optim.AdamW,
    rate: float,
    clip: float,
    ids: torch.Tensor,
    labels: torch.Tensor,
) -> torch.Tensor:
    """One update; the loss before it, in nats a token."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(input_ids=ids, use_cache=False).logits
    loss = cross_entropy(
        logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED
    )
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return loss.detach()


def train(
    recipe: Recipe,
    documents: list[Document],
    out: Path,
    stop_after: int | None = None,
    quiet: bool = False,
) -> LlamaForCausalLM:
    """Train to the recipe's last step (or `stop_after`), continuing from `out` if it can."""
    tokenizer = train_tokenizer(documents, recipe.n_vocabulary, recipe.context)
    assert isinstance(tokenizer.bos_token_id, int)
    assert isinstance(tokenizer.eos_token_id, int)
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    corpus = Corpus.of([encode(tokenizer, document) for document in documents], eos)
    ordinary = np.arange(N_SPECIAL, recipe.n_vocabulary)
    model = new_model(recipe, tokenizer)
    optimizer = new_optimizer(recipe, model)
    identity = json.dumps({"recipe": asdict(recipe), "corpus": corpus.fingerprint()})
    first = load_checkpoint(model, optimizer, identity, out)
    last = recipe.n_steps if stop_after is None else min(stop_after, recipe.n_steps)
    model.train()
    began, loss = time.monotonic(), torch.tensor(float("nan"))
    for step in tqdm(range(first, last), initial=first, total=last, disable=quiet, mininterval=10):
        ids, labels = batch(recipe.phase_at(step), step, recipe.seed, corpus, bos, ordinary)
        loss = train_step(
            model,
            optimizer,
            recipe.rate_at(step),
            recipe.clip,
            torch.from_numpy(ids),
            torch.from_numpy(labels),
        )
        if (step + 1) % recipe.checkpoint_every == 0 or step + 1 == last:
            save_checkpoint(model, optimizer, identity, step + 1, out)
            save_model(model, tokenizer, out / "model")
            if not quiet:
                minutes = (time.monotonic() - began) / 60
                tqdm.write(f"step {step + 1}: loss {loss.item():.3f} after {minutes:.1f} min")
    return model


def save_model(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """An ordinary transformers folder in fp32."""
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)


def save_checkpoint(
    model: LlamaForCausalLM,
    optimizer: torch.optim.AdamW,
    identity: str,
    step: int,
    out: Path,
) -> None:
    """Weights and moments in one safetensors file, replaced whole, so it is never half new."""
    tensors = {key: value.detach().contiguous() for key, value in _state(model, optimizer)}
    out.mkdir(parents=True, exist_ok=True)
    unfinished = out / "checkpoint.partial"
    save_file(tensors, unfinished, metadata={"identity": identity, "step": str(step)})
    os.replace(unfinished, out / "checkpoint.safetensors")


def load_checkpoint(
    model: LlamaForCausalLM, optimizer: torch.optim.AdamW, identity: str, out: Path
) -> int:
    """Restore what `save_checkpoint` wrote; the number of steps done, 0 where there is none."""
    path = out / "checkpoint.safetensors"
    if not path.exists():
        return 0
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        if metadata["identity"] != identity:
            raise ValueError(
                f"{path} belongs to another recipe or another text. A run can only continue "
                "with the settings and the Python version it began with: choose an empty "
                "folder, or delete this checkpoint."
            )
        step = int(metadata["step"])
        for name, parameter in model.named_parameters():
            parameter.data.copy_(file.get_tensor(f"weight/{name}"))
            optimizer.state[parameter] = {
                "step": torch.tensor(float(step)),
                "exp_avg": file.get_tensor(f"exp_avg/{name}"),
                "exp_avg_sq": file.get_tensor(f"exp_avg_sq/{name}"),
            }
    return step


def _state(
    model: LlamaForCausalLM, optimizer: torch.optim.AdamW
) -> Iterator[tuple[str, torch.Tensor]]:
    for name, parameter in model.named_parameters():
        moments: dict[str, Any] = optimizer.state[parameter]
        yield f"weight/{name}", parameter
        yield f"exp_avg/{name}", moments["exp_avg"]
        yield f"exp_avg_sq/{name}", moments["exp_avg_sq"]


def main() -> None:
    """Split the corpus, write the texts, train or continue."""
    parser = argparse.ArgumentParser(prog="python -m tools.demo_model.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for model and texts")
    parser.add_argument("--stop-after", type=int, help="stop at this step; continue later")
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        help="sums are ordered differently with another number; one loses least on a busy machine",
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    parts = split_documents()
    for part in ("calibration", "evaluation"):
        write_documents(parts[part], arguments.out / "texts" / f"{part}.jsonl")
    train(Recipe(), parts["train"], arguments.out, arguments.stop_after)


if __name__ == "__main__":
    main()
