"""Measures of whole codes: what they leave unexplained, and how alike they are by position."""

import numpy as np

from bitlens.analyses.features.survival.sums import BOTH, Sums
from bitlens.results.records import MetricResult

SEED_FEATURES, SEED_OVERLAP = 20, 0.8
"""An earlier tool's: so many features of largest mean, and the share of tokens they must keep."""


def levels(sums: Sums, features: int) -> list[MetricResult]:
    """How many latents fire, and how much of each model do they leave unexplained?"""
    label, fvu = sums.label, {who: _fvu(sums, who) for who in BOTH}
    found: list[MetricResult] = [
        MetricResult("alive", np.array([float((sums.rates["reference"] > 0).sum())]), item=label),
        MetricResult("active", np.array([float(features)]), item=label),
    ]
    for who, values in fvu.items():
        found.append(_outcome("fvu", values, f"{label}, {who}"))
        fired = sums(f"fired_{who}").sum(axis=1) / sums.count[:, 0]
        found.append(MetricResult("l0", fired, item=f"{label}, {who}"))
    reference, twin = fvu.values()
    if reference is None or twin is None or not np.all(reference > 0):
        reason = "the SAE leaves nothing of the reference unexplained"
        return [*found, MetricResult("fvu_ratio", None, item=label, reason=reason)]
    # A dictionary that has nothing to do with the twin explains none of it.
    return [
        *found,
        MetricResult("fvu_ratio", twin / reference, item=label, chance=1 / float(reference[0])),
    ]


def _outcome(metric: str, values: np.ndarray | None, item: str) -> MetricResult:
    if values is None:
        return MetricResult(metric, None, item=item, reason="the activations do not vary")
    return MetricResult(metric, values, item=item)


def _fvu(sums: Sums, who: str) -> np.ndarray | None:
    """1 minus the explained variance: energy of the error over that of the centred activations."""
    mean = (sums(f"vector_{who}") ** 2).sum(axis=1) / sums.count[:, 0]
    variance = sums(f"energy_{who}") - mean
    return sums(f"error_{who}") / variance if np.all(variance > 0) else None


def codes(sums: Sums) -> list[MetricResult]:
    """How alike are the two codes of a position?"""
    label, n = sums.label, sums.count[:, 0]
    plain = [
        MetricResult(name, sums(name) / n, item=label)
        for name in ("sample_correlation", "sample_correlation_alive")
    ]
    some = sums("some")
    fired = [sums(f"fired_{who}").sum(axis=1) for who in BOTH]
    apart = fired[0] + fired[1] - 2 * sums("both").sum(axis=1)
    a, b = sums.rates.values()
    # Two patterns that know nothing of each other, each latent with its own two rates.
    chance = float((a * b + (1 - a) * (1 - b)).mean())
    firing = MetricResult(
        "firing_agreement", 1 - apart / (n * sums.latents), item=label, chance=chance
    )
    if not np.all(some > 0):
        reason = "no latent fires in the reference"
        return [*plain, firing, MetricResult("top10_agreement", None, item=label, reason=reason)]
    return [*plain, firing, MetricResult("top10_agreement", sums("top10") / some, item=label)]


def token_sets(sums: Sums) -> MetricResult:
    """An earlier tool's survival: do the most active features keep the tokens of their tops?"""
    mean = sums.value("sum_reference")
    features = np.argsort(-mean, kind="stable")[:SEED_FEATURES]
    features = features[mean[features] > 0]
    if not len(features):
        return MetricResult("top20_token_sets", None, item=sums.label, reason="no latent fires")
    tokens = [sums.top(who)[1]["token"][features] for who in BOTH]
    kept = []
    for mine, theirs in zip(*tokens, strict=True):
        own = set(mine[mine >= 0].tolist())
        kept.append(len(own & set(theirs.tolist())) / len(own) >= SEED_OVERLAP)
    return MetricResult("top20_token_sets", np.array([np.mean(kept)]), item=sums.label)
