"""What models wrote, on the page: how far a twin's text goes along with the reference's, what was
cut off, and the answers that flipped, side by side."""

from collections.abc import Iterator, Mapping, Sequence
from math import isinf

from bitlens.report.page.parts import (
    Column,
    Details,
    Part,
    Prose,
    SideBySide,
    Table,
    TextPair,
    WrittenText,
)
from bitlens.report.text.numbers import amount, plain, token
from bitlens.results.benchmarks.folder import Benchmarked
from bitlens.results.benchmarks.generations import (
    Divergence,
    Generation,
    divergence,
    endings,
    quantile,
)
from bitlens.results.counts import count
from bitlens.results.records import REFERENCE
from bitlens.results.stats.paired import Bounds

MOST = 12
"""Pairs of texts that are shown of a twin and benchmark."""
Question = tuple[str, int]
"""Task and number."""
_PARTING = ("samples", "the same", "10 % part by", "half part by", "90 % part by")
_ENDED = {
    "stop": "stopped at a stop string",
    "end": "ended by itself",
    "budget": "cut off by the budget of tokens",
}


def written_parts(found: Benchmarked, model: str) -> Iterator[Part]:
    """A table of how texts part, and the texts; nothing where none were written."""
    benchmarks = [b for b in found.benchmarks(model) if found.written(model, REFERENCE, b)]
    if not benchmarks:
        return
    partings = {
        (benchmark, twin): divergence(
            found.written(model, REFERENCE, benchmark), found.written(model, twin, benchmark)
        )
        for benchmark in benchmarks
        for twin in found.twins(model)
        if found.written(model, twin, benchmark)
    }
    yield _parting_table(found, model, partings)
    yield _ending_table(found, model, benchmarks)
    for benchmark in benchmarks:
        for twin in found.twins(model, control=False):
            if (benchmark, twin) in partings:
                yield from _texts(found, model, twin, benchmark)


def _parting_table(
    found: Benchmarked, model: str, partings: Mapping[tuple[str, str], Divergence]
) -> Table:
    controls = found.twins(model, control=True)
    rows = []
    for (benchmark, twin), of in partings.items():
        pairs = found.written(model, twin, benchmark)
        early, late = (_tokens(quantile(pairs, share)) for share in (0.1, 0.9))
        rows.append(
            (
                benchmark,
                f"{twin} (control)" if twin in controls else twin,
                f"{of.samples:,}",
                amount(_estimate(of.same), "share"),
                early,
                _median(of.parted),
                late,
                plain(of.tokens[0], 1),
                plain(of.tokens[1], 1),
                amount(_estimate(of.longer)),
            )
        )
    titles = [*_PARTING, "length, reference", "length, twin", "longer by"]
    return Table(
        (
            Column("benchmark"),
            Column("compression"),
            *(Column(title, numeric=True) for title in titles),
        ),
        tuple(rows),
        "Text that the models wrote by themselves, greedily. The same: share of texts that are the "
        "same token by token. Part by: tokens that a tenth, half and nine tenths of the texts went "
        "along with the reference before the first that differs; never: those do not part. "
        "Lengths: tokens of an answer, means. In brackets 95 % intervals, the question the unit; "
        "none below 20 questions.",
    )


def _ending_table(found: Benchmarked, model: str, benchmarks: Sequence[str]) -> Table:
    rows = []
    for benchmark in benchmarks:
        for who in (REFERENCE, *found.twins(model)):
            pairs = found.written(model, who, benchmark)
            if not pairs:
                continue
            right = {key: score >= 1 for key, score in _scores(found, model, who, benchmark)}
            ended = endings(pairs, right)
            cut = sum(one.ended == "budget" for one in pairs)
            rows.append((benchmark, who, *(str(n) for n in ended.values()), str(cut)))
    titles = ("right", "wrong", "cut off and not right", "no stop within the budget")
    return Table(
        (
            Column("benchmark"),
            Column("model"),
            *(Column(title, numeric=True) for title in titles),
        ),
        tuple(rows),
        "An answer that the budget of tokens cut off is not a wrong one: it was not finished.",
    )


def _texts(found: Benchmarked, model: str, twin: str, benchmark: str) -> Iterator[Part]:
    """Texts whose answers flipped; where none did, those that part first."""
    before = dict(_scores(found, model, REFERENCE, benchmark))
    after = dict(_scores(found, model, twin, benchmark))
    reference = {(g.task, g.doc): g for g in found.written(model, REFERENCE, benchmark)}
    own = {(g.task, g.doc): g for g in found.written(model, twin, benchmark)}
    flipped = [key for key in own if before[key] != after[key]]
    told = f"{twin} on {benchmark}: {count(len(flipped), 'answer')} flipped"
    note = "The first token that differs is marked."
    shown = flipped
    if not flipped:
        parting = [key for key, one in own.items() if one.shared is not None]
        if not parting:
            yield Prose(f"{told}, and no text differs.")
            return
        shown = sorted(parting, key=lambda key: (own[key].shared, key))[:3]
        note += " No answer flipped: these part first."
    elif len(flipped) > MOST:
        note += f" The first {MOST} of {len(flipped)}."
    pairs = tuple(
        _pair(reference[key], own[key], (before[key], after[key])) for key in shown[:MOST]
    )
    yield Details(f"{told}, side by side", (SideBySide(pairs, note),))


def _pair(reference: Generation, twin: Generation, scores: tuple[float, float]) -> TextPair:
    what = "lost" if scores[1] < scores[0] else "gained" if scores[1] > scores[0] else "as before"
    parted = "the same text"
    if twin.shared is not None:
        parted = f"parts after {count(twin.shared, 'token')}"
    return TextPair(
        title=f"{twin.task}, question {twin.doc}: {what}; {parted}",
        asked=reference.asked,
        reference=_written(reference, "reference", scores[0], twin.before, twin.reference_token),
        twin=_written(twin, twin.compression, scores[1], twin.before, twin.token),
    )


def _written(one: Generation, who: str, score: float, before: str, differing: str) -> WrittenText:
    note = "right" if score >= 1 else "wrong" if one.ended != "budget" else "not finished"
    if one.ran is not None and one.ran != "passed":
        note += f", {one.ran}"
    # A token of nothing to be seen ended the text, or was cut off with the stop string.
    there = one.text.startswith(before + differing)
    after = one.text[len(before) + len(differing) :] if there else ""
    if not there or not differing:
        differing = f"⟨{token(differing)}⟩" if differing else "⟨end⟩"
    else:
        # A line break alone could not be seen to be marked.
        differing = differing.replace("\n", "↵\n")
    ended = f"{count(one.tokens, 'token')}, {_ENDED[one.ended]}"
    return WrittenText(
        who=who, note=f"{note}; {ended}", before=before, token=differing, after=after
    )


def _scores(
    found: Benchmarked, model: str, who: str, benchmark: str
) -> Iterator[tuple[Question, float]]:
    """By question, the score by the benchmark's first metric."""
    metric = found.parts(benchmark)[0].metrics[0]
    for one in found.of(model, who, benchmark):
        if one.metric == metric:
            yield (one.task, one.doc), one.score


def _estimate(bounds: Bounds) -> dict[str, float | None]:
    return {"value": bounds.value, "low": bounds.low, "high": bounds.high}


def _median(bounds: Bounds | None) -> str:
    if bounds is None:
        return "never"
    if bounds.low is None or bounds.high is None:
        return _tokens(bounds.value)
    return f"{_tokens(bounds.value)} [{_tokens(bounds.low)}, {_tokens(bounds.high)}]"


def _tokens(value: float) -> str:
    return "never" if isinf(value) else plain(value, 0 if value == int(value) else 1)
