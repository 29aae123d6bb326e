"""The sentence on probes: what a monitor that was made on the reference still reads in a twin."""

from collections.abc import Iterator
from dataclasses import dataclass

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.registration import sentence
from bitlens.report.text.differences import tested, way
from bitlens.report.text.doubts import Claim, claim
from bitlens.report.text.numbers import amount, plain
from bitlens.results.records import REFERENCE

METHODS = ("logistic", "mean difference")


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
        method: str = METHODS[0],
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
        if method == METHODS[0] and row["value"] > best.get(name, (0.0, ""))[0]:
            best[name] = (row["value"], row["site"])
    return [ProbedSet(name, site) for name, (_, site) in best.items()]


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
    flagged = [
        (one, row)
        for one in sets
        if (row := one.find(results, model, who, "false_positive_change"))
        and way(results.contrast(row, REFERENCE)) == "more"
    ]
    if flagged:
        one, _ = max(flagged, key=lambda pair: pair[1]["value"])
        rate = one.find(results, model, who, "false_positives", of="twin")
        if rate:
            yield claim(
                f"the threshold at which a probe for {one.name} flags 1 % of other texts in the "
                f"reference flags {amount(rate, 'share')}"
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
