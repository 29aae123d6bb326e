"""Several audits read for one page: their twins, the numbers they share, and who stands where."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bitlens.errors import InputError
from bitlens.registry import nearest
from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.headlines import SHOWN, places
from bitlens.report.text.differences import way
from bitlens.report.text.few import sayable
from bitlens.results.comparison import (
    ComparedRun,
    Contender,
    Measure,
    Pairings,
    Refused,
    contenders,
)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a contender stands among those that it can be paired with."""

    contender: Contender
    row: Row
    """Its number."""
    first: int
    """One more than are surely better."""
    last: int
    """Of all, so many less those that are surely worse."""

    @property
    def rank(self) -> str:
        """`2`, or `2–4` where the differences leave that open."""
        return str(self.first) if self.first == self.last else f"{self.first}–{self.last}"


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The runs, their twins, and every difference that could be taken."""

    audits: Mapping[str, AuditResults]
    """By the run's name."""
    pairings: Pairings
    measures: tuple[Measure, ...]
    by: Measure
    """What the ranking goes by."""

    @classmethod
    def read(cls, paths: Sequence[Path], by: str) -> "Compared":
        """Read complete stores. BitlensError for one that is none, one that is named twice, and a
        measure that no twin has."""
        audits = dict(zip(_names(paths), map(AuditResults.read, paths), strict=True))
        runs = [
            ComparedRun(name=name, store=audit.store, manifest=audit.manifest)
            for name, audit in audits.items()
        ]
        found = contenders(runs)
        measures = list(_measures(audits, found, by.partition("@")[0]))
        chosen = _chosen(measures, by)
        return cls(audits=audits, pairings=Pairings(found), measures=tuple(measures), by=chosen)

    @property
    def contenders(self) -> Sequence[Contender]:
        """Every twin, once."""
        return self.pairings.contenders

    @cached_property
    def rows(self) -> list[Row]:
        """Every difference, of too few documents without its interval."""
        return [sayable(row) for row in self.pairings.rows(self.measures)]

    @cached_property
    def refused(self) -> list[Refused]:
        """Pairs without a difference, each with its reason."""
        return self.pairings.refused(self.measures)

    def audit(self, of: Contender, analysis: str = "") -> AuditResults:
        """The run that a contender's numbers of an analysis come from; else its first."""
        run = of.cells[analysis][0] if analysis in of.cells else of.runs[0]
        return self.audits[run.name]

    def estimate(self, of: Contender, measure: Measure) -> Row | None:
        """A contender's number; None where it has none."""
        if measure.analysis not in of.cells:
            return None
        audit = self.audit(of, measure.analysis)
        name, place = of.twin.compression, {"site": measure.site, "item": measure.item}
        return audit.find(of.model, name, measure.name, **place)

    @cached_property
    def standings(self) -> list[list[Standing]]:
        """The ranking by `by`: a list for all that can be paired with each other, the largest
        first; the best first in each."""
        groups: list[list[Contender]] = []
        for one in self.contenders:
            if self.estimate(one, self.by) is None:
                continue
            place = next(
                (g for g in groups if not self.pairings.apart(g[0], one, self.by.analysis)), None
            )
            if place is None:
                groups.append([one])
            else:
                place.append(one)
        return sorted(map(self._ranked, groups), key=len, reverse=True)

    def _ranked(self, group: Sequence[Contender]) -> list[Standing]:
        sign = -1 if self.by.metric.worse == "lower" else 1
        ahead: dict[str, int] = dict.fromkeys((one.label for one in group), 0)
        behind = dict(ahead)
        for row in self.of_measure(self.by):
            sure = way(row)
            if sure and row["first"] in ahead and row["second"] in ahead:
                worse = row["first"] if (sure == "more") == (sign > 0) else row["second"]
                better = row["second"] if worse == row["first"] else row["first"]
                ahead[worse] += 1
                behind[better] += 1
        found = []
        for one in group:
            mine = self.estimate(one, self.by)
            assert mine is not None
            first, last = 1 + ahead[one.label], len(group) - behind[one.label]
            found.append(Standing(contender=one, row=mine, first=first, last=last))
        return sorted(found, key=lambda standing: sign * standing.row["value"])

    def of_measure(self, measure: Measure) -> list[Row]:
        """Every difference in one number."""
        place = (measure.analysis, *measure.place)
        keys = ("analysis", "metric", "site", "item")
        return [row for row in self.rows if tuple(row[key] for key in keys) == place]


def _names(paths: Sequence[Path]) -> list[str]:
    """The last part of each path; as many parts as tell them apart."""
    whole = [path.resolve() for path in paths]
    for path in whole:
        if whole.count(path) > 1:
            raise InputError(
                f"{path} is named {whole.count(path)} times.", "different runs.", "name it once."
            )
    for parts in range(1, max(len(path.parts) for path in whole)):
        names = ["/".join(path.parts[-parts:]) for path in whole]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in whole]


def _measures(
    audits: Mapping[str, AuditResults], found: Sequence[Contender], by: str
) -> Iterator[Measure]:
    """Every number that at least one contender has, of those that are shown and `by`."""
    for name in dict.fromkeys((by, *SHOWN)):
        analysis, _, metric = name.partition(".")
        found_at: dict[tuple[str, str], AuditResults] = {}
        for one in found:
            if analysis in one.cells:
                audit = audits[one.cells[analysis][0].name]
                for row in places(audit, one.model, one.twin.compression, name):
                    found_at.setdefault((row["site"], row["item"]), audit)
        for (site, item), audit in found_at.items():
            about = audit.metrics[f"{analysis}.{metric}"]
            yield Measure(analysis=analysis, metric=about, site=site, item=item)


def _chosen(measures: Sequence[Measure], by: str) -> Measure:
    """The measure that is meant by `analysis.metric`, or `analysis.metric@site@item`."""
    name, *place = by.split("@")
    mine = [one for one in measures if one.name == name]
    fitting = [one for one in mine if [one.site, one.item][: len(place)] == place]
    if not mine:
        known = list(dict.fromkeys(one.name for one in measures))
        raise InputError(
            f"No twin has {name}.",
            f"a number that was measured, such as {', '.join(known)}.",
            nearest(name, known) or "bitlens list metrics shows every number.",
        )
    if len(fitting) != 1:
        places = [f"{one.name}@{one.site}@{one.item}" for one in mine]
        raise InputError(
            f"{by} is {len(fitting) or 'no'} number{'s' if len(fitting) != 1 else ''} of a twin.",
            "one number: analysis.metric@site@item where there are several.",
            f"--by {places[0]}" + (f", or another of {len(places)}." if len(places) > 1 else ""),
        )
    if fitting[0].metric.worse is None:
        raise InputError(
            f"{name} says of nobody that it is better.",
            "a number of which more, or less, is damage.",
            "--by behaviour.kl",
        )
    return fitting[0]
