"""Kinds of text as the page tells them: a number of every category, beside all others and noise."""

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


def tested(row: Row) -> bool:
    """Was the category held against all others, with a correction for all that were? Drawn
    documents have no p, and so none: their interval alone is one of many."""
    return row["difference"] is not None and row["q"] is not None


def worse(row: Row | None) -> bool:
    """Is the category surely hit harder than all others together? By the stored test alone."""
    if row is None or row["worse"] is None or not tested(row):
        return False
    sign = 1 if row["worse"] == "higher" else -1
    return bool(row["q"] <= LEVEL and sign * row["difference"] > 0)


def hit_harder(
    results: AuditResults, model: str, of: KindNumber
) -> dict[str, list[tuple[str, Row, Row | None]]]:
    """The categories that are surely hit harder than all others together, those of most twins
    first; of each the twins where they are, with the row and that of noise. Which of several in a
    twin is hit hardest was not tested."""
    found: dict[str, list[tuple[str, Row, Row | None]]] = {}
    for twin in results.measured(model):
        noise = results.noise(model, twin.compression)
        beside = rows_of(results, model, noise, of) if noise else {}
        for kind, row in rows_of(results, model, twin.compression, of).items():
            if worse(row):
                found.setdefault(kind, []).append((twin.compression, row, beside.get(kind)))
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


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
