"""Does inner damage foretell what happens to answers? Over the twins of a model, controls too."""

import math
from collections.abc import Iterator, Mapping, Sequence

from bitlens.report.audit_results import AuditResults
from bitlens.report.page.parts import Column, Part, Prose, Table
from bitlens.report.text.losses import survivals
from bitlens.report.text.numbers import plain
from bitlens.results.benchmarks.folder import Benchmarked
from bitlens.results.counts import count

FEWEST_POINTS = 8
"""Of fewer twins a rank correlation is a hint at most."""
Inner = Mapping[str, float]
"""By twin, how much is damaged."""


def damage_parts(results: AuditResults, found: Benchmarked, model: str) -> Iterator[Part]:
    """A table of rank correlations; nothing of fewer than three twins."""
    twins = found.twins(model)
    rows, most = [], 0
    for benchmark in found.benchmarks(model):
        changes = {t: c for t in twins if (c := found.change(model, t, benchmark)) is not None}
        flips = {t: (c.lost + c.gained) / c.questions for t, c in changes.items()}
        losses = {t: -c.difference for t, c in changes.items()}
        for name, inner in _inner(results, model, twins).items():
            for outcome, of in (("flips", flips), ("loss of score", losses)):
                both = [t for t in twins if t in inner and t in of]
                r = rank_correlation([inner[t] for t in both], [of[t] for t in both])
                if r is not None:
                    most = max(most, len(both))
                    rows.append((benchmark, name, outcome, str(len(both)), _told(r, len(both))))
    if not rows:
        return
    yield Table(
        (
            *(Column(title) for title in ("benchmark", "inner damage", "answers")),
            Column("twins", numeric=True),
            Column("rank correlation", numeric=True),
        ),
        tuple(rows),
        "Does inner damage foretell what happens to answers? Twins and controls ranked by both; "
        "1: the order is the same, 0: one says nothing of the other. In brackets its 95 % interval "
        "(Bonett and Wright 2000), as if every twin were another method: several bits of one are "
        "less than as many points.",
    )
    if most < FEWEST_POINTS:
        yield Prose(
            f"Caution: {count(most, 'twin')} are too few to tell (at least {FEWEST_POINTS}), and "
            "of one method in several bits whatever grows with the error agrees."
        )


def _inner(results: AuditResults, model: str, twins: Sequence[str]) -> dict[str, Inner]:
    """What was measured inside: KL of the outputs, and features that do not survive in the SAE
    that loses most."""
    kl = {t: row["value"] for t in twins if (row := results.find(model, t, "behaviour.kl"))}
    lost = {
        t: 1 - min(row["value"] for _, row in of)
        for t in twins
        if (of := survivals(results, model, t))
    }
    return {"mean KL": kl, "features lost": lost}


def _told(r: float, twins: int) -> str:
    bounds = correlation_bounds(r, twins)
    if bounds is None:
        return plain(r, 2)
    low, high = bounds
    return f"{plain(r, 2)} [{plain(low, 2)}, {plain(high, 2)}]"


def correlation_bounds(r: float, pairs: int) -> tuple[float, float] | None:
    """The 95 % interval of Spearman's correlation: Fisher's z with the variance (1 + r²/2)/(n − 3)
    of Bonett and Wright (2000). None of fewer than four pairs, and of 1 and −1."""
    if pairs < 4 or abs(r) >= 1:
        return None
    half = 1.96 * math.sqrt((1 + r * r / 2) / (pairs - 3))
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's; None of fewer than three pairs, and where one side never differs."""
    if len(first) < 3 or len(set(first)) < 2 or len(set(second)) < 2:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(first, second).statistic)
