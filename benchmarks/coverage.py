"""How often does a nominal 95 % interval hold the truth? By simulation, documents as the unit.

    python benchmarks/coverage.py            # about ten minutes on two cores

prints the share of simulated corpora whose interval held the truth, for the mean and percentiles,
and then `NEEDED` as it stands in src/bitlens/results/stats/percentiles.py: the fewest documents
from which on the interval of a percentile of KL covers at least 93 % in every population, at every
length.
The figures, and what was seen on a real model, are in benchmarks/coverage.md.
"""

import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import ClassVar, get_args

import numpy as np
from scipy.optimize import brentq
from scipy.signal import lfilter
from scipy.special import ndtr

from bitlens.results.records import Metric, Value
from bitlens.results.stats.intervals import interval
from bitlens.results.stats.percentiles import Method
from bitlens.results.stats.replicates import DRAWN, SHARDS, bootstrap, leave_one_out
from bitlens.seeds import generator

DOCUMENTS = (10, 20, 50, 100, 200, 400, 1000)
TOKENS = (64, 512)
QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)
REPETITIONS: dict[Method, int] = {"jackknife": 2000, "bootstrap": 500}
DRAWS = 300
REQUIRED = 0.93
EDGES = np.linspace(-6, 10, 1025)
"""Of the histogram of standardised ln KL from which all replicates of a percentile are read."""

KL = Metric("kl", "", unit="nats", worse="higher", intact=0.0, scale="log")
CHANGE = Metric("change", "", unit="probability", worse=None, intact=0.0, scale="linear")


@dataclass(frozen=True)
class Population:
    """Log-normal KLs of tokens, alike within a document; in unusual ones some are far larger."""

    within: float
    """Standard deviation of ln KL within a document, normal."""
    between: float
    """Standard deviation of the documents' own shift of ln KL, normal."""
    autocorrelation: float
    """From one token to the next."""
    unusual: float = 0.0
    """Share of documents with tokens the model hardly knows: one in `EVERY`, KL e^`SHIFT` times."""

    EVERY: ClassVar[float] = 10
    SHIFT: ClassVar[float] = 3.0

    @property
    def deviation(self) -> float:
        """Of one token's ln KL, within documents and between them."""
        return float(np.hypot(self.within, self.between))

    @property
    def shifted(self) -> float:
        """Share of all tokens."""
        return self.unusual / self.EVERY

    def draw(self, rng: np.random.Generator, documents: int, tokens: int) -> np.ndarray:
        """ln KL `[documents, tokens]`."""
        innovation = np.sqrt(1 - self.autocorrelation**2)
        noise = rng.standard_normal((documents, tokens))
        noise[:, 0] /= innovation
        within = lfilter([innovation], [1, -self.autocorrelation], noise, axis=1)
        between = self.between * rng.standard_normal((documents, 1))
        scores: np.ndarray = self.within * within + between
        for document in np.flatnonzero(rng.random(documents) < self.unusual):
            scores[document] += self.SHIFT * (rng.random(tokens) < 1 / self.EVERY)
        return scores

    def mean(self) -> float:
        """Of KL."""
        return float(np.exp(self.deviation**2 / 2) * (1 + self.shifted * (np.exp(self.SHIFT) - 1)))

    def quantile(self, q: float) -> float:
        """Of ln KL."""

        def below(x: float) -> float:
            usual, unusual = ndtr(x / self.deviation), ndtr((x - self.SHIFT) / self.deviation)
            return float((1 - self.shifted) * usual + self.shifted * unusual - q)

        return float(brentq(below, -100, 100, xtol=1e-12))


POPULATIONS = (
    Population(within=2.0, between=0.5, autocorrelation=0.5),
    Population(within=2.0, between=1.0, autocorrelation=0.5),
    Population(within=1.0, between=0.25, autocorrelation=0.1, unusual=0.05),
)


def quantile(cumulated: np.ndarray, q: float) -> np.ndarray:
    """`[n]` quantiles of `[n, edges]` cumulated histograms, linear within a bin."""
    target = q * cumulated[:, -1]
    last = (cumulated < target[:, None]).sum(axis=1) - 1
    below, above = (cumulated[np.arange(len(last)), last + i] for i in (0, 1))
    edge: np.ndarray = EDGES[last] + (target - below) / (above - below) * (EDGES[1] - EDGES[0])
    return edge


def covered(
    method: Method, documents: int, tokens: int, population: Population
) -> dict[str, float]:
    """The share of simulated corpora whose interval holds the truth, by metric.

    `kl` is a percentile of KL; `change`, the cube of a standardised ln KL, is signed and
    heavy-tailed on both sides like a change of probability, with intervals on the linear scale.
    """
    rng = generator(0, "coverage", method, documents, tokens, population)
    deviation = population.deviation
    shards = min(SHARDS if method == "jackknife" else DRAWN, documents)
    shard = np.arange(documents) % shards
    occupied = np.ones(shards, dtype=bool)
    bins = len(EDGES) - 1
    truths = {q: population.quantile(q) / deviation for q in QUANTILES}
    held: dict[str, int] = {}
    for repetition in range(REPETITIONS[method]):
        log_kl = population.draw(rng, documents, tokens)
        place = (log_kl / deviation - EDGES[0]) / (EDGES[1] - EDGES[0])
        place = np.clip(place.astype(np.int64), 0, bins - 1)
        counts = np.bincount((shard[:, None] * bins + place).ravel(), minlength=shards * bins)
        by_shard = np.pad(counts.reshape(shards, bins).cumsum(axis=1), ((0, 0), (1, 0)))
        sums = np.bincount(shard, np.exp(log_kl).sum(axis=1))
        weights = (
            leave_one_out(occupied)
            if method == "jackknife"
            else bootstrap(occupied, DRAWS, repetition)
        )
        mean = weights @ sums / (weights @ by_shard[:, -1])
        cumulated = weights @ by_shard
        found = {"mean": (KL, mean, population.mean())}
        for q, truth in truths.items():
            z = quantile(cumulated, q)
            found[f"kl {q}"] = (KL, np.exp(deviation * z), np.exp(deviation * truth))
            found[f"change {q}"] = (CHANGE, z**3, truth**3)
        for name, (metric, numbers, truth) in found.items():
            value = Value(
                metric="",
                site="",
                item="",
                value=numbers[0],
                replicates=tuple(numbers[1:]),
                documents=documents,
            )
            estimate = interval(value, metric, method)
            assert estimate.low is not None
            assert estimate.high is not None
            held[name] = held.get(name, 0) + (estimate.low <= truth <= estimate.high)
    return {name: count / REPETITIONS[method] for name, count in held.items()}


def fewest(least: dict[int, dict[str, float]]) -> dict[float, int | None]:
    """From how many documents on is the coverage of each percentile of KL as required?

    None: not even at the most simulated. A percentile further out needs no fewer documents.
    """
    needed: dict[float, int | None] = {}
    for place, q in enumerate(QUANTILES):
        nearer = [f"kl {other}" for other in QUANTILES[: place + 1]]
        needed[q] = None
        for documents in sorted(least, reverse=True):
            if min(least[documents][name] for name in nearer) < REQUIRED:
                break
            needed[q] = documents
    return needed


def main() -> None:
    """The table of coverage, and the fewest documents of every quantile."""
    began = time.perf_counter()
    names = ["mean", *(f"{kind} {q}" for kind in ("kl", "change") for q in QUANTILES)]
    methods: tuple[Method, ...] = get_args(Method)
    print(f"coverage in %, the least over {len(POPULATIONS)} populations and {TOKENS} tokens")
    print(f"{'method':<10}{'documents':>10}", *(f"{name:>12}" for name in names))
    needed = {}
    with ProcessPoolExecutor() as pool:
        for method in methods:
            least = {}
            for documents in DOCUMENTS:
                corpora = [(method, documents, *case) for case in product(TOKENS, POPULATIONS)]
                shares = list(pool.map(covered, *zip(*corpora, strict=True)))
                least[documents] = {name: min(share[name] for share in shares) for name in names}
                row = (f"{100 * least[documents][name]:>12.1f}" for name in names)
                seconds = f"  {time.perf_counter() - began:.0f} s"
                print(f"{method:<10}{documents:>10}", *row, seconds, flush=True)
            needed[method] = fewest(least)
    print("NEEDED =", needed)


if __name__ == "__main__":
    main()
