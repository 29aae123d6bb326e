"""What became of an SAE's features? From sums of its codes in two models; no model is needed."""

from bitlens.analyses.survival.correlations import Agreement, agreement
from bitlens.analyses.survival.findings import survival
from bitlens.analyses.survival.metrics import DAMAGED, METRICS, SURVIVED, THRESHOLDS
from bitlens.analyses.survival.parts import replicated
from bitlens.analyses.survival.sums import BOTH, Sums, features_of
from bitlens.analyses.survival.tables import PLACES, shown

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
