"""Laws of plans: which positions count, which are sampled, and where each belongs."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from bitlens.data.corpus import Corpus, make_corpus
from bitlens.data.files import Document
from bitlens.data.texts import Documents
from bitlens.engine.plan import (
    CORPUS,
    SUBSET,
    DocumentSet,
    Plan,
    TokenBatch,
    make_plan,
)
from bitlens.seeds import position_keys
from tests.support import tiny

BOS = 0
SHAPES = st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=4), min_size=1, max_size=30)
Place = tuple[int, int]


def with_bos(shape: list[list[int]], seed: int = 0) -> Corpus:
    """Random windows, every other beginning with BOS, which also stands here and there within."""
    corpus = tiny.corpus(shape, bos_id=BOS, seed=seed)
    for row in corpus.rows[::2]:
        row[0] = BOS
    for row in corpus.rows:
        row[5:6] = BOS
    return corpus


def places(batch: TokenBatch, index: object) -> list[Place]:
    """Document and position in it, of flattened positions."""
    return list(zip(batch.document[index].tolist(), batch.offset[index].tolist(), strict=True))


def counted(plan: Plan, subset: bool = False, predicting: bool = False) -> dict[Place, int]:
    """Every counted position of a plan with its key; none twice."""
    found: dict[Place, int] = {}
    for batch in plan.batches:
        if batch.subset or not subset:
            index = batch.logits_index if predicting else batch.index
            for place, key in zip(places(batch, index), batch.key[index].tolist(), strict=True):
                assert place not in found
                found[place] = key
    return found


def thresholds(documents: DocumentSet) -> list[int]:
    """The keys that bound samples of some sizes."""
    return [documents.threshold(size, predicting=p) for p in (False, True) for size in (1, 5, 1000)]


def expected(corpus: Corpus, rule: str, predicting: bool) -> set[Place]:
    """The same by the words of the rule, a position at a time."""
    found = set()
    final = dict(zip(corpus.document.tolist(), corpus.starts.tolist(), strict=True))
    for row, document, start in zip(corpus.rows, corpus.document, corpus.starts, strict=True):
        last = len(row) - 1
        for n, token in enumerate(row):
            if rule == "content":
                counts = n > 0 and token != BOS and not (predicting and n == last)
            elif rule == "all":
                counts = not (predicting and n == last)
            else:
                counts = start == final[document] and n == (last - 1 if predicting else last)
            if counts:
                found.add((int(document), int(start) + n))
    return found


@pytest.mark.parametrize("rule", ["content", "all", "last"])
@settings(max_examples=25)
@given(shape=SHAPES, tokens=st.integers(12, 90))
def test_every_position_that_counts_counts_once(
    rule: str, shape: list[list[int]], tokens: int
) -> None:
    """All those that the rule means, and no other: content leaves out BOS and each window's
    first position, last is one of each document, and nothing predicts beyond its window."""
    corpus = with_bos(shape)
    plan = make_plan(corpus, rule, 0, tokens)
    assert set(counted(plan)) == expected(corpus, rule, predicting=False)
    assert set(counted(plan, predicting=True)) == expected(corpus, rule, predicting=True)
    assert plan.positions == len(counted(plan))


@settings(max_examples=25)
@given(shape=SHAPES, tokens=st.integers(12, 90))
def test_targets_are_the_next_tokens(shape: list[list[int]], tokens: int) -> None:
    """What a position is to predict is what stands after it in its window; padding is never
    looked at, and the mask is there where there is some."""
    corpus = with_bos(shape)
    following = {}
    for row, document, start in zip(corpus.rows, corpus.document, corpus.starts, strict=True):
        for n in range(len(row)):
            following[(document, start + n)] = row[n + 1] if n + 1 < len(row) else -1
    for batch in make_plan(corpus, "all", 0, tokens).batches:
        for place, target in zip(
            places(batch, batch.index), batch.target[batch.index].tolist(), strict=True
        ):
            assert following[place] == target
        inside = np.zeros(batch.tokens.numel(), dtype=bool)
        inside[batch.index.numpy()] = True
        width = batch.tokens.shape[1]
        given = batch.length.view(-1, width)[:, 0] if batch.mask is None else batch.mask.sum(dim=1)
        assert (batch.length.view(-1, width) == given[:, None]).all()
        if batch.mask is None:
            assert inside.all()
        else:
            assert (batch.mask.flatten().bool().numpy() == inside).all()
            assert not inside.all()


@settings(max_examples=25)
@given(shape=SHAPES, size=st.integers(1, 60), seed=st.integers(0, 3))
def test_samples_have_the_size_asked_for(shape: list[list[int]], size: int, seed: int) -> None:
    """Exactly so many positions, or all where there are fewer: those with the smallest hashes of
    document and position, of all documents and of the subset alike."""
    plan = make_plan(with_bos(shape), "content", seed, 64)
    for subset, documents in ((False, plan.sets[CORPUS]), (True, plan.sets[SUBSET])):
        for predicting in (False, True):
            keys = counted(plan, subset, predicting)
            below = sorted(
                k for k in keys.values() if k <= documents.threshold(size, predicting=predicting)
            )
            assert below == sorted(keys.values())[:size]
            everything = documents.threshold(1 << 20, predicting=predicting)
            assert all(k <= everything for k in keys.values())
    for (document, offset), key in counted(plan).items():
        assert key == position_keys(seed, np.array([document]), np.array([offset]))[0]


@settings(max_examples=25)
@given(shape=SHAPES, interval=st.sampled_from(["jackknife", "bootstrap"]))
def test_shards_are_whole_documents(shape: list[list[int]], interval: str) -> None:
    """A document is in one shard; 20 shards, or 100 to draw from, and no more than documents, equal
    ones counted once; the first row of weights counts all of them once."""
    corpus = with_bos(shape)
    plan = make_plan(corpus, "all", 0, 64, interval)
    content: dict[int, tuple[int, ...]] = {}
    for row, document in zip(corpus.rows, corpus.document.tolist(), strict=True):
        content[document] = (*content.get(document, ()), *row.tolist())
    for name, subset in ((CORPUS, False), (SUBSET, True)):
        documents = plan.sets[name]
        seen = {d for d, _ in counted(plan, subset)}
        shards = {int(documents.shard[d]) for d in seen}
        different = len({content[d] for d in seen})
        assert documents.documents == different
        limit = min(100 if interval == "bootstrap" else 20, different)
        assert shards == set(range(limit)) == set(range(documents.shards))
        assert (documents.weights[0] == 1).all()
        if interval == "jackknife" and len(shards) > 1:
            assert (documents.weights[1:] == 1 - np.eye(len(shards))).all()
        for batch in plan.batches:
            if batch.subset or not subset:
                at = plan.positions_of(batch, batch.index, name)
                assert (at.shard == documents.shard[at.document]).all()
                assert at.shards == documents.shards
                assert (at.target == batch.target[batch.index]).all()
                assert (at.key == batch.key[batch.index]).all()
                assert (at.offset == batch.offset[batch.index]).all()
                assert (at.token == batch.tokens.flatten()[batch.index]).all()


@pytest.mark.parametrize(
    ("n", "branched"),
    [(1, 1), (2, 2), (16, 2), (19, 2), (20, 20), (40, 20), (200, 20), (201, 21)],
)
def test_branches_run_on_a_seeded_tenth(n: int, branched: int) -> None:
    """One document in ten, rounded up, 20 (what an interval takes) where there are as many, or two;
    a batch holds documents of the subset or others, never both; another seed takes others."""
    shape = [[6]] * n
    plan = make_plan(with_bos(shape), "all", 0, 24)
    chosen = {d for d, _ in counted(plan, subset=True)}
    assert len(chosen) == plan.sets[SUBSET].documents == branched
    for batch in plan.batches:
        assert {d in chosen for d in batch.document[batch.index].tolist()} == {batch.subset}
    again = make_plan(with_bos(shape), "all", 0, 60)
    assert {d for d, _ in counted(again, subset=True)} == chosen
    if n > branched:
        others = [
            frozenset(d for d, _ in counted(make_plan(with_bos(shape), "all", s, 24), True))
            for s in range(1, 6)
        ]
        assert len({frozenset(chosen), *others}) > 1


@settings(max_examples=20)
@given(shape=SHAPES, seed=st.integers(0, 3))
def test_the_size_of_batches_changes_no_membership(shape: list[list[int]], seed: int) -> None:
    """Which positions count, their keys, the shards, the subset and the samples are the corpus'."""
    corpus = with_bos(shape)
    first, *others = (make_plan(corpus, "content", seed, tokens) for tokens in (12, 40, 4000))
    for other in others:
        for predicting in (False, True):
            assert counted(other, False, predicting) == counted(first, False, predicting)
            assert counted(other, True, predicting) == counted(first, True, predicting)
        for mine, theirs in ((first.sets[name], other.sets[name]) for name in (CORPUS, SUBSET)):
            assert (mine.shard == theirs.shard).all()
            assert (mine.weights == theirs.weights).all()
            assert thresholds(mine) == thresholds(theirs)


def test_the_order_of_documents_does_not_matter(letters: PreTrainedTokenizerFast) -> None:
    """However the source is sorted, the same text gives the same plan."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefg ", k=draw.randrange(5, 60))) for _ in range(30)]

    def plan(order: list[str]) -> Plan:
        texts = Documents("texts", tuple(Document(str(n), t) for n, t in enumerate(order)), True)
        return make_plan(make_corpus(texts, letters, 16), "content", 0, 100)

    first, second = plan(words), plan(draw.sample(words, len(words)))
    assert len(first.batches) == len(second.batches) > 3
    for one, two in zip(first.batches, second.batches, strict=True):
        assert (one.tokens == two.tokens).all()
        assert one.subset == two.subset
        assert (one.document == two.document).all()
        assert (one.key == two.key).all()
    assert (first.sets[CORPUS].shard == second.sets[CORPUS].shard).all()
    assert thresholds(first.sets[CORPUS]) == thresholds(second.sets[CORPUS])


def test_a_part_of_a_corpus_is_planned_as_a_corpus() -> None:
    """Documents that were left out leave no shard, no sample and no subset of their own behind."""
    whole = with_bos([[9]] * 24)
    kept = np.arange(24)[::2]
    plan = make_plan(whole.select(kept), "content", 0, 60)
    assert {d for d, _ in counted(plan)} == set(kept)
    assert plan.sets[CORPUS].documents == len(kept) == plan.sets[CORPUS].shards
    assert plan.sets[CORPUS].weights.shape == (13, 12)
    assert plan.sets[SUBSET].documents == 2
    for predicting in (False, True):
        keys = sorted(counted(plan, predicting=predicting).values())
        assert plan.sets[CORPUS].threshold(10, predicting=predicting) == keys[9]


def test_documents_without_a_counted_position_are_no_replicate() -> None:
    """A shard that holds nothing that counts cannot be left out."""
    plan = make_plan(with_bos([[6], [6], [1]]), "content", 0, 60)
    assert plan.sets[CORPUS].weights.shape == (3, 3)
    held = {int(plan.sets[CORPUS].shard[d]) for d, _ in counted(plan)}
    assert set(np.flatnonzero((plan.sets[CORPUS].weights == 0).any(axis=0))) == held


def test_windows_of_one_document_share_its_shard() -> None:
    """Tokens of a document resemble each other: its windows are never told apart."""
    plan = make_plan(with_bos([[12, 12, 5], [12, 3], [4]]), "all", 0, 24)
    by_document = {d for d, _ in counted(plan)}
    assert by_document == {0, 1, 2}
    assert plan.sets[CORPUS].documents == 3
    offsets = sorted(o for d, o in counted(plan) if d == 0)
    assert offsets == list(range(29))


def test_a_row_longer_than_a_batch_gets_one_of_its_own() -> None:
    """The size of batches is a wish; the longest window is run all the same."""
    plan = make_plan(with_bos([[12], [3]]), "all", 0, 4)
    assert max(b.tokens.numel() for b in plan.batches) == 12
    assert plan.positions == 15


OWN = {"theirs": (tiny.corpus([[7]] * 11, seed=9), 3)}
"""Eleven documents of an analysis' own, the first three in every replicate."""


@pytest.mark.parametrize("interval", ["jackknife", "bootstrap"])
def test_own_documents_stand_beside_the_corpus(interval: str) -> None:
    """They have batches of their own, whatever the corpus; those of the corpus and their
    sets are what they are without them."""
    corpus = with_bos([[9], [6, 4], [5]])
    alone = make_plan(corpus, "all", 0, 20, interval)
    plan = make_plan(corpus, "all", 0, 20, interval, own=OWN)
    assert [b.number for b in plan.batches] == list(range(len(plan.batches)))
    mine = [b for b in plan.batches if b.documents == CORPUS]
    theirs = [b for b in plan.batches if b.documents == "theirs"]
    assert len(mine) + len(theirs) == len(plan.batches)
    assert len(theirs) > 1
    assert plan.sets.keys() == {CORPUS, SUBSET, "theirs"}
    for one, other in zip(mine, alone.batches, strict=True):
        assert (one.tokens == other.tokens).all()
        assert (one.key == other.key).all()
    for name in (CORPUS, SUBSET):
        assert (plan.sets[name].weights == alone.sets[name].weights).all()
        assert thresholds(plan.sets[name]) == thresholds(alone.sets[name])
    assert plan.positions == alone.positions
    rows = torch.cat([b.tokens[:, :] for b in theirs])
    expected = {tuple(row.tolist()) for row in OWN["theirs"][0].rows}
    assert {tuple(row.tolist()) for row in rows} == expected
    # Their own positions are all that count, but for the first, whatever the corpus' rule.
    found = {place for b in theirs for place in places(b, b.index)}
    assert found == {(d, n) for d in range(11) for n in range(1, 7)}


@pytest.mark.parametrize("interval", ["jackknife", "bootstrap"])
def test_some_own_documents_are_in_every_replicate(interval: str) -> None:
    """The fixed ones share the last shard, whose weight is always one; the others are the
    sampling units, and each can be left out."""
    plan = make_plan(with_bos([[9], [6]]), "content", 0, 20, interval, own=OWN)
    documents = plan.sets["theirs"]
    assert documents.documents == 8
    assert documents.shards == 9
    assert (documents.shard[:3] == 8).all()
    assert sorted(documents.shard[3:].tolist()) == list(range(8))
    assert (documents.weights[:, 8] == 1).all()
    assert (documents.weights[0] == 1).all()
    if interval == "jackknife":
        assert (documents.weights[1:, :8] == 1 - np.eye(8)).all()
    else:
        assert (documents.weights[1:, :8].sum(axis=1) == 8).all()
        assert documents.weights[1:, :8].std() > 0.5
    batch = next(b for b in plan.batches if b.documents == "theirs")
    at = plan.positions_of(batch, batch.index, "theirs")
    assert (at.shard == documents.shard[at.document]).all()
    assert at.shards == 9


def test_all_own_documents_may_be_replicates() -> None:
    """With none fixed there is no shard that is always there."""
    own = {"theirs": (OWN["theirs"][0], 0)}
    documents = make_plan(with_bos([[9]]), "content", 0, 20, own=own).sets["theirs"]
    assert documents.documents == documents.shards == 11
    assert documents.weights.shape == (12, 11)
    assert (documents.weights == 0).any(axis=0).all()


@pytest.mark.parametrize(("interval", "shards"), [("jackknife", 20), ("bootstrap", 100)])
def test_sums_by_shard_do_not_grow_with_the_documents(interval: str, shards: int) -> None:
    """However many documents there are, a bootstrap too draws from so many shards of them."""
    plan = make_plan(with_bos([[30]] * 250), "all", 0, 64, interval)
    assert plan.sets[CORPUS].shards == shards == plan.sets[CORPUS].weights.shape[1]
    assert plan.sets[CORPUS].documents == 250


@pytest.mark.parametrize("interval", ["jackknife", "bootstrap"])
def test_copies_are_left_out_together(interval: str) -> None:
    """Every document four times has the shards, the weights and the number of units of every
    document once, and branches run on no document twice."""
    once = tiny.corpus([[30 + n % 7] for n in range(50)])
    many = replace(
        once,
        rows=once.rows * 4,
        document=np.arange(200),
        starts=np.zeros(200, dtype=np.int64),
        document_names=tuple(map(str, range(200))),
    )
    for name in (CORPUS, SUBSET):
        of_once, of_many = (
            make_plan(corpus, "all", 0, 100, interval).sets[name] for corpus in (once, many)
        )
        assert of_many.documents == of_once.documents
        assert np.array_equal(of_many.weights, of_once.weights)
    shard = make_plan(many, "all", 0, 100, interval).sets[CORPUS].shard.reshape(4, 50)
    assert (shard == shard[0]).all()
    own = make_plan(once, "all", 0, 100, own={"heads": (many, 10)}).sets["heads"]
    assert own.documents == 190


def pairs(letters: PreTrainedTokenizerFast, n: int, draw: random.Random) -> Corpus:
    """Clean and corrupt prompts of any length, the third character and the last one marked, and
    as many documents in no group."""

    def text() -> str:
        return "".join(draw.choices("abcdefg ", k=draw.randrange(5, 60)))

    prompts = [
        Document(f"{label} {number}", text(), str(number), label, ((2, 3), -1))
        for number in range(n)
        for label in ("clean", "corrupt")
    ]
    alone = [Document(f"alone {number}", text()) for number in range(n)]
    documents = draw.sample([*prompts, *alone], 3 * n)
    return make_corpus(Documents("prompts", tuple(documents), True), letters, 16, "yes")


@pytest.mark.parametrize("interval", ["jackknife", "bootstrap"])
@settings(max_examples=25)
@given(n=st.integers(2, 30), seed=st.integers(0, 99), batch_tokens=st.integers(1, 400))
def test_a_group_is_in_one_batch_one_shard_and_one_subset(
    letters: PreTrainedTokenizerFast, n: int, seed: int, batch_tokens: int, interval: str
) -> None:
    """Whatever the size of batches and the order of the source; it counts as one document, and so
    does every document in none."""
    corpus = pairs(letters, n, random.Random(seed))
    plan = make_plan(corpus, "content", 0, batch_tokens, interval)
    assert plan.sets[CORPUS].documents == 2 * n
    assert plan.sets[SUBSET].documents == (20 if n >= 10 else 2)
    found: dict[int, set[tuple[int, bool, int]]] = {}
    for batch in plan.batches:
        at = plan.positions_of(batch, torch.arange(batch.tokens.numel()), CORPUS)
        assert at.group is not None
        for group, shard in set(zip(at.group.tolist(), at.shard.tolist(), strict=True)):
            found.setdefault(group, set()).add((batch.number, batch.subset, shard))
    in_groups = set(corpus.groups.first[corpus.groups.first >= 0])
    assert len(in_groups) == n
    assert all(len(found[group]) == 1 for group in in_groups)


@settings(max_examples=25)
@given(seed=st.integers(0, 99), batch_tokens=st.integers(1, 400))
def test_marks_and_labels_reach_the_positions(
    letters: PreTrainedTokenizerFast, seed: int, batch_tokens: int
) -> None:
    """The third character and the last of each prompt, by what stands there, once for each prompt;
    the label is that of the document, and padding is never marked."""
    draw = random.Random(seed)
    corpus = pairs(letters, 5, draw)
    plan = make_plan(corpus, "all", 0, batch_tokens)
    seen = []
    for batch in plan.batches:
        marked = (batch.mark >= 0).nonzero().flatten()
        at = plan.positions_of(batch, marked, CORPUS)
        for n in range(len(at)):
            document = int(at.document[n])
            name = corpus.document_names[document]
            assert corpus.groups.labels[int(at.label[n])] == name.split(" ")[0]
            rows = np.flatnonzero(corpus.document == document)
            # Windows of 16 begin with BOS each.
            own = [token for row in rows for token in corpus.rows[row][1:].tolist()]
            number = int(at.offset[n]) - int(at.offset[n]) // 16 - 1
            assert number == (2 if at.mark[n] == 0 else len(own) - 1)
            assert at.token[n] == own[number]
            seen.append((document, int(at.mark[n])))
        place = torch.arange(len(batch.mark)) % batch.tokens.shape[1]
        assert (batch.mark[place >= batch.length] < 0).all()
    assert len(seen) == len(set(seen)) == 2 * 10
    some = at.some(torch.arange(len(at)) < 1)
    assert some.mark.shape == some.group.shape == some.label.shape == some.key.shape


def test_copies_in_groups_are_other_groups(letters: PreTrainedTokenizerFast) -> None:
    """What was put into groups was drawn for the purpose; the same text in no group is one draw."""
    texts = ["one and the same text", "another one of them"] * 4

    def units(group: bool) -> int:
        documents = tuple(
            Document(str(n), text, str(n // 2) if group else None) for n, text in enumerate(texts)
        )
        corpus = make_corpus(Documents("prompts", documents, True), letters, 64)
        return make_plan(corpus, "content", 0, 100).sets[CORPUS].documents

    assert units(group=True) == 4
    assert units(group=False) == 2


def test_own_documents_may_be_in_groups(letters: PreTrainedTokenizerFast) -> None:
    """An analysis' own pairs are its sampling units."""
    own = pairs(letters, 6, random.Random(0))
    plan = make_plan(with_bos([[9], [6, 4]]), "content", 0, 40, own={"theirs": (own, 0)})
    assert plan.sets["theirs"].documents == 12 == plan.sets["theirs"].shards
    (label,) = {tuple(plan.sets["theirs"].label.tolist())}
    assert label == tuple(own.groups.label)
    assert plan.sets[CORPUS].label is None
