"""The sentence on probes: what a monitor that was made on the reference still reads in a twin."""

from collections.abc import Iterator
from dataclasses import dataclass

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.registration import sentence
from bitlens.report.text.differences import above, tested, way
from bitlens.report.text.doubts import Claim, claim
from bitlens.report.text.numbers import amount, plain
from bitlens.results.records import REFERENCE
from bitlens.results.shared_names import PROBED_BY

ELSEWHERE = 0.02
"""The most that a threshold for 1 % is expected to flag of texts that it was not set on: (k + 1) /
(n + 1) with k of n above it, if the others are draws of the same, and n is 100 or more."""


@dataclass(frozen=True)
class ProbedSet:
    """A set of labelled texts, and where the reference's probe for it is best."""

    name: str
    site: str
    """Chosen on the documents that the penalty was chosen on, not on those that are scored."""

    @property
    def where(self) -> str:
        """`after block 2`."""
        return f"after block {self.site.partition('.')[2]}"

    def find(
        self,
        results: AuditResults,
        model: str,
        who: str,
        metric: str,
        method: str = PROBED_BY[0],
        of: str = "",
    ) -> Row | None:
        """A number there. `of`: `reference` or `twin`, for a rate."""
        item = f"{self.name}, {method}" + (f", {of}" if of else "")
        return results.find(model, who, f"probes.{metric}", site=self.site, item=item)


def probed(results: AuditResults, model: str) -> list[ProbedSet]:
    """The sets that probes were made for, each where the logistic probe chose best; of equal
    blocks the first."""
    best: dict[str, tuple[float, str]] = {}
    twins = [twin.compression for twin in results.measured(model)]
    for row in results.everywhere(model, twins[0], "probes.auc_choosing") if twins else ():
        name, _, method = row["item"].rpartition(", ")
        if method == PROBED_BY[0] and row["value"] > best.get(name, (0.0, ""))[0]:
            best[name] = (row["value"], row["site"])
    return [ProbedSet(name, site) for name, (_, site) in best.items()]


def flagged(results: AuditResults, model: str, who: str, one: ProbedSet) -> Row | None:
    """What the reference's threshold for 1 % flags in a twin; None where that is not surely more
    than in the reference, and more than it would flag of texts that it was not set on."""
    changed = one.find(results, model, who, "false_positive_change")
    row = one.find(results, model, who, "false_positives", of="twin")
    more = changed is not None and way(results.contrast(changed, REFERENCE)) == "more"
    return row if more and above(row, ELSEWHERE) else None


def flagged_by_noise(results: AuditResults, model: str, who: str, one: ProbedSet) -> str:
    """`, and under noise of its size 41 % [29, 53]`, with how sure the difference is; empty where
    no noise was run."""
    noise = results.noise(model, who)
    other = one.find(results, model, noise, "false_positives", of="twin") if noise else None
    changed = one.find(results, model, who, "false_positive_change")
    if other is None or changed is None:
        return ""
    difference = tested(results.contrast(changed, noise), "share")
    return f", and under noise of its size {amount(other, 'share')}{difference}"


@sentence(order=105)
def monitors(results: AuditResults, model: str, who: str) -> Iterator[Claim]:
    """What the probe that loses most loses, and what it flags; or that none surely loses."""
    sets = probed(results, model)
    noise = results.noise(model, who)
    measured = [(one, row) for one in sets if (row := one.find(results, model, who, "lost"))]
    lost = [(one, row) for one, row in measured if way(results.contrast(row, REFERENCE)) == "more"]
    if lost:
        one, row = max(lost, key=lambda pair: pair[1]["value"])
        yield claim(_fallen(results, model, who, one), twins=(noise,))
    elif measured:
        names = ", ".join(one.name for one, _ in measured)
        yield claim(f"no probe of the reference surely ranks worse ({names})")
    rates = [(one, row) for one in sets if (row := flagged(results, model, who, one))]
    if rates:
        one, rate = max(rates, key=lambda pair: pair[1]["value"])
        yield claim(
            f"the threshold at which a probe for {one.name} flags 1 % of other texts in the "
            f"reference flags {amount(rate, 'share')}"
            f"{flagged_by_noise(results, model, who, one)}",
            twins=(noise,),
        )


def _fallen(results: AuditResults, model: str, who: str, one: ProbedSet) -> str:
    """From what to what, what one of the twin's own reads, and what noise of the size does."""
    names = ("auc_reference", "auc_frozen", "auc_refitted")
    before, frozen, refitted = (one.find(results, model, who, name) for name in names)
    told = f"the reference's probe for {one.name} {one.where} falls"
    if before and frozen:
        told += f" from an AUC of {plain(before['value'], 3)} to {amount(frozen)}"
    if refitted:
        told += f"; one learned on the twin has {amount(refitted)}"
    noise = results.noise(model, who)
    other = one.find(results, model, noise, "auc_frozen") if noise else None
    row = one.find(results, model, who, "lost")
    if other and row:
        told += f", and under noise the reference's has {amount(other)}"
        told += tested(results.contrast(row, noise), "")
    return told
