"""Does the embedded model still do what it ships for?

It must read held-out Python, hold induction heads, and tell an honest 8-bit twin from a broken
3-bit one: an audit of a model without structure would show nothing.
`python -m tools.demo_model.measure --model DIR` prints the figures and writes `figures.json`
beside the model. Intervals are 95 %, over documents or over random sequences.
"""

from __future__ import annotations

import argparse
import copy
import json
import lzma
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import kl_div, nll_loss
from transformers import AutoModelForCausalLM, AutoTokenizer

from bitlens import seeds
from bitlens.demo import evaluation_path, model_path
from tools.demo_model.batches import repeated_row
from tools.demo_model.corpus import Document, read_documents

COPY_LENGTH = 50
N_CHOOSING = 16
N_SCORING = 64
"""Heads are chosen on some sequences and scored on others, lest the best be merely lucky."""
THRESHOLD = 0.5


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True)
class Subject:
    """The model under measurement and what the measures need of its tokenizer."""

    model: Any
    tokenizer: Any
    context: int
    bos: int
    ordinary: NDArray[np.int64]
    "every token that is not special"


def load(folder: Path) -> Subject:
    """Eager attention, because the head scores need the attention patterns themselves."""
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ordinary = np.setdiff1d(np.arange(len(tokenizer)), np.asarray(tokenizer.all_special_ids))
    context = model.config.max_position_embeddings
    return Subject(model, tokenizer, context, tokenizer.bos_token_id, ordinary)


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Estimate:
    """A ratio of sums with a delete-one-document jackknife interval (Tukey 1958)."""
    top, bottom = np.asarray(numerators, float), np.asarray(denominators, float)
    value = top.sum() / bottom.sum()
    left_out = (top.sum() - top) / (bottom.sum() - bottom)
    n = len(top)
    error = math.sqrt((n - 1) / n * float(((left_out - left_out.mean()) ** 2).sum()))
    return Estimate(float(value), float(value - 1.96 * error), float(value + 1.96 * error))


def mean(values: Sequence[float] | NDArray[np.float64]) -> Estimate:
    """The mean over independent sequences."""
    return ratio(list(values), [1.0] * len(values))


def windows(subject: Subject, document: Document) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The whole document as batches of [BOS] + content rows, with the mask of real tokens."""
    ids = subject.tokenizer.encode(document.text, add_special_tokens=False, verbose=False)
    width = subject.context - 1
    rows = [[subject.bos, *ids[i : i + width]] for i in range(0, len(ids), width)]
    for i in range(0, len(rows), 16):
        longest = max(map(len, rows[i : i + 16]))
        padded = [row + [subject.bos] * (longest - len(row)) for row in rows[i : i + 16]]
        real = [[True] * len(row) + [False] * (longest - len(row)) for row in rows[i : i + 16]]
        yield torch.tensor(padded), torch.tensor(real)


def document_nats(subject: Subject, document: Document) -> float:
    """The document's negative log likelihood; every content token is predicted once."""
    total = 0.0
    for ids, real in windows(subject, document):
        log_p = subject.model(ids).logits[:, :-1].log_softmax(-1)
        losses = nll_loss(log_p.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        total += losses[real[:, 1:].flatten()].double().sum().item()
    return total


def bits_per_byte(subject: Subject, documents: Sequence[Document]) -> dict[str, Any]:
    """How well does it predict held-out files, beside `xz -9e` on each file alone?"""
    n_bytes = [float(len(d.text.encode())) for d in documents]
    preset = 9 | lzma.PRESET_EXTREME
    xz = [8.0 * len(lzma.compress(d.text.encode(), preset=preset)) for d in documents]
    bits = [document_nats(subject, d) / math.log(2) for d in documents]
    return {
        "documents": len(documents),
        "bytes": int(sum(n_bytes)),
        "model": ratio(bits, n_bytes),
        "xz": ratio(xz, n_bytes),
        "share_of_xz": ratio(bits, xz),
    }


def rounded_twin(model: Any, n_bits: int) -> Any:
    """A copy whose block linears are rounded to nearest, symmetrically, one scale a row."""
    twin = copy.deepcopy(model)
    top = 2 ** (n_bits - 1) - 1
    for linear in twin.model.layers.modules():
        if isinstance(linear, torch.nn.Linear):
            weight = linear.weight.data
            scale = weight.abs().amax(dim=1, keepdim=True).clamp_min(1e-12) / top
            linear.weight.data = (weight / scale).round().clamp(-top, top) * scale
    return twin


def document_divergence(subject: Subject, twin: Any, document: Document) -> tuple[float, int]:
    """KL(reference || twin) summed over the document's content positions, and their number."""
    total, count = 0.0, 0
    for ids, real in windows(subject, document):
        content = real.clone()
        content[:, 0] = False
        reference = subject.model(ids).logits[content].log_softmax(-1)
        changed = twin(ids).logits[content].log_softmax(-1)
        total += kl_div(changed, reference, reduction="sum", log_target=True).double().item()
        count += int(content.sum())
    return total, count


def divergence(subject: Subject, documents: Sequence[Document], n_bits: int) -> Estimate:
    """Mean KL(reference || twin) in nats a content position; the BOS position is left out."""
    twin = rounded_twin(subject.model, n_bits)
    sums = [document_divergence(subject, twin, document) for document in documents]
    return ratio([total for total, _ in sums], [float(count) for _, count in sums])


def repeated(subject: Subject, purpose: str, n_sequences: int) -> torch.Tensor:
    """[BOS] A A, with A of 50 different ordinary tokens."""
    generator = seeds.generator(0, "measure", purpose)
    length = 1 + 2 * COPY_LENGTH
    return torch.from_numpy(
        np.stack(
            [
                repeated_row(generator, length, COPY_LENGTH, subject.bos, subject.ordinary)
                for _ in range(n_sequences)
            ]
        )
    )


def offset_scores(
    subject: Subject, ids: torch.Tensor, offset: int, first: int
) -> NDArray[np.float64]:
    """Attention from t to t - offset, averaged over t >= first: rows x layers x heads."""
    patterns = torch.stack(subject.model(ids, output_attentions=True).attentions, dim=1)
    queries = torch.arange(first, ids.shape[1])
    scores: NDArray[np.float64] = patterns[..., queries, queries - offset].double().mean(-1).numpy()
    return scores


def chosen_heads(
    choosing: NDArray[np.float64], scoring: NDArray[np.float64], at_least: float
) -> dict[str, Estimate]:
    """Heads above the threshold (or the best one) on the first rows, scored on the others."""
    found = choosing.mean(0)
    layers, heads = np.where(found >= min(at_least, found.max()))
    names = sorted(zip(layers.tolist(), heads.tolist(), strict=True), key=lambda at: -found[at])
    return {f"{layer}.{head}": mean(scoring[:, layer, head]) for layer, head in names}


def induction(subject: Subject) -> dict[str, Any]:
    """Which heads look at what followed the same token before? (Olsson et al. 2022)

    The score is the mean attention from t in the second copy to t - L + 1; the second copy's
    first token is excluded, as what preceded it differs. `beside` is the same at t - L + 2:
    a head that only counts positions roughly would score there too.
    """
    choosing = repeated(subject, "choose", N_CHOOSING)
    scoring = repeated(subject, "score", N_SCORING)
    offset, first = COPY_LENGTH - 1, COPY_LENGTH + 2
    found = offset_scores(subject, choosing, offset, first)
    scores = offset_scores(subject, scoring, offset, first)
    null = offset_scores(subject, scoring, offset - 1, first)
    return {
        "heads": chosen_heads(found, scores, THRESHOLD),
        "beside": chosen_heads(found, null, THRESHOLD),
        **copy_losses(subject, scoring),
    }


def copy_losses(subject: Subject, ids: torch.Tensor) -> dict[str, Any]:
    """The functional side: nats a token in each copy, without the second copy's first token."""
    log_p = subject.model(ids).logits[:, :-1].log_softmax(-1)
    losses = -log_p.gather(-1, ids[:, 1:, None])[..., 0].double()
    first = losses[:, :COPY_LENGTH].mean(1).tolist()
    second = losses[:, COPY_LENGTH + 1 :].mean(1).tolist()
    return {
        "first_copy_loss": mean(first),
        "second_copy_loss": mean(second),
        "second_over_first": ratio(second, first),
    }


def previous_token(subject: Subject, documents: Sequence[Document]) -> dict[str, Estimate]:
    """Which heads look at the token before, on the opening window of held-out files?

    Queries start at the third position, so that looking at BOS does not count.
    """
    rows = []
    for document in documents:
        encoded = subject.tokenizer(document.text, truncation=True, max_length=subject.context)
        if len(encoded["input_ids"]) == subject.context:
            rows.append(encoded["input_ids"])
    scores = offset_scores(subject, torch.tensor(rows[: 2 * N_CHOOSING]), offset=1, first=2)
    return chosen_heads(scores[::2], scores[1::2], THRESHOLD)


@torch.inference_mode()
def figures(folder: Path, documents: Sequence[Document]) -> dict[str, Any]:
    """Every figure of the model card."""
    subject = load(folder)
    return {
        "bits_per_byte": bits_per_byte(subject, documents),
        "induction": induction(subject),
        "previous_token_heads": previous_token(subject, documents),
        "divergence": {str(n_bits): divergence(subject, documents, n_bits) for n_bits in (8, 4, 3)},
    }


def table(value: dict[str, Any], prefix: str = "") -> str:
    """The figures as lines of name and value."""
    lines = []
    for key, entry in value.items():
        name = f"{prefix}{key}"
        lines.append(table(entry, name + " ") if isinstance(entry, dict) else f"{name:45} {entry}")
    return "\n".join(lines)


def main() -> None:
    """Measure a model and write `figures.json` beside it."""
    parser = argparse.ArgumentParser(prog="python -m tools.demo_model.measure", description=__doc__)
    parser.add_argument("--model", type=Path, default=model_path())
    parser.add_argument("--texts", type=Path, default=evaluation_path())
    parser.add_argument("--documents", type=int, help="only the first so many, for a quick look")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = figures(arguments.model, read_documents(arguments.texts)[: arguments.documents])
    print(table(found))
    unfinished = arguments.model / "figures.partial"
    text = json.dumps(found, default=asdict, indent=2, sort_keys=True, allow_nan=False)
    unfinished.write_text(text + "\n", encoding="utf-8")
    os.replace(unfinished, arguments.model / "figures.json")


if __name__ == "__main__":
    main()
