"""What single features fire on: contexts, firings and directions, of as many as a page may hold."""

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.page.browsers import FeatureEvidence
from bitlens.report.saes import SaeResults, saes_of
from bitlens.report.sections.fitting import context_fits, firing_fits, require_fitting

MOST, MOST_FIRINGS = 8192, 1500
"""Features of a page with contexts at most, and with firings, those of every twin and SAE
together."""


def evidence(
    results: AuditResults, model: str, sae: SaeResults, twins: dict[str, list[Row]]
) -> FeatureEvidence | None:
    """What the store has of the features of one SAE, `twins` their rows by twin: of each twin the
    most damaged, as many as there is room for. None where there is nothing."""
    parts = max(1, len(twins) * len(saes_of(results, model)))
    contexts, firings, directions = [], [], {}
    for twin, rows in twins.items():
        found = sae.rows(results, model, twin, "contexts")
        worst = sorted(rows, key=lambda row: (row["r"] is None, row["r"] or 0.0))
        known = {row["latent"] for row in found}
        order = [row["latent"] for row in worst if row["latent"] in known]
        kept = set(order[: MOST // parts])
        contexts.append((twin, tuple(row for row in found if row["latent"] in kept)))
        some = set(order[: MOST_FIRINGS // parts])
        firings.append((twin, tuple(_of(results, model, sae, twin, "firings", some))))
        for row in _of(results, model, sae, twin, "directions", kept):
            directions[row["latent"]] = row
    if not any(rows for _, rows in contexts):
        return None
    for _, mine in contexts:
        require_fitting("contexts", map(context_fits, mine))
    for _, mine in firings:
        require_fitting("firings", map(firing_fits, mine))
    return FeatureEvidence(
        contexts=tuple(contexts), firings=tuple(firings), directions=tuple(directions.values())
    )


def _of(
    results: AuditResults, model: str, sae: SaeResults, twin: str, table: str, kept: set[int]
) -> list[Row]:
    rows = sae.rows(results, model, twin, table)
    return [row for row in rows if row["latent"] in kept]


def said(found: FeatureEvidence | None, twins: dict[str, list[Row]]) -> str:
    """How many features have contexts, and where those come from."""
    if found is None:
        return ""
    have = {twin: len({row["latent"] for row in rows}) for twin, rows in found.contexts}
    shares = ", ".join(f"{have[twin]:,} of {len(rows):,} ({twin})" for twin, rows in twins.items())
    return (
        f" Features with contexts: {shares}; the most damaged come first. They come from up "
        "to 64 documents, of long texts from one in eight: elsewhere a feature may fire more, and "
        "is counted."
        f"{_fewer(found)}"
    )


def _fewer(found: FeatureEvidence) -> str:
    most = max(len(rows) for _, rows in found.firings)
    if not most:
        return " How strongly they fire is not in this store, which is older."
    if all(
        len(rows) == len({row["latent"] for row in contexts})
        for (_, rows), (_, contexts) in zip(found.firings, found.contexts, strict=True)
    ):
        return ""
    return f" Their activations are drawn for the {most:,} most damaged of each twin."
