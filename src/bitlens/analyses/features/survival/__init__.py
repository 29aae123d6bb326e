"""The survival of an SAE's features, from sums of its codes in two models; it needs no model."""

from bitlens.analyses.features.survival.correlations import Agreement, agreement
from bitlens.analyses.features.survival.findings import survival
from bitlens.analyses.features.survival.metrics import DAMAGED, METRICS, SURVIVED, THRESHOLDS
from bitlens.analyses.features.survival.parts import replicated
from bitlens.analyses.features.survival.sums import BOTH, Sums, features_of
from bitlens.analyses.features.survival.tables import PLACES, shown

__all__ = [
    "BOTH",
    "DAMAGED",
    "METRICS",
    "PLACES",
    "SURVIVED",
    "THRESHOLDS",
    "Agreement",
    "Sums",
    "agreement",
    "features_of",
    "replicated",
    "shown",
    "survival",
]
