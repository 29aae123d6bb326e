"""The sweeps of a steering run: every model clean, with a vector at every multiplier, with random
ones of its length, and without the direction, on prompts and on neutral text."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bitlens.engine.interventions import Intervention, ablated, added
from bitlens.engine.plan import CORPUS, TokenBatch
from bitlens.engine.runs import REFERENCE, ForwardRun, SiteRequest
from bitlens.engine.step import Step
from bitlens.engine.sweep import Sweep
from bitlens.engine.swept_model import Reference, SweptModel
from bitlens.errors import failed
from bitlens.models.layout import Layout
from bitlens.results.steering.response import MULTIPLIERS
from bitlens.workflows.steer.prompts import log_odds

ABLATION = "ablation"
Name = tuple[str, str, float | None]
"""Of a run: its model, the direction, and the multiplier; of the ablation None."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Steering:
    """What is put into which models, and where."""

    layout: Layout
    twins: Mapping[str, SweptModel]
    site: str
    directions: Mapping[str, Tensor]
    """`vector`, and `random 1` and so on, `[width]` each."""
    hidden_bytes: int

    @property
    def names(self) -> list[Name]:
        """Every run of every model."""
        models = (REFERENCE, *self.twins)
        steered = [(m, d, x) for m in models for d in self.directions for x in MULTIPLIERS if x]
        return [*steered, *((m, ABLATION, None) for m in models)]

    def runs(self) -> dict[Name, ForwardRun]:
        """What branches off from each model, by what it is."""
        found = {}
        for model, direction, multiplier in self.names:
            if multiplier is None:
                changes = taken_out(self.layout, self.directions["vector"])
            else:
                change = added(multiplier * self.directions[direction])
                changes = (Intervention(site=self.site, change=change),)
            found[model, direction, multiplier] = ForwardRun(
                f"{model} with {direction} times {multiplier}",
                model,
                parent=None if multiplier is None else model,
                start=0 if multiplier is None else changes[0].start,
                interventions=changes,
            )
        return found

    def steps(self, batches: Sequence[TokenBatch]) -> Iterator[Step]:
        """Every chunk of logits of all runs. BitlensError for a twin that cannot be made."""
        clean = [ForwardRun(name, name) for name in (REFERENCE, *self.twins)]
        runs = [*clean, *self.runs().values()]
        sweep = Sweep(
            layout=self.layout,
            models={REFERENCE: Reference(self.layout), **self.twins},
            runs=runs,
            requests=[SiteRequest(run.name, frozenset({"logits"}), CORPUS) for run in runs],
            batches=batches,
            hidden_bytes=self.hidden_bytes,
        )
        for wave in sweep.waves:
            for step in sweep.run(wave):
                # A failed twin has no part in later steps: whoever reads one would miss it.
                for name, reason in sweep.failed.items():
                    raise failed(name, reason)
                if step.depth == self.layout.depth:
                    yield step


def taken_out(layout: Layout, direction: Tensor) -> tuple[Intervention, ...]:
    """A direction taken out of the embedding and of what every block adds and hands on."""
    change = ablated(direction)
    sites = [f"{kind}.{n}" for n in range(layout.depth) for kind in ("attn", "mlp", "resid")]
    return tuple(Intervention(site=site, change=change) for site in ("embed", *sites))


def effects(
    steering: Steering, batches: Sequence[TokenBatch], tokens: Sequence[int], documents: int
) -> dict[Name, np.ndarray]:
    """By run, `[documents]`: the log-odds of some tokens after the last position; clean runs are
    those of multiplier 0."""
    found = {name: np.full(documents, np.nan) for name in _with_clean(steering)}
    runs = steering.runs()
    for step in steering.steps(batches):
        document = step.batch.document[step.index].cpu().numpy()
        for name, of in found.items():
            run = runs[name].name if name in runs else name[0]
            of[document] = log_odds(step.activations[run]["logits"], tokens).cpu().numpy()
    return found


def side_effects(
    steering: Steering, batches: Sequence[TokenBatch], documents: int
) -> dict[Name, np.ndarray]:
    """By run, `[documents]`: the mean KL divergence of its predictions from those of the same model
    without it, in nats; NaN for documents that are not read."""
    sums = {name: np.zeros(documents) for name in _with_clean(steering)}
    count = np.zeros(documents)
    runs = steering.runs()
    for step in steering.steps(batches):
        document = step.batch.document[step.index].cpu().numpy()
        np.add.at(count, document, 1)
        clean: dict[str, Tensor] = {}
        for name, of in sums.items():
            if name not in runs:
                continue
            if name[0] not in clean:
                clean[name[0]] = step.activations[name[0]]["logits"].log_softmax(-1)
            before = clean[name[0]]
            after = step.activations[runs[name].name]["logits"].log_softmax(-1)
            kl = torch.nn.functional.kl_div(after, before, reduction="none", log_target=True)
            np.add.at(of, document, kl.sum(dim=-1).double().cpu().numpy())
    with np.errstate(invalid="ignore"):
        return {name: of / count for name, of in sums.items()}


def _with_clean(steering: Steering) -> list[Name]:
    """Every run, and each model's clean one under every direction."""
    models = (REFERENCE, *steering.twins)
    clean = [(model, direction, 0.0) for model in models for direction in steering.directions]
    return [*steering.names, *clean]
