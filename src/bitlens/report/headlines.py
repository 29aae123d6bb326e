"""The few numbers of a twin that stand wherever there is room for a few."""

from collections.abc import Iterator

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.charts.axes import words

SHOWN = (
    "behaviour.kl",
    "behaviour.perplexity_ratio",
    "behaviour.same_top",
    "behaviour.kl_p99",
    "behaviour.perplexity",
    "features.survived",
    "heads.induction_score_kept",
)
"""Where they were measured, in this order."""
SIDE = {"behaviour.perplexity": "twin"}
"""Of a number that both models have, the item that is the twin's."""
TITLES = {
    "behaviour.kl_p99": "KL at 99 %",
    "behaviour.perplexity": "perplexity of the twin",
    "features.survived": "features that survive",
}
"""What some are called where there is no section about them."""


def title(name: str) -> str:
    """What `analysis.metric` is called."""
    return TITLES.get(name, words(name.partition(".")[2]))


def places(results: AuditResults, model: str, who: str, name: str) -> list[Row]:
    """The estimates of one of these numbers, the twin's own."""
    rows = results.everywhere(model, who, name)
    return [row for row in rows if row["item"] == SIDE.get(name, row["item"])]


def shown(results: AuditResults, model: str, who: str) -> Iterator[tuple[str, Row]]:
    """Each number that a twin has, and what it is called, with its place where it has several."""
    for name in SHOWN:
        rows = places(results, model, who, name)
        for row in rows:
            where = f" at {row['site']}" if name == "features.survived" else ""
            yield f"{title(name)}{where}", row
