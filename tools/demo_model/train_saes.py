"""How were the embedded model's sparse autoencoders made?

`python -m tools.demo_model.train_saes --out DIR` makes them again on a CPU from a fixed seed,
from the documents the model itself learnt from; the figures are of the evaluation texts. With
`--model` and `--text` it trains one for another model.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from bitlens import seeds
from bitlens.data.positions import counted
from bitlens.data.texts import read_texts
from bitlens.demo import calibration_path, evaluation_path, model_path
from bitlens.models.layout import blocks_path
from bitlens.results.records import to_json
from bitlens.sae.fit import Fit, measure_fit
from bitlens.sae.formats.load import save_sae
from bitlens.sae.sae import Sae, TrainedOn
from bitlens.sae.training.config import SaeTrainingConfig
from bitlens.sae.training.trainer import InMemory, Job, describe, train
from tools.demo_model.corpus import read_documents, split_documents

CONTEXT = 256
POSITIONS = 800_000
"""Learnt from at most, drawn as whole windows from all documents."""
EMBEDDED = {
    1: SaeTrainingConfig(architecture="topk", latents=1024, k=56),
    2: SaeTrainingConfig(architecture="topk", latents=1024, k=64),
}
"""By block whose output is read."""


@dataclass(frozen=True)
class Windows:
    """Documents cut into rows that each begin with BOS and hold one document only."""

    tokens: NDArray[np.int64]
    """`[rows, context]`, filled up with BOS."""
    lengths: NDArray[np.int64]
    """`[rows]`."""

    def __len__(self) -> int:
        return len(self.tokens)

    def drawn(self, positions: int, seed: int) -> Windows:
        """Windows in random order until they hold this many positions after BOS."""
        order = seeds.generator(seed, "windows").permutation(len(self))
        enough = np.searchsorted(np.cumsum(self.lengths[order] - 1), positions) + 1
        return Windows(self.tokens[order[:enough]], self.lengths[order[:enough]])


def cut(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, context: int) -> Windows:
    """Every document, in windows of `context - 1` tokens after a BOS."""
    bos = tokenizer.bos_token_id
    encoded = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    step = context - 1
    rows = [[bos, *ids[at : at + step]] for ids in encoded for at in range(0, len(ids), step)]
    tokens = np.full((len(rows), context), bos, dtype=np.int64)
    for place, row in zip(tokens, rows, strict=True):
        place[: len(row)] = row
    return Windows(tokens, np.array([len(row) for row in rows], dtype=np.int64))


@torch.inference_mode()
def activations(
    model: PreTrainedModel, windows: Windows, blocks: Sequence[int], bos: int, quiet: bool = False
) -> dict[int, Tensor]:
    """`[positions, width]` by block: its output, at the positions an audit counts (`content`)."""
    path = blocks_path(model, model.config.num_hidden_layers)
    modules = list(model.get_submodule(path).children())
    counts = counted(windows.tokens, windows.lengths, "content", bos)
    out = {n: torch.empty(int(counts.sum()), model.config.hidden_size) for n in blocks}
    seen: dict[int, Tensor] = {}

    def keep(n: int) -> torch.utils.hooks.RemovableHandle:
        def hook(
            _module: torch.nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]
        ) -> None:
            seen[n] = output[0] if isinstance(output, tuple) else output

        return modules[n].register_forward_hook(hook)

    handles = [keep(n) for n in blocks]
    done = 0
    for first in tqdm(range(0, len(windows), 32), "activations", disable=quiet, mininterval=5):
        rows = slice(first, first + 32)
        model.base_model(input_ids=torch.from_numpy(windows.tokens[rows]), use_cache=False)
        mask = torch.from_numpy(counts[rows])
        for n in blocks:
            out[n][done : done + int(mask.sum())] = seen[n][mask]
        done += int(mask.sum())
    for handle in handles:
        handle.remove()
    return out


@dataclass(frozen=True)
class TrainingInput:
    """A model and the texts it is read on, as plain strings, one a document."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    train: list[str]
    watched: list[str]
    """Held out; looked at while training."""
    measured: list[str]
    """Held out; what the figures are of."""


def embedded() -> TrainingInput:
    """The model that ships and its own texts, each part for its purpose."""
    return TrainingInput(
        model_path().name,
        *_load(model_path()),
        [document.text for document in split_documents()["train"]],
        [document.text for document in read_documents(calibration_path())],
        [document.text for document in read_documents(evaluation_path())],
    )


def other(folder: Path, text: Path, held_out: int) -> TrainingInput:
    """Another model; the last `held_out` documents of a file are not learnt from."""
    texts = [document.text for document in read_texts(text).documents]
    kept = texts[-held_out:]
    return TrainingInput(folder.name, *_load(folder), texts[:-held_out], kept, kept)


def make(
    given: TrainingInput, configs: dict[int, SaeTrainingConfig], out: Path, quiet: bool = False
) -> dict[str, tuple[Sae, Fit]]:
    """Train an SAE for each block named, write its folder, and say how well it does."""
    bos = given.tokenizer.bos_token_id
    context = min(CONTEXT, given.model.config.max_position_embeddings)
    trained_on = TrainedOn(model=given.name, context=context, prepend_bos=True, dtype="float32")

    def read(texts: list[str], positions: int, quiet: bool = quiet) -> dict[int, Tensor]:
        windows = cut(texts, given.tokenizer, context).drawn(positions, seed=0)
        return activations(given.model, windows, list(configs), bos, quiet)

    learnt = read(given.train, POSITIONS)
    watched = read(given.watched, 20_000, quiet=True)
    measured = read(given.measured, 10**9)
    made, figures = {}, {}
    for n, config in configs.items():
        label = f"resid.{n}-{config.architecture}"
        hook = f"blocks.{n}.hook_resid_post"
        job = Job(config=config, label=label, hook=hook, trained_on=trained_on)
        (trained,) = train(InMemory({"": learnt[n]}), {"": watched[n]}, [job], quiet=quiet)
        sae = trained.sae
        save_sae(sae, out / label)
        made[label] = sae, measure_fit(sae, measured[n])
        figures[label] = {
            **asdict(made[label][1]),
            "learnt_from": len(learnt[n]),
            "recipe": asdict(config),
        }
        if not quiet:
            tqdm.write(f"{label}: {describe([made[label][1]])} on {len(measured[n]):,} positions")
    (out / "figures.json").write_text(to_json(figures, indent=1) + "\n", encoding="utf-8")
    return made


def _load(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)


def main() -> None:
    """Train the embedded SAEs, or one for another model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", type=Path, help="another model's folder")
    parser.add_argument("--text", type=Path, help="a JSON list of its documents, or JSON lines")
    parser.add_argument("--held-out", type=int, default=200, help="documents at the end")
    parser.add_argument("--block", type=int, help="whose output is read")
    parser.add_argument("--latents", type=int, default=1024)
    parser.add_argument("-k", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3000)
    asked = parser.parse_args()
    if asked.model is None:
        make(embedded(), EMBEDDED, asked.out)
        return
    if asked.text is None or asked.block is None:
        parser.error("--model needs --text and --block as well")
    config = SaeTrainingConfig(
        architecture="topk", latents=asked.latents, k=asked.k, steps=asked.steps
    )
    make(other(asked.model, asked.text, asked.held_out), {asked.block: config}, asked.out)


if __name__ == "__main__":
    main()
