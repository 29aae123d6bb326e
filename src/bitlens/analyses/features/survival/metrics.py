"""The metrics of a feature's survival, with the thresholds that part survived from damaged."""

from typing import Any

from bitlens.results.records import Metric, Scale

SURVIVED, DAMAGED = 0.9, 0.5
"""Correlations that part survived, degraded and damaged features, as in the paper."""
THRESHOLDS = (10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99)
"""Per cent of correlation at which the curve of survival is read."""

_PAPER = "Duan 2026, arXiv 2606.03002"
_SWITZER = "as reconstructed from an earlier tool, which names it without a formula"
_ALIKE: Scale = "atanh"


def _share(
    name: str, question: str, worse: Any = "higher", intact: float = 0.0, **more: Any
) -> Metric:
    return Metric(
        name,
        question=question,
        unit="share",
        worse=worse,
        intact=intact,
        **{"scale": "logit", **more},
    )


METRICS = (
    Metric(
        "fvu",
        "How much of the activations' variance does the SAE leave unexplained?",
        unit="share",
        worse="higher",
        intact=None,
        level=True,
        source="fraction of variance unexplained",
    ),
    Metric(
        "fvu_ratio",
        "How many times as much variance does the SAE leave unexplained in the twin?",
        unit="",
        worse="higher",
        intact=1.0,
        scale="log",
    ),
    Metric(
        "l0",
        "How many latents fire at a position?",
        unit="latents",
        worse=None,
        intact=None,
        level=True,
    ),
    Metric(
        "alive",
        "How many latents fired at all?",
        unit="latents",
        worse=None,
        intact=None,
        level=True,
        interval=False,
    ),
    Metric(
        "active",
        "How many latents fire on more than 0.1 % of positions in the reference, and ten times at "
        "least? These are the features.",
        unit="latents",
        worse=None,
        intact=None,
        level=True,
        interval=False,
        source=_PAPER,
    ),
    _share(
        "survived",
        "What share of the features have a correlation above 0.9 between the two models?",
        "lower",
        1.0,
        source=_PAPER,
    ),
    _share("degraded", "What share have one from 0.5 to 0.9?", source=_PAPER),
    _share("damaged", "What share have one below 0.5?", source=_PAPER),
    *(
        _share(
            f"kept_{t}",
            f"What share of the features have a correlation above {t / 100:g}?",
            "lower",
            1.0,
        )
        for t in THRESHOLDS
    ),
    _share(
        "surely_survived",
        "What share have an interval of their correlation that is all above 0.9?",
        "lower",
        1.0,
        interval=False,
    ),
    _share("surely_lost", "What share have one that is all below 0.9?", interval=False),
    _share("undecided", "What share have one that holds 0.9?", None, interval=False),
    Metric(
        "r",
        "How well do a feature's activations in the two models go together over positions? Median "
        "Pearson correlation of the features.",
        unit="",
        worse="lower",
        intact=1.0,
        scale=_ALIKE,
        source=_PAPER,
    ),
    Metric(
        "gain",
        "How strong is a feature in the twin beside the reference? Median slope; correlation does "
        "not see it.",
        unit="",
        worse=None,
        intact=1.0,
    ),
    Metric(
        "concordance",
        "And if strength and offset count too? Median concordance correlation.",
        unit="",
        worse="lower",
        intact=1.0,
        scale=_ALIKE,
        source="Lin 1989",
    ),
    _share("lost_firings", "What share of the features' firings are gone in the twin?"),
    _share("new_firings", "What share of their firings in the twin are new?"),
    Metric(
        "firing_f1",
        "Do features fire at the same positions? F1 of the firings of both.",
        unit="",
        worse="lower",
        intact=1.0,
        scale="logit",
    ),
    Metric(
        "firing_kappa",
        "Do latents that ever fire agree on when, beyond what their rates give? Cohen's kappa.",
        unit="",
        worse="lower",
        intact=1.0,
        scale=_ALIKE,
        source="Cohen 1960",
    ),
    _share(
        "twin_only",
        "How many latents are features in the twin only, beside the features of the reference?",
        scale="linear",
    ),
    Metric(
        "sample_correlation",
        "Are the two codes of a position alike? Mean correlation over latents, which the mean "
        "code alone makes high.",
        unit="",
        worse="lower",
        intact=1.0,
        scale=_ALIKE,
        source=_SWITZER,
    ),
    Metric(
        "sample_correlation_alive",
        "The same, after each latent's mean is taken off: dead latents and the mean code no "
        "longer count.",
        unit="",
        worse="lower",
        intact=1.0,
        scale=_ALIKE,
    ),
    Metric(
        "feature_correlation",
        "Are a feature's activations alike? Mean Pearson correlation of the features.",
        unit="",
        worse="lower",
        intact=1.0,
        scale=_ALIKE,
        source=_SWITZER,
    ),
    _share(
        "top10_agreement",
        "How many of a position's ten most active latents are among the twin's ten?",
        "lower",
        1.0,
        source=_SWITZER,
    ),
    _share(
        "firing_agreement",
        "How often do latents agree on firing or not? Dead latents agree always, so this is high "
        "by construction; chance: what the two rates of each latent alone would give.",
        "lower",
        1.0,
        source=_SWITZER,
    ),
    _share(
        "top20_token_sets",
        "Of the 20 features of largest mean, how many keep 0.8 of the tokens of their ten top "
        "positions?",
        "lower",
        1.0,
        interval=False,
        source="does-quantization-kill-interpretability",
    ),
)
