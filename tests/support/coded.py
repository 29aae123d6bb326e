"""Codes as they are to be, in two models, and what the analysis of features finds of them."""

from dataclasses import replace

import numpy as np
import torch
from sklearn.metrics import confusion_matrix
from torch import Tensor

from bitlens.analyses.features.analysis import Features
from bitlens.engine.accumulators import Accumulator
from bitlens.engine.activations import ActivationPair, Activations, Positions
from bitlens.results.records import DetailTable, MetricResult
from bitlens.results.stats.replicates import leave_one_out
from bitlens.sae.placed_sae import PlacedSae
from bitlens.sae.sae import Sae
from tests.support import tiny
from tests.support.by_hand import NOTHING

LABEL = "identity"
Numbers = dict[str, np.ndarray | None]


def identity(latents: int) -> PlacedSae:
    """An SAE whose latents are the dimensions, where positive; so codes can be written down."""
    eye = torch.eye(latents)
    sae = Sae(
        label=LABEL,
        hook="resid.0",
        architecture="standard",
        w_enc=eye,
        b_enc=torch.zeros(latents),
        w_dec=eye,
        b_dec=torch.zeros(latents),
    )
    return tiny.placed(sae, "resid.0", mean_code=torch.zeros(latents))


def pair(reference: Tensor, twin: Tensor, shard: Tensor | None = None) -> ActivationPair:
    """Codes as they are to be, a document a shard, in the order of their keys."""
    place = torch.arange(len(reference))
    shards = place // 5 if shard is None else shard
    at = Positions(
        document=shards,
        shard=shards,
        shards=int(shards.max()) + 1,
        offset=place,
        target=place,
        key=place,
        token=100 + place,
        length=place + 1,
    )
    both = (Activations(torch.as_tensor(v, dtype=torch.float32)) for v in (reference, twin))
    of_reference, of_twin = both
    return ActivationPair(
        site="resid.0",
        item="cumulative",
        reference=of_reference,
        twin=of_twin,
        positions=at,
        threshold=lambda size: size,
    )


def findings(placed: PlacedSae, *parts: ActivationPair) -> list[MetricResult | DetailTable]:
    analysis = Features((placed,))
    whole = Accumulator()
    for part in parts:
        whole.add(analysis.update(part))
    shards = torch.cat([p.positions.shard for p in parts])
    weights = leave_one_out(np.bincount(shards, minlength=parts[0].positions.shards) > 0)
    return analysis.compute(whole.under(weights), NOTHING, NOTHING)


def numbers(found: list[MetricResult | DetailTable]) -> Numbers:
    return {
        " ".join([o.metric, *o.item.split(", ")[1:]]): o.values
        for o in found
        if isinstance(o, MetricResult)
    }


def table(found: list[MetricResult | DetailTable], name: str = "features") -> dict[str, np.ndarray]:
    (one,) = (o for o in found if isinstance(o, DetailTable) and o.name == name)
    return {column: np.asarray(values) for column, values in one.columns.items()}


def codes(n: int, latents: int, seed: int, rate: float = 0.4) -> Tensor:
    """Sparse positive codes; negative where nothing fires."""
    draw = torch.Generator().manual_seed(seed)
    fires = torch.rand(n, latents, generator=draw) < rate
    return torch.where(fires, torch.rand(n, latents, generator=draw) * 3 + 0.1, -0.5)


def activations(given: ActivationPair) -> tuple[Activations, Activations]:
    return given.reference, given.twin


def part(whole: ActivationPair, rows: slice) -> ActivationPair:
    at = whole.positions
    names = ("document", "shard", "offset", "target", "key", "token", "length")
    some = {name: getattr(at, name)[rows] for name in names}
    return replace(
        whole,
        reference=Activations(whole.reference.values[rows]),
        twin=Activations(whole.twin.values[rows]),
        positions=Positions(shards=at.shards, **some),
    )


def kappa(f: np.ndarray, g: np.ndarray) -> float:
    """Cohen's kappa of many latents together, each expected to agree by its own rates."""
    tables = [
        confusion_matrix(a, b, labels=[False, True]) / len(a) for a, b in zip(f.T, g.T, strict=True)
    ]
    observed = np.mean([np.trace(t) for t in tables])
    expected = np.mean([t.sum(axis=0) @ t.sum(axis=1) for t in tables])
    return float((observed - expected) / (1 - expected))
