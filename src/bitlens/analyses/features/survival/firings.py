"""Firings compared: whether latents fire at the same positions in both models."""

import numpy as np

from bitlens.analyses.features.survival.sums import BOTH, Sums
from bitlens.results.records import MetricResult
from bitlens.results.stats.firings import active


def firings(sums: Sums, features: np.ndarray, only: np.ndarray) -> list[MetricResult]:
    """Which firings are gone, which are new, and which features?"""
    label = sums.label
    a, b, both = (
        sums(name, features).sum(axis=1) for name in ("fired_reference", "fired_twin", "both")
    )
    seen = np.concatenate([features, only])
    often = {who: active(sums(f"fired_{who}", seen), sums.count) for who in BOTH}
    new = (often["twin"] & ~often["reference"]).sum(axis=1) / often["reference"].sum(axis=1)
    found: list[MetricResult] = [
        MetricResult("lost_firings", 1 - both / a, item=label),
        MetricResult("firing_f1", 2 * both / (a + b), item=label),
        MetricResult("twin_only", new, item=label),
    ]
    if not np.all(b > 0):
        reason = "the features never fire in the twin"
        return [*found, MetricResult("new_firings", None, item=label, reason=reason)]
    return [*found, MetricResult("new_firings", 1 - both / b, item=label)]


def kappa(sums: Sums, alive: np.ndarray) -> MetricResult:
    """How far do latents agree on firing beyond what their rates give? Over positions and the
    latents that ever fire (Cohen 1960)."""
    if not len(alive):
        return MetricResult("firing_kappa", None, item=sums.label, reason="no latent fires")
    fired = ("fired_reference", "fired_twin", "both")
    a, b, both = (sums(name, alive) / sums.count for name in fired)
    observed = (1 - a - b + 2 * both).mean(axis=1)
    expected = (a * b + (1 - a) * (1 - b)).mean(axis=1)
    if not np.all(expected < 1):
        return MetricResult(
            "firing_kappa", None, item=sums.label, reason="every latent fires always"
        )
    return MetricResult("firing_kappa", (observed - expected) / (1 - expected), item=sums.label)
