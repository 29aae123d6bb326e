"""The table of firing categories: from which rate of firing to which latents went."""

from bitlens.report.audit_results import AuditResults
from bitlens.report.page.parts import Column, Part, Prose, Section, Table, Tabs
from bitlens.report.saes import SaeResults
from bitlens.report.text.differences import tested
from bitlens.report.text.numbers import amount, figure
from bitlens.report.twins import farthest

CATEGORIES = ("dead", "rare", "common", "frequent")
CHANGED = "features.category_changed"


def flow(results: AuditResults, model: str, sae: SaeResults, stem: str) -> list[Part]:
    """A matrix a twin, its noise beside it; a sentence where the store is too old to have one."""
    title, anchor = "How often latents fire, before and after", f"{stem}-flow"
    if CHANGED not in results.metrics:
        told = "These results were written before latents were sorted by how often they fire. "
        again = "The command that made them, again, adds it."
        return [Section(anchor, title, (Prose(told + again),))]
    twins = [twin.compression for twin in results.measured(model)]
    tabs = tuple(
        (twin, (_matrix(results, model, sae, twin),))
        for twin in twins
        if sae.rows(results, model, twin, "flow")
    )
    if not tabs:
        return []
    told = (
        "Latents by the share of positions on which they fire: dead (never), rare (less than 1 %, "
        "or fewer than ten times), common, frequent (half or more). A row holds the latents of one "
        "category in the reference, a column those of one in the twin, as shares of the row; "
        "intact is 100 % on the diagonal."
    )
    shown = farthest(results, model, [twin for twin, _ in tabs])
    return [Section(anchor, title, (Prose(told), Tabs(tabs, shown)))]


def _matrix(results: AuditResults, model: str, sae: SaeResults, twin: str) -> Table:
    noise = results.noise(model, twin)
    mine = _counts(results, model, sae, twin)
    others = _counts(results, model, sae, noise) if noise else {}
    rows = []
    for before in CATEGORIES:
        latents = sum(mine[before, after] for after in CATEGORIES)
        cells = [_share(found, before, after) for found in (mine, others) if found
                 for after in CATEGORIES]  # fmt: skip
        rows.append((before, f"{latents:,}", *cells))
    titles = [*CATEGORIES, *(f"noise: {name}" for name in CATEGORIES if others)]
    return Table(
        (Column("reference"), *(Column(title, numeric=True) for title in ("latents", *titles))),
        tuple(rows),
        f"{_changed(results, model, sae, twin)} of the latents that fire ten times or more in "
        "either model are of another category in the twin"
        + (f"; under noise {_changed(results, model, sae, noise)}" if noise and others else "")
        + f"{_tested(results, model, sae, twin=twin, noise=noise)}.",
    )


def _tested(
    results: AuditResults, model: str, sae: SaeResults, twin: str, noise: str | None
) -> str:
    row = sae.find(results, model, twin, CHANGED)
    return tested(results.contrast(row, noise), "share") if row else ""


def _counts(
    results: AuditResults, model: str, sae: SaeResults, who: str
) -> dict[tuple[str, str], int]:
    rows = sae.rows(results, model, who, "flow")
    return {(row["reference"], row["twin"]): row["latents"] for row in rows}


def _share(counts: dict[tuple[str, str], int], before: str, after: str) -> str:
    whole = sum(counts[before, to] for to in CATEGORIES)
    return figure(counts[before, after] / whole, "share") if whole else "–"


def _changed(results: AuditResults, model: str, sae: SaeResults, who: str) -> str:
    row = sae.find(results, model, who, CHANGED)
    return amount(row, "share") if row else "an unknown share"
