"""What twins changed in benchmarks, worked out of how every model did on every question."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bitlens.errors import ResultsError
from bitlens.results.benchmarks.records import BenchTask, Change, Outcome
from bitlens.results.records import FEWEST, REFERENCE
from bitlens.results.stats.multiple import false_discovery
from bitlens.results.stats.paired import (
    detectable,
    flip_rate,
    mcnemar,
    needed,
    paired_difference,
    recovered,
    structure,
)

Question = tuple[str, int]
"""Task and number."""
QUARTERS = 4


@dataclass(frozen=True, eq=False, kw_only=True)
class Scores:
    """How one model did on the questions of a benchmark, by one metric, in one order."""

    questions: Sequence[Question]
    score: NDArray[np.float64]
    """`[questions]`: the mean over its samples."""
    answers: Sequence[tuple[str, ...]]
    """One a sample."""
    prompts: Sequence[str]
    lead: NDArray[np.float64]
    """`[questions]`: by how much the chosen answer leads; NaN of generated text."""


def scores(outcomes: Sequence[Outcome], metric: str) -> Scores:
    """Of the outcomes of one model, those of this metric by question. Samples of a question are
    answers of one draw: together they are one unit."""
    by: dict[Question, list[Outcome]] = {}
    for one in outcomes:
        if one.metric == metric:
            by.setdefault((one.task, one.doc), []).append(one)
    order = sorted(by)
    return Scores(
        questions=order,
        score=np.array([np.mean([o.score for o in by[q]]) for q in order]),
        answers=[tuple(o.answer for o in sorted(by[q], key=lambda o: o.sample)) for q in order],
        prompts=[by[q][0].prompt_hash for q in order],
        lead=np.array([np.nan if (lead := by[q][0].lead) is None else lead for q in order]),
    )


def changes_of(
    tasks: Sequence[BenchTask], outcomes: Sequence[Outcome], controls: Collection[str] = ()
) -> list[Change]:
    """A row a twin, benchmark and metric, and one for each of its tasks where there are several.
    `controls`: compressions that are there to compare with. ResultsError where models were not
    asked the same."""
    by: dict[tuple[str, str], dict[str, list[Outcome]]] = {}
    for one in outcomes:
        by.setdefault((one.model, one.benchmark), {}).setdefault(one.compression, []).append(one)
    found: list[Change] = []
    for (model, benchmark), of in by.items():
        parts = [task for task in tasks if task.benchmark == benchmark]
        reference = of.get(REFERENCE, [])
        for compression, twin in of.items():
            if compression == REFERENCE:
                continue
            for own in _divisions(parts):
                name = own[0].task if len(own) < len(parts) else ""
                about: dict[str, object] = {"model": model, "compression": compression}
                about |= {"task": name, "control": compression in controls}
                inside = {task.task for task in own}
                pair = [[o for o in outs if o.task in inside] for outs in (reference, twin)]
                found += _changes(own, about, pair[0], pair[1])
    return _corrected(tasks, found)


def _corrected(tasks: Sequence[BenchTask], changes: Sequence[Change]) -> list[Change]:
    """The same, with what is spoken of corrected for how much there is of it."""
    first = {task.benchmark: task.metrics[0] for task in reversed(tasks)}
    found = list(changes)
    for model in dict.fromkeys(change.model for change in found):
        family = [
            n
            for n, change in enumerate(found)
            if change.model == model
            and not change.control
            and not change.task
            and change.metric == first[change.benchmark]
        ]
        for n, q in zip(family, false_discovery([found[n].p for n in family]), strict=True):
            found[n] = replace(found[n], q=q)
    return found


def _divisions(tasks: Sequence[BenchTask]) -> Iterator[Sequence[BenchTask]]:
    """All tasks of a benchmark; and each, where there are several."""
    yield tasks
    if len(tasks) > 1:
        yield from ([task] for task in tasks)


def _changes(
    tasks: Sequence[BenchTask],
    about: Mapping[str, object],
    reference: Sequence[Outcome],
    twin: Sequence[Outcome],
) -> Iterator[Change]:
    for metric in tasks[0].metrics:
        before, after = scores(reference, metric), scores(twin, metric)
        _refuse_unpaired(before, after, tasks[0].benchmark, str(about["compression"]))
        yield _change(tasks, about, metric, before, after)


def _refuse_unpaired(before: Scores, after: Scores, benchmark: str, compression: str) -> None:
    if before.questions == after.questions and before.prompts == after.prompts:
        return
    raise ResultsError(
        f"The reference and {compression} were not asked the same in {benchmark}: "
        f"{len(before.questions)} and {len(after.questions)} questions.",
        "the same questions with the same prompts.",
        "run the benchmark again for all of them.",
    )


def _change(
    tasks: Sequence[BenchTask],
    about: Mapping[str, object],
    metric: str,
    before: Scores,
    after: Scores,
) -> Change:
    n = len(before.score)
    lost, gained = int((after.score < before.score).sum()), int((after.score > before.score).sum())
    bounds = paired_difference(before.score, after.score)
    other = np.array([a != b for a, b in zip(before.answers, after.answers, strict=True)], bool)
    wrong = (before.score < 1) & (after.score < 1) & (before.score == after.score)
    rate = flip_rate(n, lost, gained)
    chance = _chance(tasks)
    left = None if chance is None else recovered(before.score, after.score, chance)
    return Change(
        model=str(about["model"]),
        compression=str(about["compression"]),
        control=bool(about["control"]),
        benchmark=tasks[0].benchmark,
        task=str(about["task"]),
        category=tasks[0].category,
        metric=metric,
        questions=n,
        reference=float(before.score.mean()),
        score=float(after.score.mean()),
        difference=bounds.value,
        low=bounds.low,
        high=bounds.high,
        lost=lost,
        gained=gained,
        changed_wrong=int((other & wrong).sum()),
        changed=int(other.sum()),
        p=mcnemar(lost, gained),
        detectable=detectable(n, rate),
        needed=needed(bounds.value, rate),
        recovery=None if left is None else left.value,
        recovery_low=None if left is None else left.low,
        recovery_high=None if left is None else left.high,
        chance=chance,
        reason=_reason(n, bounds.low, left is None, chance),
    )


def _reason(n: int, low: float | None, no_recovery: bool, chance: float | None) -> str | None:
    if n < FEWEST:
        return f"{n} questions are too few for an interval: it takes {FEWEST}"
    if low is None:
        return "no score differs: how far others would cannot be said"
    if no_recovery and chance is not None:
        return f"the reference is not surely above chance, {100 * chance:.0f} %"
    return None


def _chance(tasks: Sequence[BenchTask]) -> float | None:
    """The mean over questions; None where it is not known of one of the tasks."""
    known = [(task.chance, task.questions) for task in tasks if task.chance is not None]
    if len(known) < len(tasks):
        return None
    return sum(c * n for c, n in known) / sum(n for _, n in known)


@dataclass(frozen=True, kw_only=True)
class Quarter:
    """A quarter of the questions, by how far the reference's answer leads."""

    low: float
    high: float
    """Nats."""
    questions: int
    changed: int
    """With another answer than the reference's."""
    flipped: int
    """Right in one model only."""


def quarters(reference: Sequence[Outcome], twin: Sequence[Outcome], metric: str) -> list[Quarter]:
    """Where do answers change: where the reference was unsure? Its leads in four equal parts, the
    smallest first. Nothing where there are no leads, or fewer than four questions."""
    before, after = scores(reference, metric), scores(twin, metric)
    few = len(before.lead) < QUARTERS or before.questions != after.questions
    if few or np.isnan(before.lead).any():
        return []
    other = np.array([a != b for a, b in zip(before.answers, after.answers, strict=True)], bool)
    flipped = before.score != after.score
    return [
        Quarter(
            low=float(before.lead[part].min()),
            high=float(before.lead[part].max()),
            questions=len(part),
            changed=int(other[part].sum()),
            flipped=int(flipped[part].sum()),
        )
        for part in np.array_split(np.argsort(before.lead, kind="stable"), QUARTERS)
    ]


@dataclass(frozen=True, kw_only=True)
class CategoryLoss:
    """How the losses of a twin are spread over categories."""

    model: str
    compression: str
    categories: tuple[tuple[str, int, float], ...]
    """Category, questions, and mean change of the score."""
    p: float
    """How likely so unequal losses are where the category does not matter."""


def category_losses(tasks: Sequence[BenchTask], outcomes: Sequence[Outcome]) -> list[CategoryLoss]:
    """Of every twin with benchmarks of two categories or more, by the first metric of each."""
    category = {task.benchmark: task.category for task in tasks}
    metric = {task.benchmark: task.metrics[0] for task in tasks}
    by: dict[tuple[str, str], dict[str, list[Outcome]]] = {}
    for one in outcomes:
        of = by.setdefault((one.model, one.compression), {})
        of.setdefault(one.benchmark, []).append(one)
    names = sorted(set(category.values()))
    found = []
    for (model, compression), of in by.items():
        if compression == REFERENCE:
            continue
        moved, where = [], []
        for benchmark, outs in of.items():
            before = scores(by[(model, REFERENCE)][benchmark], metric[benchmark])
            moved.append(scores(outs, metric[benchmark]).score - before.score)
            where.append(np.full(len(moved[-1]), names.index(category[benchmark])))
        change, place = np.concatenate(moved), np.concatenate(where)
        p = structure(change, place)
        if p is None:
            continue
        seen = tuple(
            (name, int((place == n).sum()), float(change[place == n].mean()))
            for n, name in enumerate(names)
            if (place == n).any()
        )
        found.append(CategoryLoss(model=model, compression=compression, categories=seen, p=p))
    return found
