"""Which streams does an analysis compare, where, and on which documents?"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from bitlens.engine.analysis import Analysis
from bitlens.engine.plan import CORPUS, SUBSET
from bitlens.engine.sweep import REFERENCE, ForwardRun
from bitlens.models.sites import site

CUMULATIVE, LOCAL = "cumulative", "local"


@dataclass(frozen=True)
class Comparison:
    """Which two streams an analysis compares, and where."""

    analysis: Analysis
    twin: str
    item: str
    stream: str
    sites: tuple[str, ...]
    documents: str
    """Which set of documents: the corpus, its subset, or the analysis' own."""
    branches: Mapping[str, ForwardRun] = field(default_factory=dict)
    """Forks with an edit that it reads besides, by whose they are and the name of the edit."""
    floor: bool = False
    """Whether it measures the compute floor: its stream runs on the subset only."""
    alone: Mapping[str, ForwardRun] = field(default_factory=dict)
    """By site, the twin's block on the reference's input, where it is read besides."""

    @property
    def streams(self) -> tuple[str, str]:
        return REFERENCE, self.stream

    @property
    def besides(self) -> tuple[ForwardRun, ...]:
        return (*self.branches.values(), *self.alone.values())

    @property
    def read(self) -> str:
        """The set of documents whose batches hold them."""
        return CORPUS if self.documents == SUBSET else self.documents


def comparisons(
    analyses: Sequence[Analysis],
    twins: Sequence[str],
    sites: Mapping[str, Sequence[str]],
    own: Collection[str] = (),
    floors: Collection[str] = (),
) -> list[Comparison]:
    """What is to be compared. `sites`: by analysis, where it looks (already narrowed by the
    user); `own`: the analyses that read documents of their own; `floors`: twins that measure the
    compute floor, of the outputs alone."""
    found = []
    for analysis in analyses:
        names = tuple(sites[analysis.name])
        documents = analysis.name if analysis.name in own else CORPUS
        for twin in floors if analysis.outputs else ():
            found.append(Comparison(analysis, twin, CUMULATIVE, twin, names, SUBSET, floor=True))
        for twin in twins:
            branches = with_interventions(analysis, twin)
            read = SUBSET if branches else documents
            blocks = [name for name in names if "." in name] if analysis.beside_local else []
            alone = {name: local(twin, site(name).depth) for name in blocks}
            whole = Comparison(analysis, twin, CUMULATIVE, twin, names, read, branches, alone=alone)
            found.append(whole)
            depths = sorted({site(name).depth for name in names}) if analysis.local else []
            for depth in depths:
                here = tuple(name for name in names if site(name).depth == depth)
                branch = local(twin, depth)
                found.append(Comparison(analysis, twin, LOCAL, branch.name, here, SUBSET))
    return found


def local(twin: str, depth: int) -> ForwardRun:
    """One block of a twin on the reference's input."""
    name = f"{twin} block {depth} on the reference"
    return ForwardRun(name, twin, REFERENCE, depth, depth + 1, subset=True)


def with_interventions(analysis: Analysis, twin: str) -> dict[str, ForwardRun]:
    """Forks of the reference and of a twin with the edits that an analysis wants to see."""
    found = {}
    for who, base in (("reference", REFERENCE), ("twin", twin)):
        for name, intervention in analysis.interventions(who).items():
            branch = f"{base} with {name}"
            found[f"{who} {name}"] = ForwardRun(
                branch, base, base, intervention.start, subset=True, intervention=intervention
            )
    return found


def streams(wanted: Sequence[Comparison]) -> list[ForwardRun]:
    """The reference, every twin, a fork a block where local errors are asked for, and the forks
    with an edit."""
    found = {REFERENCE: ForwardRun(REFERENCE, REFERENCE)}
    for comparison in wanted:
        if comparison.item == LOCAL:
            branch = local(comparison.twin, site(comparison.sites[0]).depth)
            found.setdefault(branch.name, branch)
        else:
            own = ForwardRun(comparison.twin, comparison.twin, subset=comparison.floor)
            found.setdefault(comparison.twin, own)
            for branch in comparison.besides:
                found.setdefault(branch.name, branch)
    return list(found.values())
