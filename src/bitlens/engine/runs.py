"""Forward runs: hidden states on their way through depth, and the weights each block uses."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass

from bitlens.engine.interventions import Intervention
from bitlens.errors import ModelError
from bitlens.models.sites import site

REFERENCE = "reference"
"""The name of the reference, as a model and as its run."""


@dataclass(frozen=True)
class ForwardRun:
    """Hidden states on their way through depth and the weights each block is to use."""

    name: str
    model: str
    """The twin (or `reference`) whose blocks it takes."""
    _: KW_ONLY
    parent: str | None = None
    """The run it branches off from; None: it starts at its model's embedding."""
    start: int = 0
    """The first block it runs itself."""
    stop: int | None = None
    """The block before which it ends; None: it goes on to the logits."""
    own_blocks: range | None = None
    """The blocks it takes from its model; None: all it runs."""
    base_model: str = REFERENCE
    """Where the other blocks come from."""
    subset: bool = False
    """True: runs on the seeded subset of the documents only."""
    interventions: tuple[Intervention, ...] = ()
    """What is put in the place of activations as it runs, each in turn: in its parent's states
    where it branches off, and in what it computes itself."""

    def model_at(self, depth: int) -> str:
        """The model whose block it runs at this depth."""
        own = self.own_blocks is None or depth in self.own_blocks
        return self.model if own else self.base_model

    def covers(self, depth: int) -> bool:
        """Whether it runs the block at this depth."""
        return self.start <= depth and (self.stop is None or depth < self.stop)

    def on_entry(self) -> tuple[Intervention, ...]:
        """Interventions on the states that it begins with."""
        return tuple(i for i in self.interventions if i.between and i.start == self.start)

    def inside(self, depth: int) -> tuple[Intervention, ...]:
        """Interventions on what a block works with."""
        return tuple(i for i in self.interventions if not i.between and i.start == depth)

    def after(self, depth: int) -> tuple[Intervention, ...]:
        """Interventions on what a block that it runs hands out."""
        return tuple(i for i in self.interventions if i.between and i.start == depth + 1)


@dataclass(frozen=True)
class SiteRequest:
    """The sites that are wanted of one run."""

    run: str
    sites: frozenset[str]
    documents: str
    """In batches of which documents."""


def in_groups(runs: Sequence[ForwardRun], depth: int) -> dict[str, list[ForwardRun]]:
    """Runs of a model of `depth` blocks in the order they go through each: by the twin they need,
    the reference's first. A branch of the reference that takes an activation from a twin's run
    goes with that twin; a run with blocks of two models goes by itself, because what is read of
    many such at once would not fit.

    BitlensError for an intervention that a run does not come to, and for one that takes from a run
    that is not there, comes later, or does not pass the site.
    """
    by_name = {run.name: run for run in runs}
    for run in runs:
        for intervention in run.interventions:
            _check_reached(run, intervention, depth)
            if intervention.source is not None:
                _check_source(run, intervention, by_name)
    _check_order(runs)
    groups: dict[str, list[ForwardRun]] = {REFERENCE: []}
    for run in runs:
        groups.setdefault(_group(run, by_name), []).append(run)
    _check_order([run for group in groups.values() for run in group])
    return groups


def models_of(run: ForwardRun, by_name: Mapping[str, ForwardRun]) -> frozenset[str]:
    """The models without which a run cannot go on: its own, and those of its parent and of runs
    that it takes activations from; `by_name`: all runs."""
    own = {run.model} if run.own_blocks is None else {run.model, run.base_model}
    others = [run.parent, *(i.source for i in run.interventions)]
    inherited = (models_of(by_name[name], by_name) for name in others if name is not None)
    return frozenset(own).union(*inherited)


def _check_order(runs: Sequence[ForwardRun]) -> None:
    before: set[str] = set()
    for run in runs:
        for source in [i.source for i in run.interventions if i.source is not None]:
            if source not in before:
                raise ModelError(
                    f"{run.name} takes an activation from {source}, which runs after it.",
                    "a run that comes before: the reference's, or one of an earlier twin.",
                    f"{source} before {run.name} among the runs.",
                )
        before.add(run.name)


def _group(run: ForwardRun, by_name: dict[str, ForwardRun]) -> str:
    if run.own_blocks is not None:
        return run.name
    if run.model != REFERENCE:
        return run.model
    models = [_group(by_name[i.source], by_name) for i in run.interventions if i.source is not None]
    return next((model for model in models if model != REFERENCE), REFERENCE)


def _check_reached(run: ForwardRun, intervention: Intervention, depth: int) -> None:
    place = site(intervention.site)
    if place.depth >= depth:
        raise ModelError(
            f"{run.name} has an intervention on {intervention.site}.",
            f"a block from 0 to {depth - 1}.",
            f"{place.kind}.{depth - 1}, the last.",
        )
    ends = run.stop is not None and intervention.start >= run.stop + intervention.between
    if intervention.start < run.start or ends:
        raise ModelError(
            f"{run.name} runs from block {run.start} on and has an intervention on "
            f"{intervention.site}.",
            "an intervention on what the run begins with or computes.",
            f"a branch that starts at block {intervention.start}.",
        )


def _check_source(
    run: ForwardRun, intervention: Intervention, by_name: dict[str, ForwardRun]
) -> None:
    source = by_name.get(intervention.source or "")
    branches_here = intervention.between and intervention.start == run.start
    depth = intervention.start if branches_here else site(intervention.site).depth
    if source is None or source is run or not source.covers(depth):
        raise ModelError(
            f"{run.name} takes {intervention.site} from {intervention.source}.",
            "another run of the same sweep that passes there.",
            f"one of {', '.join(name for name in by_name if name != run.name)}.",
        )
    if source.subset and not run.subset:
        raise ModelError(
            f"{run.name} runs on all documents and takes {intervention.site} from {source.name}, "
            "which runs on a subset.",
            "two runs on the same documents.",
            f"subset=True of {run.name}.",
        )
