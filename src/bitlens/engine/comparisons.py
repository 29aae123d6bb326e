"""Comparisons: which two runs an analysis compares, where, and on which documents."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bitlens.engine.analysis import (
    CUMULATIVE,
    LOCAL,
    TWIN,
    Analysis,
    Branch,
    BranchAnalysis,
    Item,
    ReadRequest,
)
from bitlens.engine.interventions import Intervention, taken
from bitlens.engine.plan import CORPUS, SUBSET
from bitlens.engine.runs import REFERENCE, ForwardRun, SiteRequest
from bitlens.models.sites import site


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The run of the reference beside one of a twin, read by one analysis."""

    analysis: Analysis
    twin: str
    request: ReadRequest
    run: str
    """The twin's."""
    documents: str
    """Which set of documents: the corpus, its subset, or the analysis' own."""
    default_item: str = ""
    """What a value is an item of, after what it says itself: `cumulative` or `local`, of an
    analysis that reads both."""
    branches: Mapping[str, ForwardRun] = field(default_factory=dict)
    """Runs with an intervention that it reads besides, by whose they are and their name."""
    alone: Mapping[str, ForwardRun] = field(default_factory=dict)
    """By site, the twin's block on the reference's input, where it is read besides."""
    floor: bool = False
    """Whether it measures the compute floor: its run is on the subset only."""
    fork: ForwardRun | None = None
    """The twin's run, where that is not simply the twin from its embedding to its logits."""

    def __post_init__(self) -> None:
        """Said before anything runs: whoever writes an analysis reads it."""
        if self.branches and not isinstance(self.analysis, BranchAnalysis):
            raise TypeError(f"{self.analysis.name} asks for branches and is no BranchAnalysis")

    @property
    def of_branches(self) -> BranchAnalysis:
        """The analysis, where it reads branches."""
        assert isinstance(self.analysis, BranchAnalysis)
        return self.analysis

    @property
    def item(self) -> Item:
        """What is compared: the twin as it runs, or each block on the reference's input."""
        return self.request.item

    @property
    def sites(self) -> tuple[str, ...]:
        """Where the two runs are compared."""
        return self.request.sites

    @property
    def reads_patterns(self) -> bool:
        """Whether attention patterns are among the sites."""
        return any(name.startswith("pattern.") for name in self.sites)

    @property
    def runs(self) -> tuple[str, str]:
        """The reference's and the twin's, by name."""
        return REFERENCE, self.run

    @property
    def besides(self) -> tuple[ForwardRun, ...]:
        """What it reads besides the two."""
        return (*self.branches.values(), *self.alone.values())

    @property
    def read(self) -> str:
        """The set of documents whose batches hold them."""
        return CORPUS if self.documents == SUBSET else self.documents

    @property
    def site_requests(self) -> list[SiteRequest]:
        """What is to be read of which run."""
        names = (*self.runs, *(run.name for run in self.besides))
        return [SiteRequest(name, frozenset(self.sites), self.read) for name in names]


def comparisons(
    analyses: Sequence[Analysis],
    twins: Sequence[str],
    reads: Mapping[str, Sequence[ReadRequest]],
    *,
    own: Collection[str] = (),
    floors: Collection[str] = (),
) -> list[Comparison]:
    """What is to be compared. `reads`: by analysis, what it reads (already narrowed by the
    user); `own`: the analyses that read documents of their own; `floors`: twins that measure the
    compute floor, of the outputs alone."""
    found = []
    for analysis in analyses:
        requests = reads[analysis.name]
        for twin in floors if analysis.outputs else ():
            found += [
                Comparison(
                    analysis=analysis,
                    twin=twin,
                    request=request,
                    run=twin,
                    documents=SUBSET,
                    floor=True,
                )
                for request in requests
            ]
        documents = analysis.name if analysis.name in own else CORPUS
        for twin in twins:
            found += _of_twin(analysis, twin, requests, documents)
    return found


def _of_twin(
    analysis: Analysis, twin: str, requests: Sequence[ReadRequest], documents: str
) -> list[Comparison]:
    labelled = any(request.item == LOCAL for request in requests)
    found = []
    for request in requests:
        item = request.item if labelled else ""
        if request.item == CUMULATIVE:
            branches = with_interventions(request, twin)
            blocks = [name for name in request.sites if "." in name and request.beside_local]
            found.append(
                Comparison(
                    analysis=analysis,
                    twin=twin,
                    request=request,
                    run=twin,
                    documents=SUBSET if branches else documents,
                    default_item=item,
                    branches=branches,
                    alone={name: local(twin, site(name).depth) for name in blocks},
                )
            )
            continue
        for depth in sorted({site(name).depth for name in request.sites}):
            here = tuple(name for name in request.sites if site(name).depth == depth)
            found.append(
                Comparison(
                    analysis=analysis,
                    twin=twin,
                    request=replace(request, sites=here),
                    run=local(twin, depth, request.given).name,
                    documents=SUBSET,
                    default_item=item,
                )
            )
    return found


def local(twin: str, depth: int, given: Sequence[str] = ()) -> ForwardRun:
    """One block of a twin on the reference's input, and on what the reference has at kinds of
    sites inside it."""
    besides = "".join(f" and its {kind}" for kind in given)
    sites = [f"{kind}.{depth}" for kind in given]
    return ForwardRun(
        f"{twin} block {depth} on the reference{besides}",
        twin,
        parent=REFERENCE,
        start=depth,
        stop=depth + 1,
        subset=True,
        interventions=tuple(Intervention(site=s, change=taken, source=REFERENCE) for s in sites),
    )


def with_interventions(request: ReadRequest, twin: str) -> dict[str, ForwardRun]:
    """Branches of the reference and of a twin that are read besides, by whose they are and their
    name; those of the reference are the same for every twin."""
    found = {}
    for branch in request.branches:
        base = REFERENCE if branch.model == "reference" else twin
        interventions, of_twin = _of_this(branch, twin)
        found[f"{branch.model} {branch.name}"] = ForwardRun(
            f"{base} with {branch.name}{of_twin}",
            base,
            parent=base,
            start=min(i.start for i in interventions),
            subset=True,
            interventions=interventions,
        )
    return found


def _of_this(branch: Branch, twin: str) -> tuple[tuple[Intervention, ...], str]:
    """A branch's interventions with the twin's run by its name, and what tells such a branch of
    the reference from that of another twin."""
    found = tuple(replace(i, source=twin) if i.source == TWIN else i for i in branch.interventions)
    return found, "" if found == branch.interventions else f" of {twin}"


def forward_runs(wanted: Sequence[Comparison]) -> list[ForwardRun]:
    """The reference, every twin, a branch a block where local errors are asked for, and the
    branches with an intervention."""
    found = {REFERENCE: ForwardRun(REFERENCE, REFERENCE)}
    for comparison in wanted:
        if comparison.item == LOCAL:
            depth = site(comparison.sites[0]).depth
            branch = local(comparison.twin, depth, comparison.request.given)
            found.setdefault(branch.name, branch)
        else:
            own = ForwardRun(comparison.twin, comparison.twin, subset=comparison.floor)
            found.setdefault(comparison.run, comparison.fork or own)
            for branch in comparison.besides:
                found.setdefault(branch.name, branch)
    return list(found.values())
