"""Laws that every registered analysis obeys, whatever it asks."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from bitlens.analyses import ANALYSES, Analysis
from bitlens.analyses.analysis import Outcome, Sample
from bitlens.plan import Plan
from bitlens.readings import Pair, Positions, Reading
from bitlens.records import Metric, Value
from bitlens.stats.replicates import leave_one_out
from bitlens.sweep import REFERENCE
from bitlens.tally import Tally

each_analysis = pytest.mark.parametrize("name", list(ANALYSES))

LENGTHS = [24] * 25 + [17] * 4 + [9, 6, 5, 3, 2, 2]
TOLERANCE = 1e-6
Key = tuple[str, str]


@cache
def plan() -> Plan:
    """Text that the model predicts well, in documents of many lengths."""
    return tiny.plan(tiny.spoken(tiny.speaker(), LENGTHS), batch_tokens=150)


@cache
def pairs(name: str, compression: str) -> dict[str, list[Pair]]:
    """What the analysis looks at, batch by batch, at each of its sites."""
    layout, analysis, made = tiny.speaker(), ANALYSES[name](), plan()
    twins = {"twin": tiny.twin(layout, compression)}
    swept = tiny.sweep(layout, made.batches, analysis.sites(layout), twins)
    found: dict[str, list[Pair]] = {}
    for step in tiny.steps(swept):
        for site in step.readings.get("twin", ()):
            if site == "final":
                continue
            both = [step.readings[stream][site] for stream in (REFERENCE, "twin")]
            if site != "logits":
                both = [values.flatten(0, 1)[step.index] for values in both]
            at = made.positions_of(step.batch, step.index, subset=False)
            if len(at):
                readings = [Reading(values.float()) for values in both]
                limits = made.all.thresholds
                mine = {k: t for (p, k), t in limits.items() if p == (site == "logits")}
                found.setdefault(site, []).append(Pair(site, "cumulative", *readings, at, mine))
    return found


def cases(name: str, compression: str = "rtn:bits=3") -> Iterator[list[Pair]]:
    yield from pairs(name, compression).values()


def joined(parts: list[Pair], order: torch.Tensor | None = None) -> Pair:
    """One pair of several, its positions in another order where one is given."""
    pick = torch.arange(sum(len(p.positions) for p in parts)) if order is None else order

    def together(values: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat(values)[pick]

    at = [p.positions for p in parts]
    fields = ("document", "shard", "offset", "target", "key")
    columns = {f: together([getattr(p, f) for p in at]) for f in fields}
    return replace(
        parts[0],
        reference=Reading(together([p.reference.values for p in parts])),
        twin=Reading(together([p.twin.values for p in parts])),
        positions=Positions(shards=at[0].shards, **columns),
    )


def tallied(analysis: Analysis, parts: list[Pair]) -> Tally:
    whole = Tally()
    for part in parts:
        whole.add(analysis.tally(part))
    return whole


def finished(analysis: Analysis, parts: list[Pair], tally: Tally | None = None) -> list[Outcome]:
    """The outcomes of some pairs with leave-one-shard-out replicates."""
    whole = joined(parts)
    key, shard = whole.positions.key, whole.positions.shard
    first = torch.argsort(key)[: analysis.sample]
    samples = [Sample(r.values[first].numpy(), shard[first].numpy()) for r in readings(whole)]
    occupied = np.bincount(shard.numpy(), minlength=whole.positions.shards) > 0
    tally = tally or tallied(analysis, parts)
    return analysis.finish(tally.totals(leave_one_out(occupied)), *samples)


def readings(pair: Pair) -> tuple[Reading, Reading]:
    return pair.reference, pair.twin


def by_name(outcomes: list[Outcome]) -> dict[Key, Outcome]:
    found = {(o.metric, o.item): o for o in outcomes}
    assert len(found) == len(outcomes)
    return found


def metric_of(analysis: Analysis, name: str) -> Metric:
    return next(m for m in analysis.metrics if m.name == name)


def close(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], tolerance: float) -> bool:
    return a.keys() == b.keys() and all(
        torch.allclose(v.double(), b[k].double(), rtol=tolerance, atol=tolerance)
        for k, v in a.items()
    )


@each_analysis
def test_every_metric_is_answered(name: str) -> None:
    """Each metric comes out at each site, and nothing else does: a finite number with its
    replicates, or a reason."""
    analysis = ANALYSES[name]()
    for parts in cases(name):
        outcomes = by_name(finished(analysis, parts))
        assert {metric for metric, _ in outcomes} == {m.name for m in analysis.metrics}
        replicates = len(torch.cat([p.positions.shard for p in parts]).unique()) + 1
        for (metric, _), outcome in outcomes.items():
            assert (outcome.values is None) == bool(outcome.reason)
            if outcome.values is not None:
                assert np.isfinite(outcome.values).all()
                interval = metric_of(analysis, metric).interval
                assert len(outcome.values) == (replicates if interval else 1)


@each_analysis
def test_a_model_against_itself_is_intact(name: str) -> None:
    """Every change metric has its intact value, to a millionth, or says why it has none."""
    analysis = ANALYSES[name]()
    for parts in cases(name):
        same = [replace(part, twin=part.reference) for part in parts]
        for outcome in finished(analysis, same):
            metric = metric_of(analysis, outcome.metric)
            if metric.level:
                continue
            if metric.intact is None:
                assert outcome.values is None and outcome.reason
            else:
                assert outcome.values is not None
                assert np.abs(outcome.values - metric.intact).max() <= TOLERANCE, metric.name


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> dict[tiny.ValueKey, Value]:
    """A whole measurement of an unchanged twin and of twins of 2, 4 and 8 bits."""
    twins = {"nothing": "nothing", **{str(b): f"rtn:bits={b}" for b in (2, 4, 8)}}
    folder = tmp_path_factory.mktemp("audit")
    return tiny.values(tiny.measurement(tiny.speaker(), twins, plan(), folder))


@each_analysis
def test_an_unchanged_twin_is_intact_from_end_to_end(
    name: str, audit: dict[tiny.ValueKey, Value]
) -> None:
    """The same through sweep, plan and tallies, cumulative and local, replicates included."""
    analysis = ANALYSES[name]()
    mine = {k: v for k, v in audit.items() if k[0] == name and k[1] == "nothing"}
    assert {k[4] for k in mine} == {m.name for m in analysis.metrics}
    for value in mine.values():
        metric = metric_of(analysis, value.metric)
        if metric.level:
            continue
        if metric.intact is None:
            assert value.value is None and value.reason
        else:
            numbers = np.array([value.value, *value.replicates])
            assert np.abs(numbers - metric.intact).max() <= TOLERANCE


@each_analysis
def test_two_bits_move_every_metric(name: str, audit: dict[tiny.ValueKey, Value]) -> None:
    """At every site a two-bit twin is worse than intact by far more than rounding; where a
    metric has no intact value, worse than the eight-bit twin; where it has no worse, elsewhere."""
    analysis = ANALYSES[name]()
    for (_, _, item, site, _), value in audit.items():
        key = (name, "2", item, site, value.metric)
        if value is not audit.get(key):
            continue
        metric = metric_of(analysis, value.metric)
        if metric.level and item == "reference":
            continue
        eight = audit[(name, "8", item, site, value.metric)]
        before = metric.intact if metric.intact is not None else eight.value
        assert value.value is not None and before is not None
        moved = value.value - before
        scale = 1e-3 * max(1.0, abs(before))
        if metric.worse is None:
            assert moved != 0, key
        else:
            assert moved * (1 if metric.worse == "higher" else -1) > scale, key


@each_analysis
def test_more_bits_are_never_worse(name: str, audit: dict[tiny.ValueKey, Value]) -> None:
    """Eight bits against four against two; no theorem, but so on this model."""
    analysis = ANALYSES[name]()
    tried = 0
    for key, two in audit.items():
        metric = metric_of(analysis, key[4]) if key[0] == name and key[1] == "2" else None
        if metric is None or metric.worse is None or (metric.level and key[2] == "reference"):
            continue
        sign = 1 if metric.worse == "higher" else -1
        four, eight = (audit[(name, bits, *key[2:])] for bits in ("4", "8"))
        numbers = [sign * v.value for v in (two, four, eight) if v.value is not None]
        assert len(numbers) == 3 and numbers == sorted(numbers, reverse=True), key
        tried += 1
    assert tried


def beyond(metric: Metric, positions: int, sample: int) -> bool:
    """Whether a sample is too small to tell this metric's chance: extremes, far percentiles."""
    edge = 0 if metric.quantile is None else min(metric.quantile, 1 - metric.quantile)
    return not metric.interval or 0 < edge < 1 / min(positions, sample)


@each_analysis
def test_shuffled_tokens_give_chance(name: str, audit: dict[tiny.ValueKey, Value]) -> None:
    """Reference and twin read at positions that have nothing to do with each other: the chance
    that is reported is what such mismatches give, within their own scatter."""
    analysis, draw = ANALYSES[name](), np.random.default_rng(0)
    for site, parts in pairs(name, "rtn:bits=4").items():
        whole = joined(parts)
        scattered: dict[Key, list[float]] = {}
        known: set[Key] = set()
        for _ in range(20):
            chosen = torch.from_numpy(draw.permutation(len(whole.positions))[: analysis.sample])
            here = joined([whole], chosen)
            mismatched = replace(here, twin=Reading(here.twin.values.roll(1, dims=0)))
            everything = {size: torch.iinfo(torch.int64).max for size in whole.thresholds}
            mismatched = replace(mismatched, thresholds=everything)
            for (metric, item), outcome in by_name(finished(analysis, [mismatched])).items():
                if outcome.chance is not None:
                    known.add((metric, item))
                elif outcome.values is not None and not metric_of(analysis, metric).level:
                    scattered.setdefault((metric, item), []).append(float(outcome.values[0]))
        assert scattered
        for (metric, item), numbers in scattered.items():
            item = item or ("cumulative" if analysis.local else "")
            chance = audit[(name, "4", item, site, metric)].chance
            if chance is None:
                assert beyond(metric_of(analysis, metric), len(whole.positions), analysis.sample)
                continue
            spread = np.std(numbers, ddof=1) * np.sqrt(1 + 1 / len(numbers))
            assert abs(chance - np.mean(numbers)) <= 5 * spread + 1e-6, (site, metric)


@each_analysis
def test_chance_is_not_intact(name: str, audit: dict[tiny.ValueKey, Value]) -> None:
    """What unrelated models give is far from what an unchanged one gives, or a score between the
    two would mean nothing."""
    analysis = ANALYSES[name]()
    for (owner, twin, *_), value in audit.items():
        metric = metric_of(analysis, value.metric) if owner == name and twin == "8" else None
        if metric and metric.intact is not None and metric.worse and value.value is not None:
            if value.chance is None:
                assert beyond(metric, plan().positions, analysis.sample)
                continue
            worse = (value.chance - metric.intact) * (1 if metric.worse == "higher" else -1)
            assert worse > 10 * abs(value.value - metric.intact) > 0, value


@each_analysis
def test_batches_do_not_matter(name: str) -> None:
    """One large batch, its positions in any order, or many small ones: the same sums, the same
    extremes, the same rows."""
    analysis = ANALYSES[name]()
    for parts in cases(name):
        whole = joined(parts)
        n = len(whole.positions)
        together = tallied(analysis, [whole]).tensors()
        order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
        assert close(tallied(analysis, [joined([whole], order)]).tensors(), together, 1e-4)
        pieces = [joined([whole], piece) for piece in order.split(37)]
        assert close(tallied(analysis, pieces).tensors(), together, 1e-4)
        assert close(tallied(analysis, parts).tensors(), together, 1e-4)
        found, expected = (
            by_name(finished(analysis, [whole], tally))
            for tally in (tallied(analysis, pieces), tallied(analysis, [whole]))
        )
        for key, outcome in found.items():
            if outcome.values is not None:
                assert np.allclose(outcome.values, expected[key].values, rtol=1e-4, atol=1e-6)


@each_analysis
def test_tallies_commute_and_associate(name: str) -> None:
    """In any order and grouping; nothing added changes nothing; what is added stays as it was."""
    analysis = ANALYSES[name]()
    for parts in cases(name):
        a, b, *rest = (analysis.tally(part) for part in parts)
        c = rest[0]
        before = a.tensors()

        def merged(*tallies: Tally) -> Tally:
            whole = Tally()
            for tally in tallies:
                whole.add(tally)
            return whole

        left = merged(merged(a, b), c).tensors()
        assert close(left, merged(a, merged(b, c)).tensors(), 1e-12)
        assert close(left, merged(c, b, a).tensors(), 1e-12)
        assert close(merged(Tally(), a, Tally()).tensors(), before, 0)
        assert close(a.tensors(), before, 0)


@each_analysis
def test_tallies_survive_a_file(name: str, tmp_path: Path) -> None:
    """Written in the middle and read back, the outcome is to the last digit the same."""
    analysis = ANALYSES[name]()
    for site, parts in pairs(name, "rtn:bits=3").items():
        half = tallied(analysis, parts[:2])
        save_file(half.tensors(), tmp_path / site)
        again = Tally.from_tensors(load_file(tmp_path / site))
        for part in parts[2:]:
            again.add(analysis.tally(part))
        found = by_name(finished(analysis, parts, again))
        for key, outcome in by_name(finished(analysis, parts)).items():
            assert np.array_equal(outcome.values, found[key].values)


@each_analysis
def test_readings_are_left_as_they_were(name: str) -> None:
    """One stream's reading serves many twins and analyses: none may write into it."""
    analysis = ANALYSES[name]()
    for parts in cases(name):
        before = [[r.values.clone() for r in readings(part)] for part in parts]
        tallied(analysis, parts)
        for part, kept in zip(parts, before, strict=True):
            for reading, values in zip(readings(part), kept, strict=True):
                assert torch.equal(reading.values, values)


@each_analysis
def test_replicates_leave_out_whole_documents(name: str, tmp_path: Path) -> None:
    """Each replicate is the value of a measurement that never saw the documents of one shard."""
    layout = tiny.layout("llama")
    corpus = tiny.corpus([[12], [12, 5], [9], [12], [7, 12]], seed=3)
    analysis = ANALYSES[name]()
    whole = tiny.plan(corpus, [analysis])

    def run(made: Plan, folder: str) -> dict[tiny.ValueKey, Value]:
        twins = {"twin": "rtn:bits=3"}
        return tiny.values(tiny.measurement(layout, twins, made, tmp_path / folder, [analysis]))

    full = run(whole, "full")
    for document in range(5):
        rest = [d for d in range(5) if d != document]
        without = run(tiny.plan(corpus.select(rest), [analysis]), f"without {document}")
        shard = int(whole.all.shard[document])
        for key, value in full.items():
            if key[2] == "local" or not metric_of(analysis, key[4]).interval:
                continue
            assert len(value.replicates) == 5
            alone = without[key].value
            assert alone is not None
            if key[4] == "massive_share":
                continue  # Which dimensions are massive is asked of all documents.
            assert value.replicates[shard] == pytest.approx(alone, rel=2e-5, abs=1e-6), key
