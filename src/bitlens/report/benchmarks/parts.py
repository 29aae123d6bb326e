"""What a page shows of benchmarks: what was found, tables, and the margin of the right answer."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from bitlens.report.benchmarks.charts import margin_figure
from bitlens.report.benchmarks.generations import written_parts
from bitlens.report.benchmarks.sentences import percent, told, verdict_of
from bitlens.report.charts.palette import Mark
from bitlens.report.page.parts import Column, Details, Part, Prose, Statement, Table
from bitlens.report.text.numbers import margin, plain, points, probability
from bitlens.results.benchmarks.by_depth import partings
from bitlens.results.benchmarks.changes import category_losses, quarters, scores
from bitlens.results.benchmarks.folder import Benchmarked
from bitlens.results.benchmarks.records import Change
from bitlens.results.counts import count
from bitlens.results.records import FEWEST, REFERENCE
from bitlens.results.stats.paired import mcnemar

MOST = 4
"""Twins that the finding names."""
NOTHING = "nothing"
"""The control that is the reference again, asked in other batches."""
ALIKE = 0.9
"""A reference that answers so large a share of the questions alike does not read them."""


def parts_of(
    found: Benchmarked, model: str, drawn: Mapping[str, Mark], prefix: str = ""
) -> tuple[Part, ...]:
    """The benchmarks of one model, the finding first; nothing where it was asked none. `prefix`:
    what names of files begin with."""
    if model not in found.models or not found.benchmarks(model):
        return ()
    changes = whole_changes(found, model)
    parts: list[Part] = [*_found(found, changes), scores_table(found, model)]
    parts += _floor(found, model)
    parts += _beside_noise(found, model)
    if (figure := margin_figure(found, model, drawn, f"{prefix}benchmark-margins")) is not None:
        parts.append(figure)
    parts += _flips_by_depth(found, model)
    parts += written_parts(found, model)
    parts += _categories(found, model)
    if (table := _quarters(found, model)) is not None:
        parts.append(Details("Where the reference was unsure", (table,)))
    if (table := _by_task(found, model)) is not None:
        parts.append(Details("Task by task", (table,)))
    notes = map(Prose, found.about["notes"])
    parts.append(Details("What was asked", (_asked(found, model), *notes)))
    return tuple(parts)


def whole_changes(found: Benchmarked, model: str) -> list[Change]:
    """Of every twin, what it changed in each whole benchmark by its first metric."""
    return [
        change
        for benchmark in found.benchmarks(model)
        for twin in found.twins(model)
        if (change := found.change(model, twin, benchmark)) is not None
    ]


def _found(found: Benchmarked, changes: Sequence[Change]) -> Iterator[Statement]:
    """What is lost where questions carry a verdict; else how many it would take."""
    own = [change for change in changes if not change.control]
    lost = sorted(
        (change for change in own if verdict_of(change) == "loses"), key=lambda c: c.difference
    )
    if lost:
        what = " and ".join(dict.fromkeys(change.benchmark for change in lost))
        depth = _depth(found, lost[0])
        yield Statement(
            f"Compression costs right answers on {what}",
            f"{_sentences(lost)}{_by_casts(found, lost)}{depth}",
        )
    elif own:
        least = max(own, key=lambda change: change.needed or 0)
        gained = [change for change in own if verdict_of(change) == "gains"]
        if gained:
            what = " and ".join(dict.fromkeys(change.benchmark for change in gained))
            title = f"Right answers are gained on {what}, and none surely lost"
            own = [*gained, *(change for change in own if change not in gained)]
        elif all(c.chance is not None and c.recovery is None for c in own):
            title = "The reference is not surely above guessing: a twin has nothing to lose"
        elif any(c.needed is not None and c.needed <= c.questions for c in own):
            title = "No benchmark shows a sure change"
        elif least.needed is None:
            title = "No score moved"
        else:
            title = "No benchmark has questions enough for a verdict"
        yield Statement(title, _sentences(own))


def _by_casts(found: Benchmarked, lost: Sequence[Change]) -> str:
    """What a cast by itself does to the benchmarks of the finding."""
    model = lost[0].model
    said = [
        f"{cast} by itself: {change.lost} lost, {change.gained} gained on {benchmark}"
        for benchmark in dict.fromkeys(change.benchmark for change in lost)
        for cast in found.twins(model, control=True)
        if cast.startswith("cast:") and (change := found.change(model, cast, benchmark)) is not None
    ]
    return f" {'; '.join(said)}." if said else ""


def _depth(found: Benchmarked, change: Change) -> str:
    """At which block more of a twin's answers part from the reference's than at any other; nothing
    of fewer than 20 that differ, and where two blocks have as many."""
    own, other = (
        found.depths_of(change.model, who, change.benchmark)
        for who in (REFERENCE, change.compression)
    )
    seen = partings(own, other)
    (block, often), *others = seen.most_common(2) or [(0, 0)]
    if seen.total() < FEWEST or (others and others[0][1] == often):
        return ""
    return (
        f" Of the {count(seen.total(), 'answer')} that {change.compression} gives differently, "
        f"more part from the reference's at block {block} than at any other: {often}."
    )


def _sentences(changes: Sequence[Change]) -> str:
    shown = [f"{change.compression} {told(change)}" for change in changes[:MOST]]
    more = len(changes) - len(shown)
    rest = f" And {more} more in the table." if more > 0 else ""
    return f"{'; '.join(shown)}.{rest}"


def scores_table(found: Benchmarked, model: str) -> Table:
    """A row a benchmark and twin, controls after the compressions."""
    rows = tuple(
        (change.benchmark, _named(change), *_numbers(change))
        for change in whole_changes(found, model)
    )
    return Table(
        (Column("benchmark"), Column("compression"), *_COLUMNS),
        rows,
        "Change: twin minus reference on the same questions, in points, with its paired 95 % "
        "interval (the question is the unit). Lost: right in the reference only; gained: in the "
        "twin only (of scores that are shares: lower, higher); other wrong: both wrong, with "
        "different answers. p: McNemar's exact test; a verdict asks q, which is p corrected over "
        "all twins and benchmarks (Benjamini and Hochberg). "
        "Shows: the smallest change that so many questions show four times in five. Recovery: what "
        "is left of the reference's score above chance. Each p is of its row alone.",
    )


_COLUMNS = tuple(
    Column(title, numeric=True)
    for title in (
        "questions",
        "reference",
        "twin",
        "change",
        "lost",
        "gained",
        "other wrong",
        "p",
        "shows",
        "recovery",
    )
)


def _named(change: Change) -> str:
    return f"{change.compression} (control)" if change.control else change.compression


def _numbers(change: Change) -> tuple[str, ...]:
    moved = {"value": change.difference, "low": change.low, "high": change.high}
    left = {
        "value": change.recovery,
        "low": change.recovery_low,
        "high": change.recovery_high,
        "reason": change.reason,
    }
    return (
        f"{change.questions:,}",
        percent(change.reference),
        percent(change.score),
        points(moved).replace(" points", ""),
        str(change.lost),
        str(change.gained),
        str(change.changed_wrong),
        probability(change.p),
        plain(100 * change.detectable, 1),
        "–" if change.recovery is None else margin(left, "share"),
    )


def _floor(found: Benchmarked, model: str) -> Iterator[Prose]:
    """What a cast and other batches flip by themselves, and what guessing would give."""
    casts = [
        twin for twin in found.twins(model, control=True) if twin.startswith(("cast:", NOTHING))
    ]
    for benchmark in found.benchmarks(model):
        changes = [c for c in (found.change(model, cast, benchmark) for cast in casts) if c]
        said = [
            f"{_harmless(change.compression)} changes {change.changed} of {change.questions:,} "
            f"answers and flips {change.lost + change.gained} by itself"
            for change in changes
        ]
        floor = "; ".join(said) or "no cast was run, so what rounding alone flips is not known"
        told = (_chance(found, model, benchmark), _alike(found, model, benchmark))
        yield Prose(f"{benchmark}, floor: {floor}.{''.join(told)}")


def _harmless(control: str) -> str:
    """What a control does that should change no answer."""
    return "the reference in other batches" if control == NOTHING else control


def _chance(found: Benchmarked, model: str, benchmark: str) -> str:
    change = next((c for c in whole_changes(found, model) if c.benchmark == benchmark), None)
    if change is None or change.chance is None:
        return ""
    chance = percent(change.chance)
    if change.recovery is None:
        return (
            f" Guessing gives {chance}; the reference's {percent(change.reference)} are not surely "
            "more, so there is nothing yet that a twin could lose."
        )
    return f" Guessing gives {chance}."


def _beside_noise(found: Benchmarked, model: str) -> Iterator[Part]:
    """Does a twin lose more than weight noise of its size does?"""
    rows = []
    controls = found.twins(model, control=True)
    for benchmark in found.benchmarks(model):
        metric = found.parts(benchmark)[0].metrics[0]
        for twin in found.twins(model, control=False):
            noise = f"noise:like=[{twin}]"
            if noise not in controls:
                continue
            own, other = (
                scores(found.of(model, who, benchmark), metric).score for who in (twin, noise)
            )
            if not len(own) or len(own) != len(other):
                continue
            worse, better = int((own < other).sum()), int((own > other).sum())
            means = [percent(float(of.mean())) for of in (own, other)]
            p = probability(mcnemar(worse, better))
            rows.append((benchmark, twin, *means, str(worse), str(better), p))
    if rows:
        titles = ("twin", "noise", "only noise right", "only twin right", "p")
        yield Table(
            (
                Column("benchmark"),
                Column("compression"),
                *(Column(title, numeric=True) for title in titles),
            ),
            tuple(rows),
            "Each twin beside weight noise of the same size, question by question. p: McNemar's "
            "exact test; a large one says that nothing tells the compression from noise here.",
        )


def _alike(found: Benchmarked, model: str, benchmark: str) -> str:
    """What a reference that hardly reads the question answers."""
    metric = found.parts(benchmark)[0].metrics[0]
    own = found.of(model, REFERENCE, benchmark)
    answers = Counter(one.answer for one in own if one.metric == metric)
    (answer, often), *_ = answers.most_common(1)
    total = answers.total()
    if often < ALIKE * total or len({one.target for one in own}) < 2:
        return ""
    return (
        f" The reference answers {answer} to {often} of {total:,}: it hardly reads the questions, "
        "and what flips says how steady its habit is."
    )


def _flips_by_depth(found: Benchmarked, model: str) -> Iterator[Part]:
    """From which block on answers that differ in the end were different."""
    rows = []
    for benchmark in found.benchmarks(model):
        of = {
            who: found.depths_of(model, who, benchmark) for who in (REFERENCE, *found.twins(model))
        }
        for twin in found.twins(model):
            seen: Counter[int] = partings(of[REFERENCE], of[twin])
            if of[twin]:
                rows.append((benchmark, twin, seen))
    # Of many blocks most columns would be empty.
    shown = sorted({block for *_, seen in rows for block in seen if seen[block]})
    if not shown:
        return
    yield Table(
        (
            Column("benchmark"),
            Column("compression"),
            Column("answers that differ", numeric=True),
            *(Column(f"from {block}", numeric=True) for block in shown),
        ),
        tuple(
            (
                benchmark,
                twin,
                str(seen.total()),
                *(str(seen[block] or "") for block in shown),
            )
            for benchmark, twin, seen in rows
        ),
        "Of the questions that a twin answers differently in the end, how many by the block from "
        "which on it chooses differently: the depth at which the answer flips.",
    )


def _categories(found: Benchmarked, model: str) -> Iterator[Part]:
    losses = [one for one in category_losses(found.tasks, found.outcomes) if one.model == model]
    if not losses:
        return
    names = list(dict.fromkeys(name for one in losses for name, *_ in one.categories))
    rows = []
    for one in losses:
        known = {name: (n, change) for name, n, change in one.categories}
        cells = [
            f"{plain(100 * known[name][1], 1)} ({known[name][0]:,})" if name in known else "–"
            for name in names
        ]
        rows.append((one.compression, *cells, probability(one.p)))
    yield Table(
        (
            Column("compression"),
            *(Column(name, numeric=True) for name in names),
            Column("p", numeric=True),
        ),
        tuple(rows),
        "Is the loss larger in one category than in another? Change of the score in points, with "
        "the number of questions; p: how likely so unequal losses are if the category does not "
        "matter (questions dealt out anew 9,999 times).",
    )


def _quarters(found: Benchmarked, model: str) -> Table | None:
    rows = []
    for benchmark in found.benchmarks(model):
        metric = found.parts(benchmark)[0].metrics[0]
        reference = found.of(model, REFERENCE, benchmark)
        for twin in found.twins(model):
            own = found.of(model, twin, benchmark)
            for number, q in enumerate(quarters(reference, own, metric), 1):
                lead = f"{plain(q.low, 2)} to {plain(q.high, 2)}"
                counts = (q.questions, q.changed, q.flipped)
                rows.append((benchmark, twin, str(number), lead, *map(str, counts)))
    if not rows:
        return None
    titles = ("quarter", "lead, nats", "questions", "other answer", "flipped")
    return Table(
        (
            Column("benchmark"),
            Column("compression"),
            *(Column(title, numeric=True) for title in titles),
        ),
        tuple(rows),
        "Questions in four equal parts by how far the reference's answer leads its second: where "
        "it leads little, an answer changes easily.",
    )


def _by_task(found: Benchmarked, model: str) -> Table | None:
    rows = tuple(
        (change.task, _named(change), *_numbers(change))
        for change in found.changes
        if change.model == model
        and change.task
        and change.metric == found.parts(change.benchmark)[0].metrics[0]
    )
    return Table((Column("task"), Column("compression"), *_COLUMNS), rows) if rows else None


def _asked(found: Benchmarked, model: str) -> Table:
    rows = tuple(
        (t.benchmark, t.task, t.version, t.category, t.kind, f"{t.questions:,}", str(t.shots))
        for benchmark in found.benchmarks(model)
        for t in found.parts(benchmark)
    )
    titles = ("benchmark", "task", "version", "category", "answered by")
    return Table(
        (
            *(Column(title) for title in titles),
            Column("questions", numeric=True),
            Column("shots", numeric=True),
        ),
        rows,
        "Tasks as lm-evaluation-harness has them, by name and version; what is otherwise is noted.",
    )
