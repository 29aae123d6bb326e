"""From the sums of an SAE's codes in two models to what became of its features."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bitlens.analyses.analysis import Findings, Outcome, Shown
from bitlens.records import Metric, Scale
from bitlens.stats.replicates import bounds
from bitlens.tally import Totals

ACTIVE = 0.001
"""Share of positions on which a latent fires to count as a feature, as in the paper."""
SURVIVED, DAMAGED = 0.9, 0.5
"""Correlations that part survived, degraded and damaged features, as in the paper."""
THRESHOLDS = (10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99)
"""Per cent of correlation at which the curve of survival is read."""
SEED_FEATURES, SEED_OVERLAP = 20, 0.8
"""An earlier tool's: so many features of largest mean, and the share of tokens they must keep."""

PLACES = "places"
"""The table of where shown features fire most, from which their contexts are made."""
MOST_DAMAGED, ACROSS, TWIN_ONLY = 10, 10, 4
"""How many features of each kind are shown."""

_BOTH = ("reference", "twin")
_SURE = ("surely_survived", "surely_lost", "undecided")
_PAPER = "Duan 2026, arXiv 2606.03002"
_SWITZER = "as reconstructed from an earlier tool, which names it without a formula"
_ALIKE: Scale = "atanh"


def _share(
    name: str, question: str, worse: Any = "higher", intact: float = 0.0, **more: Any
) -> Metric:
    return Metric(name, question, "share", worse, intact, **{"scale": "logit", **more})


METRICS = (
    Metric(
        "fvu",
        "How much of the activations' variance does the SAE leave unexplained?",
        "share",
        "higher",
        None,
        level=True,
        source="fraction of variance unexplained",
    ),
    Metric(
        "fvu_ratio",
        "How many times as much variance does the SAE leave unexplained in the twin?",
        "",
        "higher",
        1.0,
        "log",
    ),
    Metric("l0", "How many latents fire at a position?", "latents", None, None, level=True),
    Metric(
        "alive", "How many latents fired at all?", "latents", None, None, level=True, interval=False
    ),
    Metric(
        "active",
        "How many latents fire on more than 0.1 % of positions in the reference? These are the "
        "features.",
        "latents",
        None,
        None,
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
        "",
        "lower",
        1.0,
        _ALIKE,
        source=_PAPER,
    ),
    Metric(
        "gain",
        "How strong is a feature in the twin beside the reference? Median slope; correlation does "
        "not see it.",
        "",
        None,
        1.0,
    ),
    Metric(
        "concordance",
        "And if strength and offset count too? Median concordance correlation.",
        "",
        "lower",
        1.0,
        _ALIKE,
        source="Lin 1989",
    ),
    _share("lost_firings", "What share of the features' firings are gone in the twin?"),
    _share("new_firings", "What share of their firings in the twin are new?"),
    Metric(
        "firing_f1",
        "Do features fire at the same positions? F1 of the firings of both.",
        "",
        "lower",
        1.0,
        "logit",
    ),
    Metric(
        "firing_kappa",
        "Do latents that ever fire agree on when, beyond what their rates give? Cohen's kappa.",
        "",
        "lower",
        1.0,
        _ALIKE,
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
        "",
        "lower",
        1.0,
        _ALIKE,
        source=_SWITZER,
    ),
    Metric(
        "sample_correlation_alive",
        "The same, after each latent's mean is taken off: dead latents and the mean code no "
        "longer count.",
        "",
        "lower",
        1.0,
        _ALIKE,
    ),
    Metric(
        "feature_correlation",
        "Are a feature's activations alike? Mean Pearson correlation of the features.",
        "",
        "lower",
        1.0,
        _ALIKE,
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


@dataclass(frozen=True, eq=False)
class Sums:
    """One SAE's complete sums, under every replicate's weights."""

    totals: Totals
    label: str
    latents: int

    def __call__(self, name: str, columns: np.ndarray | None = None) -> np.ndarray:
        return self.totals.sum(f"{self.label}/{name}", columns)

    def top(self, who: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return self.totals.top(f"{self.label}/{who}")

    def largest(self, name: str, shards: np.ndarray) -> np.ndarray:
        return self.totals.largest_of(f"{self.label}/{name}", shards)

    def under(self, weights: np.ndarray) -> "Sums":
        """The same sums under other weights of the shards."""
        return Sums(self.totals.under(weights), self.label, self.latents)

    @cached_property
    def count(self) -> np.ndarray:
        """`[replicates + 1, 1]` positions."""
        return self("count")[:, None]

    @cached_property
    def rates(self) -> dict[str, np.ndarray]:
        """`[latents]`: the share of positions on which each latent fires, by model."""
        return {who: self.value(f"fired_{who}") / self.count[0, 0] for who in _BOTH}

    def value(self, name: str) -> np.ndarray:
        """A sum over everything, without replicates."""
        return self.totals.value(f"{self.label}/{name}")


@dataclass(frozen=True, eq=False)
class Agreement:
    """How each of some latents in the twin goes with itself in the reference."""

    r: np.ndarray
    """`[replicates + 1, features]` Pearson correlation; NaN where the reference never fires."""
    gain: np.ndarray
    offset: np.ndarray
    concordance: np.ndarray


def survival(sums: Sums, site: str) -> Findings:
    """Every metric of one SAE, and the table of its features."""
    label = sums.label
    active = {who: np.flatnonzero(rate > ACTIVE) for who, rate in sums.rates.items()}
    only = np.setdiff1d(active["twin"], active["reference"])
    features = features_of(sums)
    alive = np.flatnonzero(sums.rates["reference"] + sums.rates["twin"])
    found: Findings = [
        *_levels(sums, len(features)),
        *_codes(sums),
        _kappa(sums, alive),
        _token_sets(sums),
    ]
    if len(features) < 2:
        reason = f"{len(features)} features: too few to speak of shares"
        known = {o.metric for o in found if isinstance(o, Outcome)}
        missing = [m.name for m in METRICS if m.name not in known]
        return [*found, *(Outcome(m, None, label, reason=reason) for m in missing)]
    alike = agreement(sums, features)
    low, high = _bounds(alike.r, sums.totals.weights)
    return [
        *found,
        *_shares(label, alike.r),
        *_sure(label, alike.r[0], low, high),
        *_medians(label, alike),
        *_firings(sums, features, only),
        _table(sums, site, features, only, alike, low, high),
        _places(sums, site, features, only, alike.r[0]),
    ]


def features_of(sums: Sums) -> np.ndarray:
    """Which latents are features of the reference? Those that fire often enough, and not
    everywhere with one strength: such a one goes together with nothing."""
    active = np.flatnonzero(sums.rates["reference"] > ACTIVE)
    return np.asarray(active[_varies(sums, active)])


def _varies(sums: Sums, features: np.ndarray) -> np.ndarray:
    """Which latents' activations vary over positions in the reference?"""
    total, square = (sums.value(f"{name}_reference")[features] for name in ("sum", "square"))
    return np.asarray(square * sums.count[0, 0] > total**2)


def _levels(sums: Sums, features: int) -> Findings:
    label, fvu = sums.label, {who: _fvu(sums, who) for who in _BOTH}
    found: Findings = [
        Outcome("alive", np.array([float((sums.rates["reference"] > 0).sum())]), label),
        Outcome("active", np.array([float(features)]), label),
    ]
    for who, values in fvu.items():
        found.append(_outcome("fvu", values, f"{label}, {who}"))
        fired = sums(f"fired_{who}").sum(axis=1) / sums.count[:, 0]
        found.append(Outcome("l0", fired, f"{label}, {who}"))
    reference, twin = fvu.values()
    if reference is None or twin is None or not np.all(reference > 0):
        reason = "the SAE leaves nothing of the reference unexplained"
        return [*found, Outcome("fvu_ratio", None, label, reason=reason)]
    # A dictionary that has nothing to do with the twin explains none of it.
    return [*found, Outcome("fvu_ratio", twin / reference, label, 1 / float(reference[0]))]


def _outcome(metric: str, values: np.ndarray | None, item: str) -> Outcome:
    if values is None:
        return Outcome(metric, None, item, reason="the activations do not vary")
    return Outcome(metric, values, item)


def _fvu(sums: Sums, who: str) -> np.ndarray | None:
    """1 minus the explained variance: energy of the error over that of the centred activations."""
    mean = (sums(f"vector_{who}") ** 2).sum(axis=1) / sums.count[:, 0]
    variance = sums(f"energy_{who}") - mean
    return sums(f"error_{who}") / variance if np.all(variance > 0) else None


def _codes(sums: Sums) -> Findings:
    label, n = sums.label, sums.count[:, 0]
    plain = [
        Outcome(name, sums(name) / n, label)
        for name in ("sample_correlation", "sample_correlation_alive")
    ]
    some = sums("some")
    fired = [sums(f"fired_{who}").sum(axis=1) for who in _BOTH]
    apart = fired[0] + fired[1] - 2 * sums("both").sum(axis=1)
    a, b = sums.rates.values()
    # Two patterns that know nothing of each other, each latent with its own two rates.
    chance = float((a * b + (1 - a) * (1 - b)).mean())
    agreement = Outcome("firing_agreement", 1 - apart / (n * sums.latents), label, chance)
    if not np.all(some > 0):
        reason = "no latent fires in the reference"
        return [*plain, agreement, Outcome("top10_agreement", None, label, reason=reason)]
    return [*plain, agreement, Outcome("top10_agreement", sums("top10") / some, label)]


def _kappa(sums: Sums, alive: np.ndarray) -> Outcome:
    """Agreement on firing beyond what each latent's rates give, over positions and the latents
    that ever fire."""
    if not len(alive):
        return Outcome("firing_kappa", None, sums.label, reason="no latent fires")
    fired = ("fired_reference", "fired_twin", "both")
    a, b, both = (sums(name, alive) / sums.count for name in fired)
    observed = (1 - a - b + 2 * both).mean(axis=1)
    expected = (a * b + (1 - a) * (1 - b)).mean(axis=1)
    if not np.all(expected < 1):
        return Outcome("firing_kappa", None, sums.label, reason="every latent fires always")
    return Outcome("firing_kappa", (observed - expected) / (1 - expected), sums.label)


def agreement(sums: Sums, columns: np.ndarray) -> Agreement:
    """How do some latents of both models go together? Moments to correlations, in float64 as
    they were summed."""
    n = sums.count
    mean = {who: sums(f"sum_{who}", columns) / n for who in _BOTH}
    x, y = mean.values()
    spread = {who: sums(f"square_{who}", columns) / n - mean[who] ** 2 for who in _BOTH}
    vx, vy = (v.clip(min=0) for v in spread.values())
    covariance = sums("product", columns) / n - x * y
    with np.errstate(divide="ignore", invalid="ignore"):
        r = np.where(vx > 0, np.where(vy > 0, covariance / np.sqrt(vx * vy), 0.0), np.nan)
        gain = np.where(vx > 0, covariance / vx, np.nan)
        concordance = np.where(vx > 0, 2 * covariance / (vx + vy + (x - y) ** 2), np.nan)
    return Agreement(r.clip(-1, 1), gain, y - gain * x, concordance)


def _bounds(r: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Interval of every feature's correlation on the scale of artanh, `[features]` each; NaN
    where there are no replicates, or where a feature is silent in one: what fires in the documents
    of a single shard is not known at all without them."""
    low, high = bounds(np.arctanh(r.clip(-1 + 1e-12, 1 - 1e-12)), weights)
    # What is the same in every document is the same whatever is left out.
    equal = np.nanmin(r, axis=0) >= 1 - 1e-12
    low, high = (np.where(equal & (len(r) > 2), np.inf, of) for of in (low, high))
    return np.tanh(low), np.tanh(high)


def _shares(label: str, r: np.ndarray) -> Findings:
    """Shares of features above and between thresholds, of those that fire at all."""
    known = ~np.isnan(r)
    count = known.sum(axis=1)

    def share(where: np.ndarray) -> np.ndarray:
        return np.asarray((where & known).sum(axis=1) / count)

    with np.errstate(invalid="ignore"):
        return [
            Outcome("survived", share(r > SURVIVED), label),
            Outcome("degraded", share((r >= DAMAGED) & (r <= SURVIVED)), label),
            Outcome("damaged", share(r < DAMAGED), label),
            *(Outcome(f"kept_{t}", share(r > t / 100), label) for t in THRESHOLDS),
        ]


def _sure(label: str, r: np.ndarray, low: np.ndarray, high: np.ndarray) -> Findings:
    """The share of features whose own intervals decide; no interval of its own, because leaving
    documents out changes those intervals too."""
    if np.isnan(low).all():
        reason = "no intervals of features: too few documents"
        return [Outcome(m, None, label, reason=reason) for m in _SURE]
    survived, lost = low > SURVIVED, high <= SURVIVED
    shares = (survived, lost, ~(survived | lost))
    return [
        Outcome(name, np.array([share.mean()]), label)
        for name, share in zip(_SURE, shares, strict=True)
    ]


def _medians(label: str, of: Agreement) -> Findings:
    return [
        Outcome("r", np.nanmedian(of.r, axis=1), label),
        Outcome("gain", np.nanmedian(of.gain, axis=1), label),
        Outcome("concordance", np.nanmedian(of.concordance, axis=1), label),
        Outcome("feature_correlation", np.nanmean(of.r, axis=1), label),
    ]


def _firings(sums: Sums, features: np.ndarray, only: np.ndarray) -> Findings:
    label = sums.label
    a, b, both = (
        sums(name, features).sum(axis=1) for name in ("fired_reference", "fired_twin", "both")
    )
    seen = np.concatenate([features, only])
    rate = {who: sums(f"fired_{who}", seen) / sums.count > ACTIVE for who in _BOTH}
    new = (rate["twin"] & ~rate["reference"]).sum(axis=1) / rate["reference"].sum(axis=1)
    found: Findings = [
        Outcome("lost_firings", 1 - both / a, label),
        Outcome("firing_f1", 2 * both / (a + b), label),
        Outcome("twin_only", new, label),
    ]
    if not np.all(b > 0):
        reason = "the features never fire in the twin"
        return [*found, Outcome("new_firings", None, label, reason=reason)]
    return [*found, Outcome("new_firings", 1 - both / b, label)]


def _token_sets(sums: Sums) -> Outcome:
    """An earlier tool's survival: do the most active features keep the tokens of their tops?"""
    mean = sums.value("sum_reference")
    features = np.argsort(-mean, kind="stable")[:SEED_FEATURES]
    features = features[mean[features] > 0]
    if not len(features):
        return Outcome("top20_token_sets", None, sums.label, reason="no latent fires")
    tokens = [sums.top(who)[1]["token"][features] for who in _BOTH]
    kept = []
    for mine, theirs in zip(*tokens, strict=True):
        own = set(mine[mine >= 0].tolist())
        kept.append(len(own & set(theirs.tolist())) / len(own) >= SEED_OVERLAP)
    return Outcome("top20_token_sets", np.array([np.mean(kept)]), sums.label)


def _table(
    sums: Sums,
    site: str,
    features: np.ndarray,
    only: np.ndarray,
    alike: Agreement,
    low: np.ndarray,
    high: np.ndarray,
) -> Shown:
    """One row a feature of either model."""
    latent = np.concatenate([features, only])
    fired = {who: sums.value(f"fired_{who}")[latent] for who in _BOTH}
    both = sums.value("both")[latent]
    r, n = alike.r[0], sums.count[0, 0]
    state = np.select([r > SURVIVED, r >= DAMAGED], ["survived", "degraded"], "damaged")
    sure = np.select([low > SURVIVED, high <= SURVIVED], ["survived", "lost"], "undecided")

    def known(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values, np.full(len(only), np.nan)])

    with np.errstate(divide="ignore", invalid="ignore"):
        columns = {
            "sae": [sums.label] * len(latent),
            "site": [site] * len(latent),
            "latent": latent,
            "state": np.concatenate([state, np.full(len(only), "twin only")]),
            "sure": np.concatenate([sure, np.full(len(only), "undecided")]),
            "r": known(r),
            "r_low": known(low),
            "r_high": known(high),
            "gain": known(alike.gain[0]),
            "offset": known(alike.offset[0]),
            "concordance": known(alike.concordance[0]),
            "rate_reference": fired["reference"] / n,
            "rate_twin": fired["twin"] / n,
            "lost": 1 - both / fired["reference"],
            "new": 1 - both / fired["twin"],
            "f1": 2 * both / (fired["reference"] + fired["twin"]),
            "peak_reference": sums.top("reference")[0][latent, 0],
            "peak_twin": sums.top("twin")[0][latent, 0],
            "mean_reference": sums.value("sum_reference")[latent] / n,
        }
    return Shown("features", columns)


def _places(sums: Sums, site: str, features: np.ndarray, only: np.ndarray, r: np.ndarray) -> Shown:
    """Where the features that the report shows fire most, in either model."""
    latent = shown(features, only, r, sums.rates["twin"])
    columns: dict[str, list[Any]] = {n: [] for n in ("sae", "site", "latent", "found", "position")}
    for who in _BOTH:
        values, places = sums.top(who)
        for one in latent.tolist():
            positions = places["position"][one][np.isfinite(values[one])].tolist()
            columns["position"] += positions
            columns["latent"] += [one] * len(positions)
            columns["found"] += [who] * len(positions)
    columns["sae"] = [sums.label] * len(columns["latent"])
    columns["site"] = [site] * len(columns["latent"])
    return Shown(PLACES, columns)


def shown(features: np.ndarray, only: np.ndarray, r: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """Which features are worth a reader's look? The most damaged, some from every tenth of the
    rest, and those that fire most in the twin only."""
    order = features[np.argsort(r, kind="stable")]
    damaged, rest = order[:MOST_DAMAGED], order[MOST_DAMAGED:]
    across = rest[np.linspace(0, len(rest) - 1, min(ACROSS, len(rest))).astype(int)]
    new = only[np.argsort(-rate[only], kind="stable")][:TWIN_ONLY]
    return np.concatenate([damaged, across, new])
