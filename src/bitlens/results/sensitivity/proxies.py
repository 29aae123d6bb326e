"""Proxies: scores by which other tools rank the parts of a model, and how well they agree with
what was measured."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from bitlens.results.records import Metric, Value
from bitlens.results.sensitivity.folder import Sensitivity
from bitlens.results.sensitivity.records import SQNR, Effect
from bitlens.results.stats.intervals import interval

OUTPUT, GRADIENT, TRACE, LINEAR = (
    "output gradient",
    "delta loss",
    "trace",
    "linear model",
)
ABOUT: dict[str, str] = {
    SQNR: "error over signal of the weights, in dB (AIMET and ExecuTorch rank by its inverse)",
    OUTPUT: "sum of g² (Y − Yq)² at the outputs, g the loss' gradient there (ModelOpt's gradient "
    "score)",
    GRADIENT: "sum of |g (W − Wq)|, g the loss' gradient of the weights (AutoRound's delta loss)",
    TRACE: "½ tr(H) MSE(W), H's trace from squared gradients of single texts (PrismaQuant; the "
    "empirical Fisher in the place of the Hessian)",
    LINEAR: "α t²: α from another of the compressions, t² the relative squared error (HIGGS, arXiv "
    "2411.17525)",
}
"""What each score is, and who ranks by it."""
FEWEST = 4
"""Units below which ranks say nothing."""
RHO = Metric(
    "rho",
    "Does the score order the units as the measured effects do?",
    unit="",
    worse="lower",
    intact=1.0,
    scale="atanh",
    source="Spearman 1904",
)


@dataclass(frozen=True, kw_only=True)
class RankAgreement:
    """Spearman's rank correlation of a proxy with the measured effects; 1: the same order, 0 by
    chance."""

    proxy: str
    compression: str
    measure: str
    item: str
    units: int
    value: float | None
    low: float | None
    high: float | None
    documents: int
    reason: str | None


Scores = dict[tuple[str, str], float]
"""By compression and unit."""


def linear_model(run: Sensitivity, measure: str, item: str = "") -> Scores:
    """By compression and unit, what a linear model says: the effect of the unit under the next
    compression, over its squared relative error there, times that of this one. Empty with one
    compression alone."""
    asked = run.about["asked"]["compressions"]
    errors = {(p.compression, p.unit): 10 ** (p.value / 10) for p in run.proxies if p.proxy == SQNR}
    effects = run.of("only", measure, item)
    found = {}
    for place, compression in enumerate(asked if len(asked) > 1 else ()):
        other = asked[(place + 1) % len(asked)]
        for unit in run.units:
            known = effects.get((other, unit.name))
            keys = ((compression, unit.name), (other, unit.name))
            if known and known.value is not None and all(key in errors for key in keys):
                here, there = (errors[key] for key in keys)
                found[compression, unit.name] = known.value * here / there
    return found


def scores(run: Sensitivity, measure: str, item: str = "") -> dict[str, Scores]:
    """By proxy, every score."""
    found: dict[str, Scores] = {}
    for p in run.proxies:
        found.setdefault(p.proxy, {})[p.compression, p.unit] = p.value
    if linear := linear_model(run, measure, item):
        found[LINEAR] = linear
    return {name: found[name] for name in ABOUT if name in found}


def agreements(run: Sensitivity) -> Iterator[RankAgreement]:
    """Every proxy beside every measure. The interval is of other documents for the effects; a
    proxy's own number is taken as it is."""
    for measure in run.about["asked"]["measures"]:
        for item in run.items(measure):
            effects = run.of("only", measure, item)
            for proxy, of in scores(run, measure, item).items():
                for compression in run.about["asked"]["compressions"]:
                    pairs = [
                        (e, of[key])
                        for key, e in effects.items()
                        if key[0] == compression and key in of and e.value is not None
                    ]
                    if pairs:
                        sure = interval(_rho(item, pairs), RHO, run.method)
                        yield RankAgreement(
                            proxy=proxy,
                            compression=compression,
                            measure=measure,
                            item=item,
                            units=len(pairs),
                            **asdict(sure),
                        )


def _rho(item: str, pairs: Sequence[tuple[Effect, float]]) -> Value:
    """The rank correlation of effects with a score, under every replicate of the effects."""
    value: float | None = None
    replicates: tuple[float, ...] = ()
    reason = None
    if len(pairs) < FEWEST:
        reason = f"ranks of {len(pairs)} units say nothing: it takes {FEWEST}"
    else:
        effects = np.array([[e.value, *e.replicates] for e, _ in pairs], dtype=np.float64)
        own = _ranks(np.array([score for _, score in pairs])[:, None])
        rho = _correlations(_ranks(effects), own)
        if np.isfinite(rho).all():
            value, replicates = float(rho[0]), tuple(rho[1:].tolist())
        else:
            same = "score" if np.ptp(own) == 0 else "effect"
            reason = f"every unit has the same {same}"
    return Value(
        metric="rho",
        site="",
        item=item,
        value=value,
        replicates=replicates,
        documents=pairs[0][0].documents,
        reason=reason,
    )


def _ranks(values: np.ndarray) -> np.ndarray:
    """`[n, m]`: the mean rank of each among the n of its column; equal ones share theirs."""
    from scipy.stats import rankdata  # takes as long to load as a section of a page to make

    return np.asarray(rankdata(values, axis=0))


def _correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's r of every column of `a` `[n, m]` with `b` `[n, 1]`."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    with np.errstate(all="ignore"):
        return np.asarray((a * b).sum(axis=0) / np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0)))
