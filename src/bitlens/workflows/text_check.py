"""The reference's loss on the text, beside what knows nothing of the order of tokens.

What a compression does to a model that guesses says nothing of the model, and every other number
would look as usual.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bitlens.config.study_settings import is_embedded
from bitlens.data.corpus import Corpus
from bitlens.engine.plan import CORPUS, Plan, TokenBatch
from bitlens.engine.reader import read
from bitlens.engine.runs import REFERENCE
from bitlens.engine.swept_model import Reference
from bitlens.errors import DataError
from bitlens.models.layout import Layout
from bitlens.results.records import TEXT, Check
from bitlens.workflows.session import Session

POSITIONS = 500
"""Predictions that are looked at, or a few more: whole batches are read."""
HIDDEN_BYTES = 1 << 30
"""Bytes of the hidden states that are read at a time."""
MOST = 50.0
"""Nats of which the exponential is still written out."""


@dataclass(frozen=True, kw_only=True)
class Legibility:
    """How well a model predicts a text, beside guesses that look at no context; nats a token."""

    model: str
    text: str
    predictions: int
    loss: float
    unigram: float
    """Loss of the text's own token frequencies, fitted on the very tokens that they predict."""
    unseen: float
    """Loss of these frequencies without the token that is predicted, so that a token which occurs
    once is as new to them as to the model (leaving one out; new tokens have the share that tokens
    of one occurrence have: Good 1953)."""
    uniform: float
    """Loss of a guess over the whole vocabulary."""

    @property
    def passed(self) -> bool | None:
        """Better than either guess; None where it depends on whether the frequencies have seen
        the token: more text would decide."""
        if self.loss < min(self.unigram, self.uniform):
            return True
        return False if self.loss >= min(self.unseen, self.uniform) else None

    @property
    def said(self) -> str:
        """The losses in a sentence, without its dot."""
        perplexity = math.exp(min(self.loss, MOST))
        short = f"{perplexity:,.0f}" if perplexity >= 100 else f"{perplexity:.3g}"
        return (
            f"{self.model} predicts {self.text} with a loss of {self.loss:.2f} nats a token "
            f"(perplexity {short}, {self.predictions:,} tokens); "
            f"the text's token frequencies alone give {self.unigram:.2f}, a guess over the whole "
            f"vocabulary {self.uniform:.2f}"
        )

    @property
    def check(self) -> Check:
        """Whether the model can read the text, as one of an audit's checks."""
        why = {
            True: "",
            False: ": the model cannot read it, and what is measured on it says little of the "
            "model",
            None: f", and {self.unseen:.2f} where a token has not seen itself: more text would "
            "decide",
        }[self.passed]
        return Check(
            "the reference can read the text", self.passed, f"{self.said}{why}", bears_on=TEXT
        )


def check_text(session: Session, plan: Plan) -> Check:
    """Can the model read its text? Measured on the reference before anything is compressed; `plan`:
    of the evaluation texts.

    Where nobody named a text the choice is logged, and BitlensError where it is a wrong one. A text
    that was named is read whatever it is; the check then fails.
    """
    study, name, log = session.study, session.loaded.name, session.log
    found = legibility(session.layout, session.corpus, plan, name)
    if found is None:
        return Check(
            "the reference can read the text", None, "no token of it is predicted", bears_on=TEXT
        )
    if study.text is None and not is_embedded(session.source):
        if found.passed is False:
            raise DataError(
                f"No text is named, and {name} cannot read the one that ships with bitlens, which "
                f"is source code: {found.said}.",
                "a text that the model reads better than that.",
                "--text FILE, with texts like those the model is for.",
            )
        log(f"No text is named (--text), so source code that ships with bitlens: {found.said}.")
    elif found.passed is False:
        log(f"Doubtful: {found.check.detail}.")
    return found.check


@torch.no_grad()
def legibility(layout: Layout, corpus: Corpus, plan: Plan, model: str) -> Legibility | None:
    """How well a model reads the beginning of a corpus, of which `plan` is; token frequencies are
    those of all of it. None where nothing is predicted."""
    batches = [batch for batch in plan.batches if batch.documents == CORPUS]
    counts = torch.zeros(layout.vocabulary, dtype=torch.int64)
    for batch in batches:
        counts += torch.bincount(_targets(batch), minlength=layout.vocabulary)
    read = _beginning(batches)
    targets = torch.cat([_targets(batch) for batch in read]) if read else counts[:0]
    if not len(targets):
        return None
    unigram, unseen = _frequencies(counts, targets)
    return Legibility(
        model=model,
        text=corpus.name,
        predictions=len(targets),
        loss=_loss(layout, read) / len(targets),
        unigram=unigram,
        unseen=unseen,
        uniform=math.log(layout.vocabulary),
    )


def _beginning(batches: list[TokenBatch]) -> list[TokenBatch]:
    read: list[TokenBatch] = []
    for batch in batches:
        if sum(len(b.logits_index) for b in read) >= POSITIONS:
            break
        if len(batch.logits_index):
            read.append(batch)
    return read


def _targets(batch: TokenBatch) -> Tensor:
    """The tokens that are predicted and count."""
    return batch.target[batch.logits_index].cpu()


def _frequencies(counts: Tensor, targets: Tensor) -> tuple[float, float]:
    """Mean loss on `targets` of the frequencies `counts`, with each token and without it."""
    total, seen = counts.sum().double(), counts[targets].double()
    new = (counts == 1).sum() / total
    absent = max(1, int((counts == 0).sum()))
    without = torch.where(seen > 1, (1 - new) * (seen - 1) / (total - 1).clamp(min=1), new / absent)
    return float(-(seen / total).log().mean()), float(-without.log().mean())


def _loss(layout: Layout, batches: list[TokenBatch]) -> float:
    """The sum over all predictions that count."""
    total = 0.0
    models = {REFERENCE: Reference(layout)}
    for step in read(layout, models, ["logits"], batches, hidden_bytes=HIDDEN_BYTES):
        activations = step.activations[REFERENCE]
        if "logits" in activations:
            target = step.batch.target[step.index]
            loss = cross_entropy(activations["logits"], target, reduction="none")
            total += float(loss.double().sum())
    return total
