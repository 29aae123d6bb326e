"""Sentences on what broke within a twin: features and induction heads, by name."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.registration import sentence
from bitlens.report.saes import SaeResults, saes_of
from bitlens.report.text.differences import surely, way
from bitlens.report.text.doubts import Claim, claim, doubted
from bitlens.report.text.numbers import amount, points
from bitlens.results.counts import count
from bitlens.results.records import REFERENCE, TEXT

INDUCTION = 0.4
"""A head above this score, on the sequences heads are chosen on and on the others, is one."""
NAMED = 3
"""So many SAEs, or lost heads, are named one by one; of more only the ends."""


@dataclass(frozen=True)
class Induction:
    """The reference's induction heads, and which of them are none in a twin.

    A head still above the cut is kept, so that an unchanged twin keeps all of them; one at or
    below it is lost where its whole interval is, and undecided where the interval reaches above.
    """

    total: int
    lost: tuple[str, ...]
    """Their names, block.head."""
    undecided: tuple[str, ...] = ()
    told: Mapping[str, str] = field(default_factory=dict, compare=False)
    """By block.head, with what became of its score."""

    @property
    def number(self) -> int:
        """How many are kept."""
        return self.total - len(self.lost) - len(self.undecided)

    @property
    def kept(self) -> str:
        """How many of how many are kept, for a table: `1 of 3, 1 undecided`."""
        more = f", {len(self.undecided)} undecided" if self.undecided else ""
        return f"{self.number} of {self.total}{more}"

    @property
    def counted(self) -> str:
        """In a sentence: `1 of 3 induction heads (1 undecided)`."""
        more = f" ({len(self.undecided)} undecided)" if self.undecided else ""
        return f"{self.number} of {count(self.total, 'induction head')}{more}"


def induction(results: AuditResults, model: str, who: str) -> Induction | None:
    """None where heads were not scored, or the reference has no induction head."""
    rows = _counted(results, model, who)
    if not rows:
        return None
    below = {_name(row): row for row in rows if row["twin"] <= INDUCTION}
    undecided = tuple(name for name, row in below.items() if _reaches_above(row))
    lost = tuple(name for name in below if name not in undecided)
    told = {name: f"head {name}, {_fallen(row)}" for name, row in below.items()}
    return Induction(len(rows), lost, undecided, told)


def _name(row: Row) -> str:
    return f"{row['block']}.{row['head']}"


def _reaches_above(row: Row) -> bool:
    return row.get("twin_high") is not None and bool(row["twin_high"] > INDUCTION)


def _fallen(row: Row) -> str:
    """`0.92 to 0.21 [0.18, 0.24]`."""
    score = f"{row['reference']:.2f} to {row['twin']:.2f}"
    if row.get("twin_low") is None:
        return score
    return f"{score} [{row['twin_low']:.2f}, {row['twin_high']:.2f}]"


@sentence(order=90)
def without_heads(results: AuditResults, model: str, who: str) -> Iterator[Claim]:
    """Said where heads were scored and there was nothing to keep."""
    if results.table(model, who, "heads", "heads") and induction(results, model, who) is None:
        score = f"an induction score above {INDUCTION:g}"
        yield claim(f"the reference has no head with {score}", leads=False)


def survivals(results: AuditResults, model: str, who: str) -> list[tuple[SaeResults, Row]]:
    """By SAE, the share of active features that survived, where it was measured."""
    found = (
        (sae, sae.find(results, model, who, "features.survived")) for sae in saes_of(results, model)
    )
    return [(sae, row) for sae, row in found if row is not None]


def sound(
    results: AuditResults, model: str, found: list[tuple[SaeResults, Row]]
) -> list[tuple[SaeResults, Row]]:
    """The rows of SAEs without a doubt of their own, where there are any."""
    unsure = doubted(results, model)
    return [pair for pair in found if pair[0].label not in unsure] or found


@sentence(order=20)
def features_and_heads(results: AuditResults, model: str, who: str) -> Iterator[Claim]:
    """`keeps 71 % [69, 73] of 1,840 features` and `keeps all 3 induction heads`; apart what was
    read through an SAE that is in doubt, lest it speak for the others."""
    found = survivals(results, model, who)
    unsure = doubted(results, model)
    for mine in (
        [pair for pair in found if pair[0].label not in unsure],
        [pair for pair in found if pair[0].label in unsure],
    ):
        if mine:
            labels = [sae.label for sae, _ in mine]
            yield claim(f"keeps {_features(results, model, who, mine)}", TEXT, *labels)
    if heads_kept := _heads(results, model, who):
        yield claim(f"keeps {heads_kept}{_fell(results, model, who)}")


def _fell(results: AuditResults, model: str, who: str) -> str:
    """What a count at a cut does not see: whether the scores themselves changed."""
    row = results.find(model, who, "heads.induction_mean_change", "pattern")
    contrast = results.contrast(row, REFERENCE) if row else None
    if row is None or not way(contrast):
        return ""
    changes = [
        results.find(
            model, who, "heads.induction_change", site=f"pattern.{block}", item=f"head {head}"
        )
        for block, head in _induction_heads(results, model, who)
    ]
    ways = [way(results.contrast(change, REFERENCE)) for change in changes if change is not None]
    sure = f" ({of})" if (of := surely(contrast)) else ""
    return (
        f", with scores that changed by {points(row)} on average{sure}: {ways.count('less')} of "
        f"{len(changes)} surely fell, {ways.count('more')} surely rose"
    )


def _induction_heads(results: AuditResults, model: str, who: str) -> list[tuple[int, int]]:
    """(block, head) of those that count in the reference."""
    return [(row["block"], row["head"]) for row in _counted(results, model, who)]


def _counted(results: AuditResults, model: str, who: str) -> list[Row]:
    """The rows of the table of heads that are induction heads of the reference."""
    return [
        row
        for row in results.table(model, who, "heads", "heads")
        if row["kind"] == "induction" and min(row["choosing"], row["reference"]) > INDUCTION
    ]


def _features(
    results: AuditResults, model: str, who: str, found: list[tuple[SaeResults, Row]]
) -> str:
    def said(sae: SaeResults, row: Row) -> str:
        n = sae.active(results, model, who)
        of = "the active features" if n is None else count(n, "feature")
        return f"{amount(row, 'share')} of {of}"

    if len(saes_of(results, model)) == 1:
        return said(*found[0])
    if len(found) <= NAMED:
        return ", ".join(f"{said(sae, row)} {sae.where}" for sae, row in found)
    ordered = sorted(found, key=lambda pair: pair[1]["value"])
    least, most = ordered[0], ordered[-1]
    return f"from {said(*least)} {least[0].where} to {said(*most)} {most[0].where}"


def _heads(results: AuditResults, model: str, who: str) -> str:
    found = induction(results, model, who)
    if found is None:
        return ""
    if not found.told:
        every = {1: "its only induction head", 2: "both induction heads"}
        return every.get(found.total, f"all {found.total} induction heads")
    if len(found.lost) == found.total:
        return f"none of {count(found.total, 'induction head')}"
    told = [
        f"{fate} {_listed([found.told[name] for name in names])}"
        for fate, names in (("lost", found.lost), ("undecided", found.undecided))
        if names
    ]
    return f"{found.number} of {count(found.total, 'induction head')} ({'; '.join(told)})"


def _listed(heads: list[str]) -> str:
    return "; ".join(heads[:NAMED]) + ("; ..." if len(heads) > NAMED else "")
