"""The numbers of a difference: how large it is, what explains how much of it and how few positions
hold it, beside noise and random directions, with intervals over documents."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from bitlens.engine.plan import DocumentSet
from bitlens.results.diff.file import NOISE, RANDOM, TWIN
from bitlens.results.records import Estimate
from bitlens.results.stats.intervals import LEVEL
from bitlens.results.steering.response import estimate
from bitlens.workflows.diff.dictionaries import Whose
from bitlens.workflows.diff.places import CURVE, SHARES, concentration

WAYS = ("mean", "linear", "linear_k", "directions", "dictionary")
"""What explains a difference, by its name in `errors`."""
NOTHING = "the twin changes nothing here"


@dataclass(frozen=True, eq=False, kw_only=True)
class DifferenceSums:
    """Squared errors of one difference, and the documents they are averaged over."""

    errors: Mapping[str, np.ndarray]
    """`[n]` each, as `explained.errors` gives them."""
    total: np.ndarray
    """`[shards, width]`: the difference itself, summed."""
    shard: np.ndarray
    """`[n]`."""
    documents: DocumentSet

    @property
    def weights(self) -> np.ndarray:
        """`[replicates + 1, shards]`."""
        return self.documents.weights

    def summed(self, name: str) -> np.ndarray:
        """`[replicates + 1]`: an error under every replicate's weights."""
        by_shard = np.bincount(self.shard, self.errors[name], minlength=self.documents.base)
        return np.asarray(self.weights @ by_shard)

    def explained(self, way: str) -> np.ndarray:
        """`[replicates + 1]`: the share of the difference's square that is not left."""
        return np.asarray(1 - self.summed(way) / self.summed("whole"))

    @property
    def fvu(self) -> np.ndarray:
        """`[replicates + 1]`: what the dictionary leaves of the variance around the mean of these
        documents."""
        n = self.weights @ np.bincount(self.shard, minlength=self.documents.base)
        mean_square = np.square(self.weights @ self.total).sum(axis=1) / n
        return np.asarray(self.summed("dictionary") / (self.summed("whole") - mean_square))

    def spread(self, shares: Any = SHARES) -> np.ndarray:
        """`[replicates + 1, shares]`: what share of the square is at the largest differences."""
        return concentration(self.errors["whole"], self.shard, self.weights, shares)


def sums_of(
    errors: Mapping[str, Tensor], difference: Tensor, shard: np.ndarray, documents: DocumentSet
) -> DifferenceSums:
    """Of a difference `[n, width]` on the held-out positions."""
    total = difference.new_zeros(documents.base, difference.shape[1]).double()
    total.index_add_(0, documents.shard.new_tensor(shard), difference.double())
    return DifferenceSums(
        errors={name: values.cpu().numpy() for name, values in errors.items()},
        total=total.cpu().numpy(),
        shard=shard,
        documents=documents,
    )


def numbers(sums: Mapping[Whose, DifferenceSums], claims: int) -> Iterator[dict[str, Any]]:
    """Every number of every difference, and what a twin's have more than those of noise and of
    random directions: with intervals that are as much wider as there are claims (Bonferroni)."""
    level = 1 - (1 - LEVEL) / max(1, claims)
    for whose, of in sums.items():
        place, twin, who = whose
        n = of.documents.documents
        for name, values in _levels(of, who).items():
            yield row(whose, name, estimate(values, n))
        if who != TWIN:
            continue
        for other in (NOISE, RANDOM):
            beside = sums.get((place, twin, other))
            if beside is None:
                continue
            for name, values in _contrasts(of, beside, other).items():
                yield row(whose, name, estimate(values, n, level=level))


def unmoved(whose: Whose) -> dict[str, Any]:
    """In the place of the numbers of a difference that is nought."""
    nothing = Estimate(value=None, low=None, high=None, documents=0, reason=NOTHING)
    return row(whose, "explained_dictionary", nothing)


def curves(sums: Mapping[Whose, DifferenceSums]) -> Iterator[dict[str, Any]]:
    """How a difference heaps up, for the page; that of random directions is the twin's own."""
    for (place, twin, of), own in sums.items():
        if of == RANDOM:
            continue
        for positions, share in zip(CURVE, own.spread(CURVE)[0], strict=True):
            yield {
                "site": place,
                "twin": twin,
                "of": of,
                "positions": float(positions),
                "share": min(1.0, float(share)),
            }


def row(whose: Whose, metric: str, found: Estimate) -> dict[str, Any]:
    """A number as it is written down."""
    site, twin, of = whose
    return {
        "site": site,
        "twin": twin,
        "of": of,
        "metric": metric,
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "documents": found.documents,
        "reason": found.reason,
    }


def _levels(of: DifferenceSums, who: str) -> dict[str, np.ndarray]:
    found = {f"explained_{way}": of.explained(way) for way in WAYS}
    found["fvu"] = of.fvu
    if who != RANDOM:
        found["size"] = of.summed("whole") / of.summed("activation")
        spread = of.spread()
        found |= {f"top_{share:g}": spread[:, n] for n, share in enumerate(SHARES)}
    return found


def _contrasts(own: DifferenceSums, beside: DifferenceSums, other: str) -> dict[str, np.ndarray]:
    found = {
        f"{way}_less_{other}": own.explained(way) - beside.explained(way)
        for way in ("linear", "directions", "dictionary")
    }
    if other == NOISE:
        found["top_0.01_less_noise"] = own.spread((0.01,))[:, 0] - beside.spread((0.01,))[:, 0]
    return found
