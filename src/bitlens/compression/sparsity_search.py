"""At which sparsity does pruning do as much harm as another twin?

Perplexity and mean KL over the same positions, for several sparsities in one sweep: first all
over, then around where the logarithm of the harm, between the two sparsities that hold the
answer, meets the wanted one.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from bitlens.compression import format_spec
from bitlens.compression.methods.prune import Prune
from bitlens.compression.twin import Twin
from bitlens.data.corpus import Corpus
from bitlens.engine.plan import CORPUS, make_plan
from bitlens.engine.sweep import REFERENCE, ForwardRun, ReadRequest, Sweep
from bitlens.engine.swept_model import Reference, SweptModel
from bitlens.errors import BitlensError, failed
from bitlens.models.layout import Layout
from bitlens.results.files.writing import write
from bitlens.results.records import Check

POSITIONS = 8_192
"""Positions read, about: both twins are read on the same."""
FIRST = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
CLOSER = (-0.1, 0.0, 0.1)
"""Sparsities tried in later rounds: the interpolated one, and a tenth of the gap either side."""
TOLERANCE = 0.01
"""Relative difference at which the search ends."""
ROUNDS = 6
FOUND = "found.json"
"""Where a sparsity that was found is kept."""


@dataclass(frozen=True)
class Harm:
    """What a twin does to the reference's predictions."""

    kl: float
    """Mean KL(reference ‖ twin), nats."""
    loss: float
    """Mean negative log-probability of the next token, nats."""

    def on(self, what: str, reference: float) -> float:
        """As it grows from 0: of perplexity, the logarithm of its ratio to the reference's."""
        harm = self.kl if what == "kl" else self.loss - reference
        return harm if math.isfinite(harm) else math.inf


def matched(
    prune: Prune,
    twin: Twin,
    make: Callable[[Sequence[Prune]], Sequence[Twin]],
    layout: Layout,
    corpus: Corpus,
    batch_tokens: int,
    hidden_bytes: int,
    seed: int,
) -> tuple[Prune, Check]:
    """The same pruning at the sparsity whose harm is `twin`'s, and whether it comes close enough.

    `make` makes the twins of prunings whose sparsity is known.
    """
    measure = _Measure(layout, corpus, batch_tokens, hidden_bytes, seed)
    target, reference = measure({"twin": twin})
    wanted = target["twin"].on(prune.on, reference)
    if not math.isfinite(wanted):
        raise BitlensError(
            "What the twin to be matched predicts is no longer finite.",
            "a twin to match whose predictions are finite numbers.",
            "match=[...] with more bits, or prune:sparsity=0.5 without matching.",
        )
    tried: dict[float, float] = {0.0: 0.0, 1.0: math.inf}
    best = 0.0
    for _ in range(ROUNDS):
        between = _closer(tried, wanted) if len(tried) > 2 else list(FIRST)
        twins = make([replace(prune, match=None, sparsity=s) for s in between])
        harms, _ = measure({f"{s}": one for s, one in zip(between, twins, strict=True)})
        tried |= {s: harms[f"{s}"].on(prune.on, reference) for s in between}
        best = min(tried, key=lambda s: abs(tried[s] - wanted))
        if abs(tried[best] - wanted) <= TOLERANCE * abs(wanted):
            break
    if not 0 < best < 1:
        raise BitlensError(
            f"No sparsity above {min(s for s in tried if s):.2g} does as little harm as the twin "
            f"to be matched ({prune.on}: {wanted:.3g}).",
            "a twin that does some harm.",
            "prune:sparsity=0.1, or match=[...] with fewer bits.",
        )
    apart = abs(tried[best] / wanted - 1)
    words = {"kl": "mean KL", "perplexity": "log perplexity ratio"}[prune.on]
    detail = (
        f"sparsity {best:.4f}: {words} {tried[best]:.4g} against {wanted:.4g} nats, "
        f"{apart:.1%} apart, on {measure.positions:,} positions"
    )
    text = format_spec(prune)
    check = Check(f"{text}: matched", apart <= TOLERANCE, detail, twins=(text,))
    return replace(prune, match=None, sparsity=best), check


def remember(folder: Path, made_by: Mapping[str, Any], pruning: Prune, check: Check) -> None:
    """Keep what was found, with everything that it depends on."""
    found = {**made_by, "sparsity": pruning.sparsity, "check": asdict(check)}
    text = json.dumps(found, indent=1, sort_keys=True, allow_nan=False)
    write(folder / FOUND, f"{text}\n".encode())


def recall(folder: Path, prune: Prune) -> tuple[Prune, Check] | None:
    """What was found before; None where nothing was, or where it cannot be read."""
    try:
        found = json.loads((folder / FOUND).read_text(encoding="utf-8"))
        pruning = replace(prune, match=None, sparsity=found["sparsity"])
        return pruning, Check(**found["check"])
    except (OSError, ValueError, KeyError, TypeError, BitlensError):
        return None


def _closer(tried: Mapping[float, float], wanted: float) -> list[float]:
    """Where to look next: in the gap between neighbours whose harms hold the wanted one, the
    sparsest such."""
    gaps = [
        (low, high) for low, high in pairwise(sorted(tried)) if tried[low] <= wanted < tried[high]
    ]
    low, high = gaps[-1] if gaps else (0.0, min(s for s in tried if s))
    place = 0.5
    if tried[low] > 0 and math.isfinite(tried[high]):
        place = math.log(wanted / tried[low]) / math.log(tried[high] / tried[low])
    places = {min(max(place + aside, 0.02), 0.98) for aside in CLOSER}
    return [round(low + (high - low) * place, 6) for place in sorted(places)]


class _Measure:
    """KL and loss of twins over one sample of documents."""

    def __init__(
        self, layout: Layout, corpus: Corpus, batch_tokens: int, hidden_bytes: int, seed: int
    ) -> None:
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
        """By name, and the reference's own loss."""
        everyone: dict[str, SweptModel] = {REFERENCE: Reference(self._layout), **twins}
        streams = [ForwardRun(name, name) for name in everyone]
        wishes = [ReadRequest(name, frozenset({"logits"}), CORPUS) for name in everyone]
        sweep = Sweep(self._layout, everyone, streams, wishes, self._batches, self._hidden_bytes)
        kl = dict.fromkeys(twins, 0.0)
        loss = dict.fromkeys(everyone, 0.0)
        for wave in sweep.waves:
            for step in sweep.run(wave):
                if step.depth < self._layout.depth:
                    continue
                target = step.batch.target[step.index, None]
                before = torch.log_softmax(step.activations[REFERENCE]["logits"], -1)
                loss[REFERENCE] -= float(before.gather(1, target).double().sum())
                chance = before.exp()
                for name in twins:
                    if name not in step.activations:
                        raise failed(name, sweep.failed.get(name, "it is no longer finite."))
                    after = torch.log_softmax(step.activations[name]["logits"], -1)
                    loss[name] -= float(after.gather(1, target).double().sum())
                    kl[name] += float(torch.linalg.vecdot(chance, before - after).double().sum())
        n = self.positions
        return {name: Harm(kl[name] / n, loss[name] / n) for name in twins}, loss[REFERENCE] / n
