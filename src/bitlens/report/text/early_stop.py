"""Where a run stopped that waits for a precision, in words."""

from collections.abc import Mapping
from typing import Any

from bitlens.report.audit_results import AuditResults
from bitlens.results.counts import count
from bitlens.results.records import FEWEST

NUMBERS = {"kl": "KL", "same_top": "same top token", "perplexity_ratio": "the perplexity ratio"}
WIDENED = (
    "Every interval and p-value of this run holds wherever it may stop (a confidence sequence: "
    "Waudby-Smith et al. 2021), which makes intervals about half as wide again; those of single "
    "heads, features and labelled texts are for a number fixed beforehand."
)


def looked(until: Mapping[str, Any]) -> str:
    """How many documents are measured on, or were at a look, and why: a sentence without its full
    stop. `until`: the fields of `records.Stopped`."""
    metric, _, asked = until["asked"].partition(":")
    every, first = count(until["of"], "document"), f"Read until {until['asked']}: "
    if not until["seen"]:
        why = "too few to look at some of them first"
        if until["of"] > FEWEST:
            why = "because there was no twin to wait for"
        return f"{first}all of {every}, {why}"
    sure = "has no interval"
    if until["share"] is not None:
        sure = f"is known within {100 * until['share']:.3g} %"
    whose = f" for {until['twin']}, the least sure" if until["twin"] else ""
    if others := until.get("others"):
        whose += f" (it says nothing of {', '.join(others)}: without a number then, or added later)"
    after = f"after {count(until['seen'], 'document')} {NUMBERS[metric]} {sure}{whose}"
    takes = f", and {asked} takes about {until['needed']:,}" if until["needed"] else ""
    if until["reached"]:
        return f"{first}{until['documents']:,} of {every}, at look {until['looks']}; {after}"
    if until["documents"] == until["of"]:
        return f"{first}all of {every}; {after}{takes}"
    return f"{first}{after}{takes}"


def stops(results: AuditResults, model: str) -> list[str]:
    """The sentences on one model's texts; none where nobody asked for a precision."""
    found = [of for of in results.manifest["corpora"] if of["model"] == model and of.get("until")]
    return [f"{looked(of['until'])}." for of in found]
