"""Kinds of text as the page tells them: a number of every category, beside all others and noise."""

from collections.abc import Iterator
from dataclasses import dataclass

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.saes import saes_of
from bitlens.report.text.differences import LEVEL
from bitlens.report.text.numbers import amount, figure, points, probability
from bitlens.results.records import Metric


@dataclass(frozen=True, kw_only=True)
class KindNumber:
    """A number that is told of every category."""

    name: str
    """`analysis.metric`."""
    title: str
    site: str = "logits"
    item: str = ""


def numbers_of(results: AuditResults, model: str) -> list[KindNumber]:
    """The numbers of the outputs and of every SAE that are told by category and were measured."""
    found = [
        KindNumber(name="behaviour.kl", title="KL divergence"),
        KindNumber(name="behaviour.same_top", title="same top token"),
        KindNumber(name="behaviour.perplexity_ratio", title="perplexity ratio"),
        *(
            KindNumber(
                name="features.survived",
                title=f"features that survive, {sae.where}",
                site=sae.site,
                item=sae.label,
            )
            for sae in saes_of(results, model)
        ),
    ]
    known = {f"{row['analysis']}.{row['metric']}" for row in results.categories}
    return [one for one in found if one.name in known]


def rows_of(results: AuditResults, model: str, compression: str, of: KindNumber) -> dict[str, Row]:
    """By category, the rows of one number of a twin or control that have a value, at the first
    seed."""
    wanted = (model, compression, of.name, of.site, of.item)
    rows = [
        row
        for row in results.categories
        if wanted
        == (
            row["model"],
            row["compression"],
            f"{row['analysis']}.{row['metric']}",
            row["site"],
            row["item"],
        )
    ]
    first = min((row["seed"] for row in rows), default=0)
    return {
        row["category"]: row for row in rows if row["seed"] == first and row["value"] is not None
    }


def worse(row: Row | None) -> bool:
    """Is the category surely hit harder than all others together? By the stored test alone."""
    if row is None or row["difference"] is None or row["worse"] is None:
        return False
    sign = 1 if row["worse"] == "higher" else -1
    low, high = row["difference_low"], row["difference_high"]
    if row["q"] is None:
        # Draws of documents have no q: there the interval of the difference decides.
        return low is not None and high is not None and (low > 0 if sign > 0 else high < 0)
    return bool(row["q"] <= LEVEL and sign * row["difference"] > 0)


def hit_first(
    results: AuditResults, model: str, of: KindNumber
) -> Iterator[tuple[str, Row, Row | None]]:
    """Of each twin the category that is surely hit harder than all others, the hardest of several,
    and the row of noise there."""
    for twin in results.measured(model):
        rows = [row for row in rows_of(results, model, twin.compression, of).values() if worse(row)]
        if not rows:
            continue
        sign = -1 if rows[0]["worse"] == "lower" else 1
        hardest = max(rows, key=lambda row: sign * row["value"])
        noise = results.noise(model, twin.compression)
        beside = rows_of(results, model, noise, of) if noise else {}
        yield twin.compression, hardest, beside.get(hardest["category"])


def apart(difference: Row, unit: str) -> str:
    """A difference with its interval: of shares in points."""
    return points(difference) if unit == "share" else amount(difference, unit)


def told(row: Row, noise: Row | None, metric: Metric) -> str:
    """The numbers that a claim about a category rests on."""
    test = "" if row["q"] is None else f"; q = {probability(row['q'])}"
    difference = {
        "value": row["difference"],
        "low": row["difference_low"],
        "high": row["difference_high"],
    }
    said = (
        f"{amount(row, metric.unit)} there, {figure(row['others'], metric.unit)} in all others "
        f"(difference {apart(difference, metric.unit)}{test})"
    )
    if noise is None:
        return f"{said}."
    too = "noise is hit harder there too" if worse(noise) else "of noise that is not sure"
    return f"{said}. Under noise of the same size {amount(noise, metric.unit)}: {too}."
