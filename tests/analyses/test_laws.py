"""Laws that every registered analysis obeys, whatever it asks."""

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import pad

from bitlens.analyses.features.analysis import Features
from bitlens.analyses.heads.analysis import KINDS
from bitlens.data.corpus import Corpus
from bitlens.data.labelled_corpus import renumbered
from bitlens.engine.accumulators import Accumulator, ReplicateState
from bitlens.engine.activations import ActivationPair, Activations, Positions
from bitlens.engine.analysis import Analysis, BranchAnalysis, ReadRequest, Sample
from bitlens.engine.comparisons import with_interventions
from bitlens.engine.plan import CORPUS, SUBSET, DocumentSet, Plan, TokenBatch
from bitlens.engine.runs import REFERENCE
from bitlens.models.layout import Layout
from bitlens.results.records import DetailTable, Metric, MetricResult, Value
from tests.support import tiny

each_analysis = pytest.mark.parametrize("name", tiny.SWEPT)

LENGTHS = [24] * 25 + [17] * 4 + [9, 6, 5, 3, 2, 2]
TOLERANCE = 1e-6
EVERYTHING = torch.iinfo(torch.int64).max
Key = tuple[str, str, str]
"""Metric, site and item."""
Values = dict[tiny.ValueKey, Value]


@pytest.fixture(scope="module", autouse=True)
def whoever_gains_copies() -> Iterator[None]:
    """Random weights hardly copy; the laws are of the share of what little they gain. Few
    documents are read by probes; the laws are of thresholds on few, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bitlens.analyses.heads.analysis.COPIES", 0.0)
        patch.setattr("bitlens.analyses.probes.analysis.FEWEST_NEGATIVES", 1)
        yield


@cache
def plan() -> Plan:
    """Text that the model predicts well, in documents of many lengths, and what the analyses
    read besides it."""
    return tiny.plan(tiny.spoken(tiny.speaker(), LENGTHS), batch_tokens=150)


def family(name: str) -> str:
    """Of the model that an analysis is tried on: a mixture of experts where it asks for routers."""
    return "qwen3_moe" if "routers" in tiny.analysis(name).requires else "llama"


def speaker(name: str) -> Layout:
    """That model."""
    return tiny.speaker(family(name))


def documents(name: str, made: Plan | None = None) -> str:
    """The set of documents that an analysis reads."""
    if request(name).branches:
        return SUBSET
    return name if name in (made or plan()).sets else CORPUS


def request(name: str) -> ReadRequest:
    """What an analysis reads of the twin as it runs."""
    return tiny.analysis(name).reads(speaker(name))[0]


def document_set(name: str) -> DocumentSet:
    return plan().sets[documents(name)]


@cache
def pairs(name: str, compression: str) -> dict[str, list[ActivationPair]]:
    """What the analysis looks at, batch by batch, at each of its sites; through a lens, at all
    blocks together."""
    layout, made = speaker(name), plan()
    sites, branches = request(name).sites, with_interventions(request(name), "twin")
    read = CORPUS if branches else documents(name)
    batches = [b for b in made.batches if b.documents == read and (b.subset or not branches)]
    twins = {"twin": tiny.twin(layout, compression)}
    swept = tiny.sweep(layout, batches, sites, twins, list(branches.values()), documents=read)
    found: dict[str, list[ActivationPair]] = {}
    path: dict[tuple[str, int], list[torch.Tensor]] = {}

    def add(
        site: str,
        batch: TokenBatch,
        index: torch.Tensor,
        both: list[Activations],
        others: dict[str, Activations] | None = None,
    ) -> None:
        at = made.positions_of(batch, index, documents(name))
        if len(at):

            def threshold(size: int) -> int:
                return document_set(name).threshold(size, predicting=site == "logits")

            analysis = tiny.analysis(name)
            reduced = {}
            if others:
                assert isinstance(analysis, BranchAnalysis)
                reduced = {w: analysis.reduce_branch(of, at, both[0]) for w, of in others.items()}
            pair = ActivationPair(
                site=site,
                item="cumulative",
                reference=both[0],
                twin=both[1],
                positions=at,
                threshold=threshold,
                branches=reduced,
            )
            found.setdefault(site, []).append(pair)

    for step in tiny.steps(swept):
        for site in step.activations.get("twin", ()):
            both = [step.activations[run][site] for run in (REFERENCE, "twin")]
            if site == "final":
                continue
            if request(name).through_unembedding:
                for run, states in zip((REFERENCE, "twin"), both, strict=True):
                    chosen = states.flatten(0, 1)[step.batch.logits_index]
                    path.setdefault((run, step.batch.number), []).append(chosen)
            elif site.startswith("pattern"):
                add(
                    site, step.batch, step.index, [Activations(v.float(), step.index) for v in both]
                )
            elif site == "logits":
                others = {
                    w: Activations(step.activations[f.name][site]) for w, f in branches.items()
                }
                add(site, step.batch, step.index, [Activations(v.float()) for v in both], others)
            else:
                chosen = [v.flatten(0, 1)[step.index] for v in both]
                add(site, step.batch, step.index, [Activations(v.float()) for v in chosen])
    for batch in batches if request(name).through_unembedding else ():
        seen = []
        for run in (REFERENCE, "twin"):
            states = torch.stack(path[(run, batch.number)], dim=1)
            with torch.no_grad():
                logits = swept.logits(run, states.flatten(0, 1))
            seen.append(Activations(logits.unflatten(0, states.shape[:2])))
        add("resid", batch, batch.logits_index, seen)
    return found


def cases(name: str, compression: str = "rtn:bits=3") -> Iterator[list[ActivationPair]]:
    yield from pairs(name, compression).values()


def rows(read: Activations) -> torch.Tensor:
    """What was read at each position, patterns as rows of their own: `[n, heads, 1, keys]`."""
    if read.index is None:
        return read.values
    queries = read.values.shape[2]
    return read.values[read.index // queries, :, read.index % queries].unsqueeze(2)


def activations_like(values: torch.Tensor, like: Activations) -> Activations:
    return Activations(values, None if like.index is None else torch.arange(len(values)))


def joined(parts: list[ActivationPair], order: torch.Tensor | None = None) -> ActivationPair:
    """One pair of several, its positions in another order where one is given."""
    pick = torch.arange(sum(len(p.positions) for p in parts)) if order is None else order

    def together(values: list[torch.Tensor]) -> torch.Tensor:
        width = max(v.shape[-1] for v in values) if values[0].ndim > 1 else 0
        return torch.cat([pad(v, (0, width - v.shape[-1])) if width else v for v in values])[pick]

    at = [p.positions for p in parts]
    columns = {
        f.name: together([getattr(p, f.name) for p in at])
        for f in fields(Positions)
        if f.name != "shards" and getattr(at[0], f.name) is not None
    }
    both = [
        activations_like(
            together([rows(activations(p)[k]) for p in parts]), activations(parts[0])[k]
        )
        for k in (0, 1)
    ]
    return replace(
        parts[0],
        reference=both[0],
        twin=both[1],
        branches={w: together([p.branches[w] for p in parts]) for w in parts[0].branches},
        positions=Positions(shards=at[0].shards, **columns),
    )


def accumulated(analysis: Analysis, parts: list[ActivationPair]) -> Accumulator:
    whole = Accumulator()
    for part in parts:
        whole.add(analysis.update(part))
    return whole


def state_of(
    analysis: Analysis, parts: list[ActivationPair], accumulator: Accumulator | None = None
) -> ReplicateState:
    weights = document_set(analysis.name).weights
    return (accumulator or accumulated(analysis, parts)).under(weights)


def finished(
    analysis: Analysis, parts: list[ActivationPair], accumulator: Accumulator | None = None
) -> dict[Key, MetricResult]:
    """The outcomes of some pairs of one site, under every replicate's weights."""
    whole = joined(parts)
    key, shard = whole.positions.key, whole.positions.shard
    first = torch.argsort(key)[: request(analysis.name).sample.most]
    samples = [Sample(r.values[first].numpy(), shard[first].numpy()) for r in activations(whole)]
    found = analysis.compute(state_of(analysis, parts, accumulator), *samples)
    return by_name(found, whole.site)


def answers(
    analysis: Analysis, by_site: dict[str, list[ActivationPair]]
) -> tuple[dict[Key, MetricResult], list[DetailTable]]:
    """Every outcome at every site, and what is said of all sites together."""
    found: dict[Key, MetricResult] = {}
    shown: list[DetailTable] = []
    state = {}
    for site, parts in by_site.items():
        found |= finished(analysis, parts)
        state[site] = state_of(analysis, parts)
    concluded = analysis.compute_overall(state, tiny.Words())
    shown += [o for o in concluded if isinstance(o, DetailTable)]
    of_all = by_name([o for o in concluded if isinstance(o, MetricResult)], "")
    assert not found.keys() & of_all.keys()
    return found | of_all, shown


def activations(pair: ActivationPair) -> tuple[Activations, Activations]:
    return pair.reference, pair.twin


def by_name(found: list[MetricResult | DetailTable], site: str) -> dict[Key, MetricResult]:
    outcomes = [o for o in found if isinstance(o, MetricResult)]
    named = {(o.metric, o.site or site, o.item): o for o in outcomes}
    assert len(named) == len(outcomes)
    return named


def has_none(name: str, reason: str | None) -> bool:
    """Whether a number is missing because a random model has no head that does anything, loses
    nothing by what takes the place of its activations, has nothing that a probe reads, or never is
    so sure of an expert."""
    nothing = {
        "heads": "the reference has no head",
        "transfer": "costs nothing here",
        "probes": "no better here than chance",
        "routing": "such a margin",
    }
    return reason is not None and name in nothing and nothing[name] in reason


def metric_of(analysis: Analysis, name: str) -> Metric:
    return next(m for m in analysis.metrics if m.name == name)


def close(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], tolerance: float) -> bool:
    return a.keys() == b.keys() and all(
        torch.allclose(v.double(), b[k].double(), rtol=tolerance, atol=tolerance)
        for k, v in a.items()
    )


@pytest.mark.slow
@each_analysis
def test_every_metric_is_answered(name: str) -> None:
    """Each metric comes out, at each site where nothing is said of all sites together, and
    nothing else does: a finite number with its replicates, or a reason."""
    analysis, by_site = tiny.analysis(name), pairs(name, "rtn:bits=3")
    found, _ = answers(analysis, by_site)
    metrics = {site: {m.name for m in analysis.metrics_at(site)} for site in by_site}
    assert {metric for metric, _, _ in found} == set.union(*metrics.values())
    if type(analysis).compute_overall is Analysis.compute_overall:
        for site in by_site:
            assert {metric for metric, where, _ in found if where == site} == metrics[site]
    shards = joined(next(iter(by_site.values()))).positions.shard.unique()
    # Those that are in every replicate are no replicate.
    fixed = int((document_set(name).weights == 1).all(axis=0).sum())
    replicates = len(shards) - fixed + 1
    for (metric, _, _), outcome in found.items():
        assert (outcome.values is None) == bool(outcome.reason)
        if outcome.values is not None:
            assert np.isfinite(outcome.values).all()
            interval = metric_of(analysis, metric).interval
            assert len(outcome.values) == (replicates if interval else 1)


@each_analysis
def test_a_model_against_itself_is_intact(name: str) -> None:
    """Every change metric has its intact value, to a millionth, or says why it has none."""
    analysis, tried = tiny.analysis(name), set()
    same = {
        site: [
            replace(
                p,
                twin=Activations(p.reference.values.clone(), p.reference.index),
                branches={
                    who: p.branches[who.replace("twin", "reference", 1)] for who in p.branches
                },
            )
            for p in parts
        ]
        for site, parts in pairs(name, "rtn:bits=3").items()
    }
    for (metric_name, _, _), outcome in answers(analysis, same)[0].items():
        metric = metric_of(analysis, metric_name)
        if metric.level:
            continue
        if metric.intact is None or has_none(name, outcome.reason):
            assert outcome.values is None
            assert outcome.reason
        else:
            assert outcome.values is not None, (metric_name, outcome.reason)
            assert np.abs(outcome.values - metric.intact).max() <= TOLERANCE, metric.name
            tried.add(metric.name)
    assert tried


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> dict[tiny.ValueKey, Value]:
    """A whole measurement of an unchanged twin and of twins of 2, 4 and 8 bits."""
    twins = {"nothing": "nothing", **{str(b): f"rtn:bits={b}" for b in (2, 4, 8)}}
    found: dict[tiny.ValueKey, Value] = {}
    for layout in {speaker(name) for name in tiny.SWEPT}:
        analyses = [tiny.analysis(name) for name in tiny.SWEPT if speaker(name) is layout]
        folder = tmp_path_factory.mktemp("audit")
        found |= tiny.values(tiny.measurement(layout, twins, plan(), folder, analyses))
    return found


def left_alone(name: str, site: str, item: str) -> bool:
    """Whether these are a router's own weights, which no compression touches."""
    return name == "routing" and site.startswith("router.") and item.endswith("local")


def sampled(name: str, site: str, item: str) -> bool:
    """Whether positions are kept at a site, to tell what chance gives there."""
    requests = tiny.analysis(name).reads(speaker(name))
    here = [r for r in requests if site in r.sites and (len(requests) == 1 or r.item in item)]
    return any(r.sample.most for r in here) or not here


@each_analysis
def test_an_unchanged_twin_is_intact_from_end_to_end(
    name: str, audit: dict[tiny.ValueKey, Value]
) -> None:
    """The same through sweep, plan and accumulators, cumulative and local, replicates included."""
    analysis = tiny.analysis(name)
    mine = {k: v for k, v in audit.items() if k[0] == name and k[1] == "nothing"}
    assert {k[4] for k in mine} == {m.name for m in analysis.metrics}
    for value in mine.values():
        metric = metric_of(analysis, value.metric)
        if metric.level:
            continue
        if metric.intact is None or has_none(name, value.reason):
            assert value.value is None
            assert value.reason
        else:
            numbers = np.array([value.value, *value.replicates])
            assert np.abs(numbers - metric.intact).max() <= TOLERANCE, metric.name


EITHER_WAY = {
    "heads": {"induction_change", "previous_change", "duplicate_change", "copying_kept"},
    "lens": {"target_change", "first_correct_shift"},
    "features": {"fvu_ratio"},
    "transfer": {"recovered_difference", "added_difference"},
    "probes": {"lost", "lost_by_rotation", "lost_as_information"}
    | {"false_positive_change", "detected_change"},
    "routing": {"load_tv", "shift_rate"},
}
"""Metrics by analysis that say which way is damage, and yet may go the other way where there is
nothing to lose: heads of a random model do nothing, its early blocks know no next token, and an
SAE of random directions explains neither model, nor does splicing it in help either. Few
tokens have a margin of one class, and how many an expert gets may change back and forth."""
MAY_STAY = {
    "features": {"degraded", "undecided", "twin_only"},
    "heads": {f"{kind}_kept_10" for kind in KINDS},
    "lens": {"final_rank"},
    "probes": {m.name for m in tiny.analysis("probes").metrics} - {"direction_cosine"},
}
"""And those that may not move at all: shares of features between survived and damaged, of which
two bits leave none, and of new ones, of which there may be none; heads above a threshold that is
hardly more than chance; the rank of the final token at the last block, which is always the
first; how few documents are ranked, which no error need change."""


DIRECTED = [name for name in tiny.SWEPT if name != "transfer"]
"""Without the one of which every change may go either way and chance is not known."""
each_directed = pytest.mark.parametrize("name", DIRECTED)


def which_way(name: str) -> set[str]:
    """Metrics of which no direction is expected on a small random model."""
    return EITHER_WAY.get(name, set()) | MAY_STAY.get(name, set())


@each_analysis
def test_two_bits_move_every_metric(name: str, audit: dict[tiny.ValueKey, Value]) -> None:
    """At every site a two-bit twin is worse than intact by far more than rounding; where a
    metric has no intact value, worse than the eight-bit twin; where it has no worse, or may go
    either way, elsewhere."""
    analysis = tiny.analysis(name)
    tried = set()
    for (owner, twin, item, site, _), value in audit.items():
        key = (name, "2", item, site, value.metric)
        if (owner, twin) != key[:2]:
            continue
        metric = metric_of(analysis, value.metric)
        if (metric.level and not item.endswith("twin")) or has_none(name, value.reason):
            continue
        if metric.name in MAY_STAY.get(name, ()) or left_alone(name, site, item):
            continue
        eight = audit[(name, "8", item, site, value.metric)]
        before = metric.intact if metric.intact is not None else eight.value
        assert value.value is not None, key
        assert before is not None, key
        moved = value.value - before
        scale = 1e-3 * max(1.0, abs(before))
        tried.add(metric.name)
        levels = metric.level and name != "behaviour"
        if metric.worse is None or metric.name in which_way(name) or levels:
            assert moved != 0, key
        else:
            assert moved * (1 if metric.worse == "higher" else -1) > scale, key
    assert tried


@each_directed
def test_more_bits_are_never_worse(name: str, audit: dict[tiny.ValueKey, Value]) -> None:
    """Eight bits against four against two; no theorem, but so on this model."""
    analysis = tiny.analysis(name)
    tried = 0
    for key, two in audit.items():
        metric = metric_of(analysis, key[4]) if key[0] == name and key[1] == "2" else None
        if metric is None or metric.worse is None or has_none(name, two.reason):
            continue
        if metric.level and not (name == "behaviour" and key[2] == "twin"):
            continue
        if metric.name in which_way(name):
            continue
        sign = 1 if metric.worse == "higher" else -1
        four, eight = (audit[(name, bits, *key[2:])] for bits in ("4", "8"))
        numbers = [sign * v.value for v in (two, four, eight) if v.value is not None]
        assert len(numbers) == 3, key
        assert numbers == sorted(numbers, reverse=True), key
        tried += 1
    assert tried


def beyond(metric: Metric, positions: int, sample: int) -> bool:
    """Whether a sample is too small to tell this metric's chance: extremes, far percentiles."""
    edge = 0 if metric.quantile is None else min(metric.quantile, 1 - metric.quantile)
    return not metric.interval or 0 < edge < 1 / min(positions, sample)


LENS_SAMPLE = 64
"""Positions that tell what chance gives through a lens."""


def mismatched(whole: ActivationPair, chosen: torch.Tensor) -> ActivationPair:
    """The twin read at the next of some positions: patterns at the next in the order of their
    places, so that there are as many keys to look at, or nearly."""
    if whole.reference.index is not None:
        chosen = chosen[torch.argsort(whole.positions.offset[chosen], stable=True)]
    here = joined([whole], chosen)
    twin = activations_like(here.twin.values.roll(1, dims=0), here.twin)
    return replace(here, twin=twin, threshold=lambda size: EVERYTHING)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [n for n in tiny.SWEPT if n not in ("heads", "transfer", "probes")]
)
def test_shuffled_tokens_give_chance(name: str, audit: dict[tiny.ValueKey, Value]) -> None:
    """Reference and twin read at positions that have nothing to do with each other: the chance
    that is reported is what such mismatches give, within their own scatter."""
    analysis, draw = tiny.analysis(name), np.random.default_rng(0)
    sample = LENS_SAMPLE if name == "lens" else request(name).sample.most
    for site, parts in pairs(name, "rtn:bits=4").items():
        whole = joined(parts)
        scattered: dict[Key, list[float]] = {}
        known: set[Key] = set()
        for _ in range(20):
            chosen = torch.from_numpy(draw.permutation(len(whole.positions))[:sample])
            for key, outcome in finished(analysis, [mismatched(whole, chosen)]).items():
                if outcome.chance is not None:
                    known.add(key)
                elif outcome.values is not None and not metric_of(analysis, key[0]).level:
                    scattered.setdefault(key, []).append(float(outcome.values[0]))
        assert scattered
        for (metric, where, item), numbers in scattered.items():
            said = "cumulative" if name in ("geometry", "routing") else ""
            item = ", ".join(filter(None, (item, said)))
            chance = audit[(name, "4", item, where, metric)].chance
            if chance is None:
                few = beyond(metric_of(analysis, metric), len(whole.positions), sample)
                assert few or metric in analysis.unpaired
                continue
            spread = np.std(numbers, ddof=1) * np.sqrt(1 + 1 / len(numbers))
            assert abs(chance - np.mean(numbers)) <= 5 * spread + 1e-6, (site, metric)


def test_a_random_model_has_the_chance_of_heads(audit: dict[tiny.ValueKey, Value]) -> None:
    """Its heads do nothing of the kind: keys beside the target get as much attention as the
    target, within what its random preferences for near or far keys make of it."""
    scores = {
        kind: [v for k, v in audit.items() if k[0] == "heads" and v.metric == kind]
        for kind in ("induction", "previous", "duplicate")
    }
    for kind, values in scores.items():
        assert len(values) == 3 * 4 * 2 * 4
        assert all(v.chance is not None and 0 < v.chance < 1 for v in values)
        apart = np.array([v.value - v.chance for v in values if v.value and v.chance])
        assert np.abs(apart).mean() < 0.1, kind


@each_directed
def test_chance_is_not_intact(name: str, audit: dict[tiny.ValueKey, Value]) -> None:
    """What unrelated models give is far from what an unchanged one gives, or a score between the
    two would mean nothing."""
    analysis, tried = tiny.analysis(name), 0
    for (owner, twin, *_), value in audit.items():
        metric = metric_of(analysis, value.metric) if owner == name and twin == "8" else None
        if metric is None or metric.intact is None or not metric.worse or value.value is None:
            continue
        if metric.name in which_way(name):
            continue
        if value.chance is None:
            # What is said of all sites together is said of no sample.
            known = value.site in ("pattern", "router") or metric.name in analysis.unpaired
            known = known or not sampled(name, value.site, value.item)
            assert known or beyond(metric, plan().positions, request(name).sample.most)
            continue
        worse = (value.chance - metric.intact) * (1 if metric.worse == "higher" else -1)
        assert worse > 10 * abs(value.value - metric.intact) >= 0, value
        tried += 1
    assert tried


@each_analysis
def test_batches_do_not_matter(name: str) -> None:
    """One large batch, its positions in any order, or many small ones: the same sums, the same
    extremes, the same rows."""
    analysis = tiny.analysis(name)
    for parts in cases(name):
        whole = joined(parts)
        n = len(whole.positions)
        together = accumulated(analysis, [whole]).tensors()
        order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
        assert close(accumulated(analysis, [joined([whole], order)]).tensors(), together, 1e-4)
        pieces = [joined([whole], piece) for piece in order.split(37)]
        assert close(accumulated(analysis, pieces).tensors(), together, 1e-4)
        assert close(accumulated(analysis, parts).tensors(), together, 1e-4)
        found, expected = (
            finished(analysis, [whole], accumulator)
            for accumulator in (accumulated(analysis, pieces), accumulated(analysis, [whole]))
        )
        for key, outcome in found.items():
            if outcome.values is not None:
                assert np.allclose(outcome.values, expected[key].values, rtol=1e-4, atol=1e-6)


@each_analysis
def test_tallies_commute_and_associate(name: str) -> None:
    """In any order and grouping; nothing added changes nothing; what is added stays as it was."""
    analysis = tiny.analysis(name)
    for parts in cases(name):
        a, b, *rest = (analysis.update(part) for part in parts)
        c = rest[0]
        before = a.tensors()

        def merged(*accumulators: Accumulator) -> Accumulator:
            whole = Accumulator()
            for accumulator in accumulators:
                whole.add(accumulator)
            return whole

        left = merged(merged(a, b), c).tensors()
        assert close(left, merged(a, merged(b, c)).tensors(), 1e-12)
        assert close(left, merged(c, b, a).tensors(), 1e-12)
        assert close(merged(Accumulator(), a, Accumulator()).tensors(), before, 0)
        assert close(a.tensors(), before, 0)


@each_analysis
def test_tallies_survive_a_file(name: str, tmp_path: Path) -> None:
    """Written in the middle and read back, the outcome is to the last digit the same."""
    analysis = tiny.analysis(name)
    for site, parts in pairs(name, "rtn:bits=3").items():
        half = accumulated(analysis, parts[:2])
        save_file(half.tensors(), tmp_path / site)
        again = Accumulator.from_tensors(load_file(tmp_path / site))
        for part in parts[2:]:
            again.add(analysis.update(part))
        found = finished(analysis, parts, again)
        for key, outcome in finished(analysis, parts).items():
            assert np.array_equal(outcome.values, found[key].values)


@each_analysis
def test_activations_are_left_as_they_were(name: str) -> None:
    """What is read of one run serves many twins and analyses: none may write into it."""
    analysis = tiny.analysis(name)
    for parts in cases(name):
        before = [[r.values.clone() for r in activations(part)] for part in parts]
        accumulated(analysis, parts)
        for part, kept in zip(parts, before, strict=True):
            for after, values in zip(activations(part), kept, strict=True):
                assert torch.equal(after.values, values)


def without(corpus: Corpus, documents: set[int]) -> Corpus:
    """A corpus that never had some of its documents."""
    if corpus.groups is not None:
        return renumbered(corpus, np.setdiff1d(corpus.document, list(documents)))
    keep = [n for n, d in enumerate(corpus.document) if d not in documents]
    left = corpus.document[keep]
    return replace(
        corpus,
        rows=tuple(corpus.rows[n] for n in keep),
        document=np.unique(left, return_inverse=True)[1],
        starts=corpus.starts[keep],
        document_names=tuple(corpus.document_names[d] for d in np.unique(left)),
    )


OF_ALL = {
    "geometry": {"massive_share"},
    "features": {"firing_kappa"},
}
"""Metrics by analysis of which a part is asked of all documents at once: which dimensions are
massive, which latents ever fire."""


@pytest.mark.slow
@each_analysis
def test_replicates_leave_out_whole_documents(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each replicate is the value of a measurement that never saw the documents of one shard."""
    # Which latents are features is asked of all documents at once: here all that fire.
    monkeypatch.setattr("bitlens.results.stats.firings.FIRINGS", 1)
    layout, analysis = tiny.eager(family(name)), tiny.analysis(name)
    corpus = tiny.corpus([[12], [12, 5], [9], [12], [7, 12]], seed=3)
    own = tiny.own_documents([analysis])

    def run(given: Corpus, own: dict[str, tuple[Corpus, int]], folder: str) -> Values:
        made = tiny.plan(given, [analysis], own=own)
        twins = {"twin": "rtn:bits=3"}
        return tiny.values(tiny.measurement(layout, twins, made, tmp_path / folder, [analysis]))

    full = run(corpus, own, "full")
    made = tiny.plan(corpus, [analysis], own=own).sets[documents(name)]
    left_out: Callable[[set[int]], Values]
    if name in own:
        mine, fixed = own[name]
        shards = {n: set(np.flatnonzero(made.shard.numpy() == n)) for n in (0, 7, 19)}
        left_out = lambda some: run(corpus, {name: (without(mine, some), fixed)}, f"{some}")  # noqa: E731
    else:
        shards = {int(made.shard[d]): {d} for d in range(5)}
        left_out = lambda some: run(  # noqa: E731
            corpus.select([d for d in range(5) if d not in some]), {}, f"{some}"
        )
    tried = 0
    for shard, some in shards.items():
        alone_of = left_out(some)
        for key, value in full.items():
            if key[2].endswith("local") or not metric_of(analysis, key[4]).interval:
                continue
            if has_none(name, value.reason):
                continue
            assert len(value.replicates) == (20 if name in own else 5)
            if key[4] in OF_ALL.get(name, ()):
                continue
            if has_none(name, alone_of[key].reason):
                continue
            alone = alone_of[key].value
            assert alone is not None
            assert value.replicates[shard] == pytest.approx(alone, rel=2e-5, abs=1e-6), key
            tried += 1
    assert tried


DEAD = {"firing_agreement", "sample_correlation"}
"""What an earlier tool reported, which unused latents make better: kept to show that."""


def test_latents_that_never_fire_change_no_headline_number(tmp_path: Path) -> None:
    """An SAE with as many dead latents again says the same of a twin, but for what is there to
    show that it did not use to."""
    layout, sae = tiny.eager("llama"), tiny.sae()
    nothing = torch.zeros_like(sae.w_enc)
    dead = replace(
        sae,
        w_enc=torch.cat([sae.w_enc, nothing], dim=1),
        b_enc=torch.cat([sae.b_enc, torch.full_like(sae.b_enc, -1.0)]),
        w_dec=torch.cat([sae.w_dec, torch.randn_like(sae.w_dec)]),
    )
    made = tiny.plan(tiny.corpus([[12], [12, 5], [9], [12], [7, 12]], seed=3), [])
    placed = tiny.placed(sae)
    with_dead = replace(placed, sae=dead, mean_code=pad(placed.mean_code, (0, sae.latents)))
    found = []
    for one in (placed, with_dead):
        analyses = [Features((one,))]
        folder = tmp_path / str(one.sae.latents)
        twins = {"twin": "rtn:bits=3"}
        measured = tiny.measurement(layout, twins, made, folder, analyses)
        found.append(list(measured.values()))
    before, after = (tiny.by_key(measured) for measured in found)
    assert before.keys() == after.keys()
    for key, value in before.items():
        if key[4] in DEAD:
            assert after[key].value > value.value
        else:
            # Sums over more columns are added in another order.
            assert after[key].value == pytest.approx(value.value, rel=1e-5, abs=1e-7), key
            assert after[key].replicates == pytest.approx(value.replicates, rel=1e-5, abs=1e-7)
    one, other = (tiny.tables(measured)[("twin", "features")] for measured in found)
    for column, values in one.columns.items():  # type: ignore[attr-defined]
        if np.asarray(values).dtype.kind == "f":
            assert np.allclose(values, other.columns[column], rtol=1e-5, atol=1e-6, equal_nan=True)
        else:
            assert np.array_equal(values, other.columns[column])
