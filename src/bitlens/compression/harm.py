"""How much harm a twin does: what it loses of the reference's predictions, on a sample of texts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from bitlens.compression.twin import Twin
from bitlens.data.corpus import Corpus
from bitlens.engine.plan import make_plan
from bitlens.engine.reader import read
from bitlens.engine.runs import REFERENCE
from bitlens.engine.swept_model import Reference, SweptModel
from bitlens.models.layout import Layout

POSITIONS = 8_192
"""Positions read, about: all twins are read on the same."""


@dataclass(frozen=True)
class Harm:
    """What a twin does to the reference's predictions."""

    kl: float
    """Mean KL(reference ‖ twin), nats."""
    loss: float
    """Mean negative log-probability of the next token, nats."""

    def on(self, what: str, reference: float) -> float:
        """The harm as it grows from 0: mean KL, or the logarithm of the ratio of perplexities."""
        harm = self.kl if what == "kl" else self.loss - reference
        return harm if math.isfinite(harm) else math.inf


class HarmMeasure:
    """KL and loss of twins, each over the same sample of documents: about `POSITIONS` positions."""

    def __init__(
        self, layout: Layout, corpus: Corpus, seed: int, *, batch_tokens: int, hidden_bytes: int
    ) -> None:
        """`hidden_bytes` bounds the hidden states of twins that are run side by side."""
        self._layout, self._hidden_bytes = layout, hidden_bytes
        plan = make_plan(corpus, "content", seed, batch_tokens, device=layout.device)
        batches = plan.batches
        order = torch.randperm(len(batches), generator=torch.Generator().manual_seed(seed))
        self._batches = []
        self.positions = 0
        for n in order.tolist():
            if self.positions < POSITIONS:
                self._batches.append(batches[n])
                self.positions += len(batches[n].logits_index)

    def __call__(self, twins: Mapping[str, Twin]) -> tuple[dict[str, Harm], float]:
        """The harm of each twin by its name, and the reference's own loss. BitlensError for a twin
        whose weights cannot be made."""
        everyone: dict[str, SweptModel] = {REFERENCE: Reference(self._layout), **twins}
        kl = dict.fromkeys(twins, 0.0)
        loss = dict.fromkeys(everyone, 0.0)
        for step in read(
            self._layout, everyone, ["logits"], self._batches, hidden_bytes=self._hidden_bytes
        ):
            if step.depth < self._layout.depth:
                continue
            target = step.batch.target[step.index, None]
            before = torch.log_softmax(step.activations[REFERENCE]["logits"], -1)
            loss[REFERENCE] -= float(before.gather(1, target).double().sum())
            chance = before.exp()
            for name in twins:
                after = torch.log_softmax(step.activations[name]["logits"], -1)
                loss[name] -= float(after.gather(1, target).double().sum())
                kl[name] += float(torch.linalg.vecdot(chance, before - after).double().sum())
        n = self.positions
        return {name: Harm(kl[name] / n, loss[name] / n) for name in twins}, loss[REFERENCE] / n
