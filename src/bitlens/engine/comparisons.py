"""Which streams does an analysis compare, where, and on which documents?"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from bitlens.engine.analysis import Analysis
from bitlens.engine.plan import CORPUS, SUBSET
from bitlens.engine.sweep import REFERENCE, Stream
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
    forks: Mapping[str, Stream] = field(default_factory=dict)
    """Forks with an edit that it reads besides, by whose they are and the name of the edit."""
    floor: bool = False
    """Whether it measures the compute floor: its stream runs on the subset only."""
    alone: Mapping[str, Stream] = field(default_factory=dict)
    """By site, the twin's block on the reference's input, where it is read besides."""

    @property
    def streams(self) -> tuple[str, str]:
        return REFERENCE, self.stream

    @property
    def besides(self) -> tuple[Stream, ...]:
        return (*self.forks.values(), *self.alone.values())

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
            forks = edited(analysis, twin)
            read = SUBSET if forks else documents
            blocks = [name for name in names if "." in name] if analysis.beside_local else []
            alone = {name: local(twin, site(name).depth) for name in blocks}
            whole = Comparison(analysis, twin, CUMULATIVE, twin, names, read, forks, alone=alone)
            found.append(whole)
            depths = sorted({site(name).depth for name in names}) if analysis.local else []
            for depth in depths:
                here = tuple(name for name in names if site(name).depth == depth)
                fork = local(twin, depth)
                found.append(Comparison(analysis, twin, LOCAL, fork.name, here, SUBSET))
    return found


def local(twin: str, depth: int) -> Stream:
    """One block of a twin on the reference's input."""
    name = f"{twin} block {depth} on the reference"
    return Stream(name, twin, REFERENCE, depth, depth + 1, subset=True)


def edited(analysis: Analysis, twin: str) -> dict[str, Stream]:
    """Forks of the reference and of a twin with the edits that an analysis wants to see."""
    found = {}
    for who, base in (("reference", REFERENCE), ("twin", twin)):
        for name, edit in analysis.edits(who).items():
            fork = f"{base} with {name}"
            found[f"{who} {name}"] = Stream(fork, base, base, edit.start, subset=True, edit=edit)
    return found


def streams(wanted: Sequence[Comparison]) -> list[Stream]:
    """The reference, every twin, a fork a block where local errors are asked for, and the forks
    with an edit."""
    found = {REFERENCE: Stream(REFERENCE, REFERENCE)}
    for comparison in wanted:
        if comparison.item == LOCAL:
            fork = local(comparison.twin, site(comparison.sites[0]).depth)
            found.setdefault(fork.name, fork)
        else:
            own = Stream(comparison.twin, comparison.twin, subset=comparison.floor)
            found.setdefault(comparison.twin, own)
            for fork in comparison.besides:
                found.setdefault(fork.name, fork)
    return list(found.values())
