"""Laws of measuring: nothing but the texts and the models decides a number."""

import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from bitlens.analyses.behaviour import Behaviour
from bitlens.analyses.geometry import Geometry
from bitlens.data.corpus import Corpus
from bitlens.engine.accumulators import ReplicateState
from bitlens.engine.activations import Activations
from bitlens.engine.analysis import Analysis, ReadRequest, Results, Sample, SampleSize
from bitlens.engine.measured import Measured
from bitlens.engine.measurement import Measurement
from bitlens.engine.plan import CORPUS, SUBSET, Plan, TokenBatch
from bitlens.engine.wave_size import Pace
from bitlens.errors import BitlensError
from bitlens.models.layout import Layout
from bitlens.results.records import Value, to_json
from tests.support import tiny

TWINS = {"3": "rtn:bits=3", "half": "cast:dtype=bf16"}
LENGTHS = [[12], [12, 5], [9], [3], [12, 12, 2], [7], [11], [6], [12], [8], [5], [4]]
Values = dict[tiny.ValueKey, Value]


@pytest.fixture(scope="module", autouse=True)
def few_documents(few_sequences: None) -> Iterator[None]:
    """Of so few documents, two are a subset that is not all of them; and heads and probes have few
    of their own, for every batch is a wave in half of these tests."""
    labelled = tiny.labelled
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.support.tiny.BRANCHED", 2)
        patch.setattr("tests.support.tiny.labelled", lambda: labelled(40, 24))
        yield


@pytest.fixture(scope="module")
def layout() -> Layout:
    return tiny.eager("llama")


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return tiny.corpus(LENGTHS, seed=5)


@pytest.fixture(scope="module")
def made(corpus: Corpus) -> Plan:
    """Several batches, some padded, some of the subset."""
    plan = tiny.plan(corpus, batch_tokens=40)
    assert len(plan.batches) > 4
    return plan


@pytest.fixture(scope="module")
def all_found(
    layout: Layout, made: Plan, tmp_path_factory: pytest.TempPathFactory
) -> list[Measured]:
    """Everything in one wave, never interrupted."""
    measured = tiny.measurement(layout, TWINS, made, tmp_path_factory.mktemp("whole"))
    assert len(measured.sweep.waves) == 1
    return list(measured.values())


@pytest.fixture(scope="module")
def whole(all_found: list[Measured]) -> Values:
    """Its values."""
    return tiny.by_key(all_found)


@pytest.fixture(scope="module")
def digits(all_found: list[Measured]) -> str:
    """Every digit of it."""
    return as_bytes(all_found)


def as_bytes(found: Iterable[Measured]) -> str:
    """Every digit of every value and of every table, in their order."""
    found = list(found)
    values = to_json([[*key, asdict(value)] for key, value in tiny.by_key(found).items()])
    tables = {
        key: {name: np.asarray(column).tolist() for name, column in shown.columns.items()}
        for key, shown in tiny.tables(found).items()
        if key[1] != "trajectories"
    }
    paths = {k: shown.columns for k, shown in tiny.tables(found).items() if k not in tables}
    shown = {"documents", "heads", "features", "flow", "halves", "places"}
    assert {name for _, name in tables} == shown
    assert paths
    return values + repr(tables) + repr(paths)


def agree(found: Values, expected: Values, tolerance: float = 2e-4) -> None:
    """The same values, replicates and chance to float tolerance; bfloat16 rounds more."""
    assert found.keys() == expected.keys()
    for key, value in found.items():
        other = expected[key]
        assert (value.value is None, value.reason, value.documents) == (
            other.value is None,
            other.reason,
            other.documents,
        )
        numbers = [v for v in (value.value, value.chance, *value.replicates) if v is not None]
        others = [v for v in (other.value, other.chance, *other.replicates) if v is not None]
        slack = 30 * tolerance if key[1] == "half" else tolerance
        assert numbers == pytest.approx(others, rel=slack, abs=slack), key


@pytest.mark.slow
def test_the_same_command_gives_the_same_bytes(
    layout: Layout, made: Plan, digits: str, tmp_path: Path
) -> None:
    """Run twice: every digit, and the order of the values."""
    assert as_bytes(tiny.measurement(layout, TWINS, made, tmp_path).values()) == digits


@pytest.mark.slow
@pytest.mark.parametrize("budget", [0, 80_000, 120_000])
def test_waves_change_no_digit(
    layout: Layout, made: Plan, digits: str, tmp_path: Path, budget: int
) -> None:
    """However little memory there is, and however often the accumulators went through a file."""
    measured = tiny.measurement(layout, TWINS, made, tmp_path, hidden_bytes=budget)
    assert len(measured.sweep.waves) > 1
    assert as_bytes(measured.values()) == digits


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [12, 60, 1000])
def test_the_size_of_batches_does_not_matter(
    layout: Layout, corpus: Corpus, whole: Values, tmp_path: Path, tokens: int
) -> None:
    """Hardly more than a window at a time, or all at once with much padding."""
    plan = tiny.plan(corpus, batch_tokens=tokens)
    agree(tiny.values(tiny.measurement(layout, TWINS, plan, tmp_path)), whole)


@pytest.mark.slow
def test_what_stands_in_the_padding_does_not_matter(
    layout: Layout, made: Plan, whole: Values, tmp_path: Path
) -> None:
    """Another token behind the end of each row changes nothing that is counted."""

    def filled(batch: TokenBatch) -> TokenBatch:
        if batch.mask is None:
            return batch
        return replace(batch, tokens=torch.where(batch.mask.bool(), batch.tokens, 77))

    other = replace(made, batches=tuple(map(filled, made.batches)))
    agree(tiny.values(tiny.measurement(layout, TWINS, other, tmp_path)), whole, 1e-5)


@pytest.mark.slow
def test_the_order_of_batches_and_rows_does_not_matter(
    layout: Layout, made: Plan, whole: Values, tmp_path: Path
) -> None:
    """Batches from the last to the first, the rows of each upside down."""

    def turned(batch: TokenBatch, number: int) -> TokenBatch:
        rows, width = batch.tokens.shape
        place = torch.arange(rows * width).view(rows, width).flip(0).flatten()
        where = torch.argsort(place)
        return replace(
            batch,
            number=number,
            tokens=batch.tokens.flip(0),
            mask=None if batch.mask is None else batch.mask.flip(0),
            index=where[batch.index].sort().values,
            logits_index=where[batch.logits_index].sort().values,
            **{
                n: getattr(batch, n)[place]
                for n in ("document", "offset", "target", "key", "length")
            },
        )

    batches = [turned(batch, number) for number, batch in enumerate(reversed(made.batches))]
    plan = replace(made, batches=tuple(batches))
    agree(tiny.values(tiny.measurement(layout, TWINS, plan, tmp_path)), whole)


class Killed(Exception):
    pass


def killed_after(tokens: int) -> Callable[[int], None]:
    """A progress bar that dies once so many tokens have passed."""
    passed = 0

    def progress(some: int) -> None:
        nonlocal passed
        passed += some
        if passed > tokens:
            raise Killed

    return progress


def told(measured: Measurement) -> list[int]:
    """The tokens that a whole measurement reports, wave by wave."""
    sweep = measured.sweep
    waves = []
    for wave in sweep.waves:
        some: list[int] = []
        for _ in sweep.run(wave, some.append):
            pass
        waves.append(sum(some))
    return waves


@pytest.fixture(scope="module")
def waves_of(
    layout: Layout, made: Plan, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], list[tuple[list[int], int]]]:
    """Of every wave under a budget the numbers of its batches, and the tokens it reports."""

    @cache
    def waves(budget: int) -> list[tuple[list[int], int]]:
        folder = tmp_path_factory.mktemp("told")
        first = tiny.measurement(layout, TWINS, made, folder, hidden_bytes=budget)
        numbers = [[batch.number for batch in wave] for wave in first.sweep.waves]
        return list(zip(numbers, told(first), strict=True))

    return waves


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.2, 0.45, 0.7, 0.99])
@pytest.mark.parametrize("budget", [0, 80_000])
def test_killed_and_run_again_it_ends_with_the_same_digits(
    layout: Layout,
    made: Plan,
    digits: str,
    waves_of: Callable[[int], list[tuple[list[int], int]]],
    tmp_path: Path,
    share: float,
    budget: int,
) -> None:
    """In the first wave, in the middle, in the last: what was finished is not computed again,
    and no digit tells that it was interrupted."""

    def again() -> Measurement:
        return tiny.measurement(layout, TWINS, made, tmp_path, hidden_bytes=budget)

    numbers, tokens = zip(*waves_of(budget), strict=True)
    waves = np.cumsum(tokens)
    limit = int(share * waves[-1])
    with pytest.raises(Killed):
        tiny.values(again(), killed_after(limit))
    resumed = again()
    done = [b.number for b in made.batches if b not in resumed.sweep.batches]
    complete = int((waves <= limit).sum())
    assert done == [number for wave in numbers[:complete] for number in wave]
    assert as_bytes(resumed.values()) == digits


@pytest.mark.slow
def test_it_may_be_killed_often_and_go_on_with_other_memory(
    layout: Layout, made: Plan, digits: str, tmp_path: Path
) -> None:
    """Whatever part was done under whatever budget, the rest is added to it."""
    budgets = iter([0, 80_000, 0, 120_000, 0])
    for budget in budgets:
        measured = tiny.measurement(layout, TWINS, made, tmp_path, hidden_bytes=budget)
        try:
            tiny.values(measured, killed_after(1500))
        except Killed:
            continue
        break
    last = tiny.measurement(layout, TWINS, made, tmp_path)
    assert len(last.sweep.batches) < len(made.batches)
    assert as_bytes(last.values()) == digits


@pytest.mark.slow
def test_what_was_done_in_other_batches_is_done_again(
    layout: Layout, corpus: Corpus, made: Plan, digits: str, tmp_path: Path
) -> None:
    """Another device runs batches of another size: half of those is no half of these."""
    other = tiny.plan(corpus, batch_tokens=30)
    measured = tiny.measurement(layout, TWINS, other, tmp_path, hidden_bytes=0)
    with pytest.raises(Killed):
        tiny.values(measured, killed_after(1500))
    assert (tmp_path / "waves.json").exists()
    resumed = tiny.measurement(layout, TWINS, made, tmp_path, hidden_bytes=0)
    assert len(resumed.sweep.batches) == len(made.batches)
    assert as_bytes(resumed.values()) == digits


@pytest.mark.slow
@pytest.mark.parametrize("writes", range(1, 20, 3))
def test_killed_while_writing(
    layout: Layout,
    made: Plan,
    digits: str,
    tmp_path: Path,
    writes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between any two files of a wave, its state included: half a wave counts for nothing."""
    left, rename = iter(range(writes)), os.replace

    def dying(source: Any, target: Any) -> None:
        if next(left, None) is None:
            raise Killed
        rename(source, target)

    monkeypatch.setattr("bitlens.results.files.writing.os.replace", dying)
    with pytest.raises(Killed):
        tiny.values(tiny.measurement(layout, TWINS, made, tmp_path, hidden_bytes=0))
    monkeypatch.undo()
    resumed = tiny.measurement(layout, TWINS, made, tmp_path, hidden_bytes=120_000)
    assert len(resumed.sweep.waves) > 1
    assert as_bytes(resumed.values()) == digits


@pytest.mark.slow
def test_what_is_carried_is_one_generation(layout: Layout, made: Plan, tmp_path: Path) -> None:
    """Between waves there is one file a depth and the state; older ones are gone, and nothing
    half-written is left."""
    measured = tiny.measurement(layout, TWINS, made, tmp_path, hidden_bytes=0)
    wave_done, seen = measured.summation.checkpoint.wave_done, []

    def done(batches: int, *rest: dict[str, str]) -> None:
        wave_done(batches, *rest)
        seen.append(sorted(path.name for path in tmp_path.iterdir()))

    measured.summation.checkpoint.wave_done = done  # type: ignore[method-assign]
    tiny.values(measured)
    assert len(seen) == len(made.batches) - 1
    for generation, names in enumerate(seen, start=1):
        files = [f"{generation}-{depth + 1}.safetensors" for depth in range(layout.depth + 1)]
        assert names == [*files, "waves.json"]


@pytest.mark.slow
def test_a_failing_twin_leaves_the_others_as_they_are(
    layout: Layout, made: Plan, whole: Values, tmp_path: Path
) -> None:
    """It has no values behind the block where it failed; theirs are to the digit the same."""
    measured = tiny.measurement(
        layout, {**TWINS, "bad": tiny.Refuse(at="layers.1")}, made, tmp_path
    )
    found = tiny.values(measured)
    assert list(measured.sweep.failed) == ["bad"]
    others = {key: value for key, value in found.items() if key[1] != "bad"}
    assert sorted(map(str, others.items())) == sorted(map(str, whole.items()))
    before = {"resid.0", "attn.0", "mlp.0", "pattern.0", "heads.0"}
    assert {k[3] for k in found if k[1] == "bad"} == before


@pytest.fixture(scope="module")
def overflowing() -> Layout:
    """A model whose second block float16 cannot hold."""
    model = tiny.build("llama", attention="eager")
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.mul_(1e5)
    return Layout(model)


BEFORE = {"resid.0", "attn.0", "mlp.0", "pattern.0", "heads.0", "attn.1", "pattern.1", "heads.1"}
"""Sites that the second block's MLP does not reach."""


@pytest.mark.slow
@pytest.mark.parametrize("budget", [0, 1 << 30])
def test_a_twin_that_overflows_has_reasons(
    overflowing: Layout, made: Plan, tmp_path: Path, budget: int
) -> None:
    """From the block where float16 runs out there is no number that means anything, and the
    reason says so; before it, for every other twin, and in what is said of the reference alone,
    everything is as it was."""
    twins = {"half": "cast:dtype=float16", "good": "rtn:bits=8"}
    measured = tiny.measurement(overflowing, twins, made, tmp_path, hidden_bytes=budget)
    all_found = list(measured.values())
    found = tiny.by_key(all_found)
    alone = {"good": "rtn:bits=8"}
    expected = tiny.values(tiny.measurement(overflowing, alone, made, tmp_path / "alone"))
    lost = set()
    for key, value in found.items():
        name, twin, item, site, metric = key
        numbers = [v for v in (value.value, value.chance, *value.replicates) if v is not None]
        assert all(map(math.isfinite, numbers))
        if twin == "good":
            assert asdict(value) == asdict(expected[key])
        elif site in BEFORE and name != "lens":
            own = found[(name, "good", item, site, metric)]
            assert (value.value is None) == (own.value is None), key
        elif item.rpartition(", ")[2] == "reference":
            own = found[(name, "good", item, site, metric)]
            assert (value.value, value.replicates) == (own.value, own.replicates), key
        elif item.rpartition(", ")[2] != "local":
            assert value.value is None, key
            assert value.reason, key
            assert "finite" in value.reason, key
            assert "resid.1" in value.reason
            lost |= {(name, metric)}
    # A model without experts has no routing.
    run = [a for a in tiny.everything() if a.name != "routing"]
    metrics = {(a.name, m.name) for a in run for m in a.metrics}
    assert lost == metrics
    assert {twin for twin, _ in tiny.tables(all_found)} == {"good"}


def test_chance_is_the_twin_read_at_another_position(
    layout: Layout, made: Plan, whole: Values
) -> None:
    """By hand: all positions in the order of their hashes, the twin's moved on by one."""
    site, analysis = "resid.1", tiny.analysis("geometry")
    twins = {"3": tiny.twin(layout, "rtn:bits=3")}
    keys, both = [], []
    batches = [b for b in made.batches if b.documents == CORPUS]
    for step in tiny.steps(tiny.sweep(layout, batches, [site], twins)):
        if step.depth != 1:
            continue
        keys.append(step.batch.key[step.index])
        both.append(
            [step.activations[s][site].flatten(0, 1)[step.index] for s in ("reference", "3")]
        )
    order = torch.argsort(torch.cat(keys))
    assert len(order) < analysis.reads(layout)[0].sample.most
    x, y = (torch.cat([b[k] for b in both])[order].double().numpy() for k in (0, 1))
    y = np.roll(y, 1, axis=0)
    cosine = ((x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)).mean()
    l2 = np.linalg.norm(x - y, axis=1).mean()
    key = ("geometry", "3", "cumulative", site)
    assert whole[(*key, "cosine")].chance == pytest.approx(cosine, rel=1e-4)
    assert whole[(*key, "l2")].chance == pytest.approx(l2, rel=1e-5)


GIVEN: list[tuple[int, int, int | None]] = []
"""Sampled positions of reference and twin, and positions kept, of every `compute`."""
LEVELS = {("reference", "logits"), ("twin", "logits")}


def few(requests: list[ReadRequest]) -> list[ReadRequest]:
    """The same sites with fewer positions sampled."""
    return [replace(request, sample=SampleSize(10)) for request in requests]


@dataclass(frozen=True)
class FewGeometry(Geometry):
    """Geometry of few positions, which tells what it is given."""

    def reads(self, layout: Layout) -> list[ReadRequest]:
        return few(super().reads(layout))

    def compute(self, state: ReplicateState, reference: Sample, twin: Sample) -> Results:
        GIVEN.append((len(reference.values), len(twin.values), None))
        return super().compute(state, reference, twin)


@dataclass(frozen=True)
class FewBehaviour(Behaviour):
    """Behaviour that keeps few positions, and tells what it is given."""

    kept: ClassVar[int] = 20

    def reads(self, layout: Layout) -> list[ReadRequest]:
        return few(super().reads(layout))

    def compute(self, state: ReplicateState, reference: Sample, twin: Sample) -> Results:
        rows = state.rows("positions")
        assert rows is not None
        GIVEN.append((len(reference.values), len(twin.values), len(rows[0])))
        return super().compute(state, reference, twin)


@pytest.mark.parametrize("analysis", [FewGeometry(), FewBehaviour()], ids=["sites", "logits"])
def test_samples_have_their_size_at_every_site(
    layout: Layout, corpus: Corpus, analysis: Analysis, tmp_path: Path
) -> None:
    """Sites sample of the positions that count, logits of those that predict, local errors of the
    subset's: each exactly as many as the analysis asks for, of both models; chance is made of
    the same."""
    GIVEN.clear()
    plan = tiny.plan(corpus, [analysis], batch_tokens=40)
    values = tiny.values(
        tiny.measurement(layout, {"3": "rtn:bits=3"}, plan, tmp_path, analyses=[analysis])
    )
    # Of heads one sample serves all of a block.
    places = {(item.rpartition(", ")[2], site) for _, _, item, site, _ in values}
    assert len(GIVEN) == 2 * len(places - LEVELS)
    kept = {rows for *_, rows in GIVEN}
    assert {given[:2] for given in GIVEN} == {(10, 10)}
    # What is kept is 20 of the whole, and for chance all of the sample.
    assert kept == ({20, 10} if isinstance(analysis, FewBehaviour) else {None})


def test_documents_are_counted_once_and_by_their_set(made: Plan, whole: Values) -> None:
    """Every value says how many documents it rests on: all, the subset for branches, or the
    analysis' own but those that are in every replicate."""
    intervals = {(a.name, m.name): m.interval for a in tiny.everything() for m in a.metrics}
    seen = set()
    for (name, _, item, _, metric), value in whole.items():
        branched = item.endswith("local") or name == "transfer"
        documents = SUBSET if branched else name if name in made.sets else CORPUS
        seen.add(documents)
        of = made.sets[documents]
        assert value.documents == of.documents
        has_replicates = intervals[name, metric] and value.value is not None
        assert len(value.replicates) == (len(of.weights) - 1 if has_replicates else 0)
    assert seen == made.sets.keys()
    assert made.sets["heads"].documents == 9


def test_local_errors_are_of_the_subset_alone(
    layout: Layout, corpus: Corpus, made: Plan, whole: Values, tmp_path: Path
) -> None:
    """The local values of the whole are those of a measurement of the subset's documents alone,
    where every document is of the subset."""
    subset = sorted({d for b in made.batches if b.subset for d in b.document[b.index].tolist()})
    assert len(subset) == 2
    alone = tiny.plan(corpus.select(subset))
    found = tiny.values(tiny.measurement(layout, TWINS, alone, tmp_path))
    local = {key: value for key, value in whole.items() if key[2] == "local"}
    assert local
    agree({key: value for key, value in found.items() if key[2] == "local"}, local)


@pytest.mark.parametrize("rule", ["content", "all", "last"])
def test_only_counted_positions_count(layout: Layout, rule: str, tmp_path: Path) -> None:
    """The mean distance at a site, from the model's own forward and the rule's own words."""
    corpus = tiny.corpus([[9], [6], [4]], bos_id=0, seed=1)
    for row in corpus.rows:
        row[3] = 0
    plan = tiny.plan(corpus, rule=rule)
    found = tiny.values(tiny.measurement(layout, {"3": "rtn:bits=3"}, plan, tmp_path))
    model = tiny.twin(layout, "rtn:bits=3").model()
    distances, divergences = [], []
    for row in corpus.rows:
        tokens = torch.from_numpy(row).long()[None]
        batch = replace(tiny.batch([len(row)]), tokens=tokens)
        own = tiny.own_states(layout.model, layout, batch), tiny.own_states(model, layout, batch)
        last = len(row) - 1
        counts = {
            "content": [n for n in range(len(row)) if n > 0 and row[n] != 0],
            "all": list(range(len(row))),
            "last": [last],
        }[rule]
        predicts = [last - 1] if rule == "last" else [n for n in counts if n < last]
        distance = (own[0]["resid.2"] - own[1]["resid.2"])[0].norm(dim=-1)
        distances += distance[counts].tolist()
        p, q = (o["logits"][0].double().log_softmax(-1) for o in own)
        divergences += (p.exp() * (p - q)).sum(-1)[predicts].tolist()
    l2 = found[("geometry", "3", "cumulative", "resid.2", "l2")].value
    assert l2 == pytest.approx(np.mean(distances), rel=1e-5)
    kl = found[("behaviour", "3", "", "logits", "kl")].value
    assert kl == pytest.approx(np.mean(divergences), rel=1e-4)


def test_the_bootstrap_has_documents_as_its_units(
    layout: Layout, corpus: Corpus, tmp_path: Path
) -> None:
    """Its replicates are values of documents drawn with replacement, each with its weight."""
    analyses = [tiny.analysis("behaviour")]
    plan = tiny.plan(corpus, analyses, 40, interval="bootstrap")
    found = tiny.values(
        tiny.measurement(layout, {"3": "rtn:bits=3"}, plan, tmp_path, analyses=analyses)
    )
    kl = found[("behaviour", "3", "", "logits", "kl")]
    assert len(kl.replicates) == 2000
    assert kl.documents == len(LENGTHS)
    twins = {"3": tiny.twin(layout, "rtn:bits=3")}
    sums = np.zeros((2, len(LENGTHS)))
    for step in tiny.steps(tiny.sweep(layout, plan.batches, ["logits"], twins)):
        if step.depth == layout.depth:
            p, q = (
                Activations(step.activations[s]["logits"]).log_probabilities
                for s in ("reference", "3")
            )
            shard = plan.sets[CORPUS].shard[step.batch.document[step.index]].numpy()
            np.add.at(sums[0], shard, (p.exp() * (p - q)).sum(-1).numpy())
            np.add.at(sums[1], shard, 1)
    weighted = plan.sets[CORPUS].weights @ sums.T
    assert kl.replicates == pytest.approx((weighted[1:, 0] / weighted[1:, 1]).tolist(), rel=1e-4)


CHECKED = {"jsd", "kl", "l2", "r", "induction", "lens_kl", "added_difference", "auc_frozen"}
"""A metric of each analysis, the width of whose replicates is looked at."""


@pytest.mark.slow
@pytest.mark.parametrize("budget", [0, 1 << 30])
def test_every_analysis_has_bootstrap_replicates(
    layout: Layout,
    corpus: Corpus,
    whole: Values,
    all_found: list[Measured],
    tmp_path: Path,
    budget: int,
) -> None:
    """The values are those of the jackknife; the replicates 2000 draws about them; the bounds in
    the tables of heads and features are about as wide."""
    made = tiny.plan(corpus, batch_tokens=40, interval="bootstrap")
    measured = tiny.measurement(layout, {"3": "rtn:bits=3"}, made, tmp_path, hidden_bytes=budget)
    measured_all = list(measured.values())
    found = tiny.by_key(measured_all)
    for table, low, high in (("heads", "twin_low", "twin_high"), ("features", "r_low", "r_high")):
        widths = [
            np.subtract(shown.columns[high], shown.columns[low])
            for shown in (tiny.tables(f)["3", table] for f in (measured_all, all_found))
        ]
        assert 0.6 < np.nanmedian(widths[0] / widths[1]) < 1.6, table
    assert found.keys() == {key for key in whole if key[1] == "3"}
    tried = set()
    for key, value in found.items():
        other = whole[key]
        if value.value is None:
            # A draw may leave out all that a number needs.
            assert other.value is None or value.reason in (
                "not finite for every replicate",
                "the reference hardly copies: the second copy is less than a tenth easier",
                "the mean in its place costs nothing here, so there is nothing to recover",
            )
            continue
        if key[4] not in ("surely_survived", "surely_lost", "undecided"):
            assert value.value == pytest.approx(other.value, rel=1e-6, abs=1e-9), key
        assert len(value.replicates) == (2000 if other.replicates else 0), key
        if key[4] in CHECKED:
            tried.add(key[0])
            jackknife = np.sqrt(len(other.replicates) - 1) * np.std(other.replicates)
            assert 0.4 * jackknife < np.std(value.replicates) < 2.5 * jackknife, key
    # A model without experts has no routing.
    assert tried == set(tiny.SWEPT) - {"routing"}


@pytest.fixture
def gpu() -> Iterator[str]:
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU here")
    return "cuda"


def test_a_gpu_gives_the_same(corpus: Corpus, whole: Values, gpu: str, tmp_path: Path) -> None:
    """To float tolerance, in one wave and in many."""
    layout = Layout(tiny.build("llama", attention="eager").to(gpu))
    plan = tiny.plan(corpus, batch_tokens=40, device=gpu)
    for budget in (0, 1 << 30):
        measured = tiny.measurement(
            layout, TWINS, plan, tmp_path / str(budget), hidden_bytes=budget
        )
        agree(tiny.values(measured), whole, 1e-2)


@pytest.fixture(scope="module")
def stopped(layout: Layout, made: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run leaves that is killed after three batches, each a wave."""
    folder = tmp_path_factory.mktemp("stopped")
    measured = tiny.measurement(layout, TWINS, made, folder, hidden_bytes=0)
    finished = measured.summation.checkpoint.wave_done

    def killed(batches: int, *rest: dict[str, str]) -> None:
        finished(batches, *rest)
        if batches == 3:
            raise Killed

    measured.summation.checkpoint.wave_done = killed  # type: ignore[method-assign, assignment]
    with pytest.raises(Killed):
        tiny.values(measured)
    return folder


@pytest.fixture
def interrupted(stopped: Path, tmp_path: Path) -> Path:
    """A copy of it, to damage and to go on from."""
    return shutil.copytree(stopped, tmp_path / "copy")


def flipped(path: Path) -> None:
    """A digit that is another."""
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "the state emptied": lambda folder: (folder / "waves.json").write_bytes(b""),
    "the state cut": lambda folder: (folder / "waves.json").write_bytes(
        (folder / "waves.json").read_bytes()[:50]
    ),
    "the state changed": lambda folder: (folder / "waves.json").write_text(
        (folder / "waves.json").read_text().replace('"batches": 3', '"batches": 4')
    ),
    "the state of another kind": lambda folder: (folder / "waves.json").write_text("[1]"),
    "a sum missing": lambda folder: (folder / "3-1.safetensors").unlink(),
    "a sum cut": lambda folder: (folder / "3-1.safetensors").write_bytes(b"x"),
    "a sum changed": lambda folder: flipped(folder / "3-2.safetensors"),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", DAMAGES)
def test_sums_that_are_not_what_was_written_are_computed_again(
    layout: Layout, made: Plan, digits: str, interrupted: Path, how: str
) -> None:
    """Missing, cut or changed: it is said, nothing of them is used, and every digit is as ever."""
    assert tiny.measurement(layout, TWINS, made, interrupted).damage == ""
    DAMAGES[how](interrupted)
    resumed = tiny.measurement(layout, TWINS, made, interrupted)
    assert resumed.damage.endswith(("is missing", "is not what was written"))
    assert len(resumed.sweep.batches) == len(made.batches)
    assert not list(interrupted.iterdir())
    assert as_bytes(resumed.values()) == digits


def test_a_sum_that_changes_while_the_run_goes_on_stops_it(
    layout: Layout, made: Plan, interrupted: Path
) -> None:
    """Never other numbers: the next run finds it and computes it again."""
    resumed = tiny.measurement(layout, TWINS, made, interrupted)
    flipped(interrupted / "3-2.safetensors")
    with pytest.raises(BitlensError, match="changed while the run went on"):
        tiny.values(resumed)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [None, 1e-9, 1.5, 1e9])
def test_waves_are_small_enough_to_lose_little(
    layout: Layout, made: Plan, digits: str, tmp_path: Path, seconds: float | None
) -> None:
    """Of a run that takes long no wave holds more than a tenth of the tokens, but for a batch; of
    one that takes a moment the first holds all. No digit tells."""
    tokens = sum(batch.tokens.numel() for batch in made.batches)
    measured = tiny.measurement(layout, TWINS, made, tmp_path)
    waves: list[list[TokenBatch]] = []
    run = measured.sweep.run
    measured.sweep.run = lambda wave, progress: (waves.append(list(wave)), run(wave))[1]  # type: ignore[method-assign]
    assert as_bytes(measured.values(pace=Pace(tokens, seconds))) == digits
    first = sum(batch.tokens.numel() for batch in waves[0])
    most = {None: tokens / 10, 1e-9: tokens, 1.5: 200, 1e9: tokens / 10}[seconds]
    assert len(waves[0]) == 1 or first <= most
    assert (len(waves) == 1) == (seconds == 1e-9)
