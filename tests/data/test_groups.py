"""Laws of groups: marks on the right tokens, groups whole, and what is read of them from files."""

import json
import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from bitlens.data.corpus import Corpus, make_corpus
from bitlens.data.files import Document
from bitlens.data.groups import Groups
from bitlens.data.rows import read_jsonl
from bitlens.data.texts import Documents, read_texts
from bitlens.data.tokenisation import Bos
from bitlens.errors import BitlensError

NAMES = ("Mary", "John", "Anna", "Paul", "日本", "naïve")
PAIRS = [
    Document(f"{label} {n}", f"When {a} and {b} met, {c} spoke to", f"pair {n}", label, marks)
    for n, (a, b) in enumerate(pairwise(NAMES))
    for label, c, marks in (("clean", a, ((5, 5 + len(a)), -1)), ("corrupt", b, (-1,)))
]


def texts(documents: Sequence[Document]) -> Documents:
    return Documents("prompts", tuple(documents), marked=True)


def held(corpus: Corpus) -> Groups:
    assert corpus.groups is not None
    return corpus.groups


def marked(corpus: Corpus, name: str) -> dict[int, list[int]]:
    """By mark, which of a document's own tokens it is on."""
    number = corpus.document_names.index(name)
    rows = np.flatnonzero(corpus.document == number)
    opening = int(corpus.bos)
    assert all((held(corpus).mark[n][:opening] == -1).all() for n in rows)
    own = np.concatenate([held(corpus).mark[n][opening:] for n in rows])
    return {int(k): np.flatnonzero(own == k).tolist() for k in np.unique(own[own >= 0])}


@settings(max_examples=40, deadline=None)
@given(
    words=st.lists(st.sampled_from([*NAMES, "the", "cat", "é"]), min_size=2, max_size=9),
    which=st.integers(0, 8),
    context=st.integers(2, 9),
    bos=st.sampled_from(["auto", "yes", "no"]),
)
def test_a_span_marks_the_tokens_that_hold_its_characters(
    with_bos_and_eos: PreTrainedTokenizerFast, words: list[str], which: int, context: int, bos: Bos
) -> None:
    """By the bytes of each token, counted from the start of the text, whatever the windows."""
    word = which % len(words)
    start = len(" ".join([*words[:word], ""]))
    text, end = " ".join(words), start + len(words[word])
    document = Document("one", text, "alone", None, ((start, end),))
    corpus = make_corpus(texts([document]), with_bos_and_eos, context, bos)
    ids = with_bos_and_eos.encode(text, add_special_tokens=False)
    pieces = [len(with_bos_and_eos.convert_ids_to_tokens(n)) for n in ids]
    ends = np.cumsum(pieces)
    assert ends[-1] == len(text.encode()), "a character of a token is a byte"
    first, last = (len(text[:n].encode()) for n in (start, end))
    expected = np.flatnonzero((ends > first) & (ends - pieces < last)).tolist()
    assert marked(corpus, "one") == {0: expected}


@pytest.mark.parametrize("context", [3, 5, 64])
def test_numbers_of_tokens_are_counted_without_bos(
    with_bos: PreTrainedTokenizerFast, letters: PreTrainedTokenizerFast, context: int
) -> None:
    """From the start, from the end, in the order given, in whichever window they lie."""
    document = Document("one", "abcdefgh", "alone", None, (6, 0, -1))
    for bos in ("yes", "no"):
        assert marked(make_corpus(texts([document]), letters, context, bos), "one") == {
            0: [6],
            1: [0],
            2: [7],
        }
    other = make_corpus(texts([document]), with_bos, context)
    assert sorted(marked(other, "one")) == [0, 1, 2]


@pytest.mark.parametrize(
    ("marks", "message"),
    [
        ((8,), "The mark 8 of one is nowhere in it: it has 8 tokens"),
        ((-9,), "The mark -9 of one is nowhere"),
        (((3, 3),), r"The mark \[3, 3\] of one is nowhere"),
        (((7, 9),), r"The mark \[7, 9\] of one is nowhere"),
        (((0, 3), 2), "The mark 2 of one meets another one"),
    ],
)
def test_marks_that_cannot_be_are_refused(
    letters: PreTrainedTokenizerFast, marks: tuple[Any, ...], message: str
) -> None:
    """Outside of the document, empty, or two on one token."""
    document = Document("one", "abcdefgh", "alone", None, marks)
    with pytest.raises(BitlensError, match=message):
        make_corpus(texts([document]), letters, 64)


def test_spans_need_a_tokenizer_that_knows_them(
    letters: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers of tokens do not."""
    monkeypatch.setattr(PreTrainedTokenizerFast, "is_fast", False)
    make_corpus(texts([Document("one", "abcd", "alone", None, (1,))]), letters, 64)
    with pytest.raises(BitlensError, match="does not say which token"):
        make_corpus(texts([Document("one", "abcd", "alone", None, ((1, 2),))]), letters, 64)


def test_groups_and_labels_by_hand(letters: PreTrainedTokenizerFast) -> None:
    """Both documents of a pair name the first; one in no group is by itself and has no label."""
    corpus = make_corpus(texts([*PAIRS[:4], Document("alone", "some text")]), letters, 64)
    groups, names = held(corpus), corpus.document_names
    assert groups.labels == ("clean", "corrupt")
    for number, name in enumerate(names):
        kind = name.split(" ")[0]
        assert groups.label_of(number) == ("" if kind == "alone" else kind)
        mates = [n for n, other in enumerate(names) if other.split(" ")[-1] == name.split(" ")[-1]]
        assert groups.first[number] == (-1 if kind == "alone" else min(mates))
        assert groups.together[number] == min(mates)
    assert corpus.n_units == 3
    assert corpus.copies == 0
    assert "Documents in groups: 4, in 2 groups, each of which is" in " ".join(corpus.notes)


@settings(max_examples=30)
@given(seed=st.integers(0, 99), budget=st.sampled_from([None, 90, 150, 240]))
def test_the_order_of_the_source_does_not_matter(
    letters: PreTrainedTokenizerFast, seed: int, budget: int | None
) -> None:
    """The same corpus, groups, labels and marks, however documents and groups are sorted."""
    alone = [Document(f"alone {n}", "x" * n) for n in range(9, 13)]
    order = random.Random(seed).sample([*PAIRS, *alone], len(PAIRS) + len(alone))
    first = make_corpus(texts([*PAIRS, *alone]), letters, 16, max_tokens=budget)
    second = make_corpus(texts(order), letters, 16, max_tokens=budget)
    assert first.document_names == second.document_names
    assert first.token_hash == second.token_hash
    for one, two in zip(held(first).mark, held(second).mark, strict=True):
        assert np.array_equal(one, two)
    for name in ("first", "label"):
        assert np.array_equal(getattr(held(first), name), getattr(held(second), name))


@settings(max_examples=30)
@given(budget=st.integers(40, 400))
def test_a_group_is_read_whole_or_not_at_all(letters: PreTrainedTokenizerFast, budget: int) -> None:
    """Whatever the budget: a pair has both prompts, every token of them, or none."""
    long = [d._replace(text=d.text + " and so on" * 3, marks=()) for d in PAIRS]
    whole = {d.name: len(d.text) for d in long}
    everything = make_corpus(texts(long), letters, 16)
    least = int(everything.lengths[held(everything).first[everything.document] == 0].sum())
    if budget < least:
        with pytest.raises(BitlensError, match="the budget: a group is taken whole"):
            make_corpus(texts(long), letters, 16, max_tokens=budget)
        return
    corpus = make_corpus(texts(long), letters, 16, max_tokens=budget)
    assert corpus.n_tokens <= budget
    sizes = np.bincount(corpus.document, corpus.lengths)
    assert dict(zip(corpus.document_names, sizes, strict=True)).items() <= whole.items()
    assert (np.bincount(held(corpus).first[held(corpus).first >= 0]) % 2 == 0).all()


def test_without_groups_nothing_is_another(letters: PreTrainedTokenizerFast) -> None:
    """The order, the rows, the hash and the notes of texts do not depend on there being groups; a
    corpus in which no document is in one has none."""
    alone = [d._replace(group=None, label=None) for d in PAIRS]
    plain = [Document(d.name, d.text) for d in PAIRS]
    first, second = (make_corpus(texts(of), letters, 16, max_tokens=200) for of in (alone, plain))
    assert first.groups is None
    assert second.groups is None
    assert first.document_names == second.document_names
    assert first.token_hash == second.token_hash
    assert first.notes == second.notes


def test_the_hash_knows_groups_labels_and_marks(letters: PreTrainedTokenizerFast) -> None:
    """They decide what is measured, as tokens do."""
    pair = PAIRS[:4]

    def hashed(change: Callable[[Document], Document]) -> str:
        return make_corpus(texts([change(d) for d in pair]), letters, 64).token_hash

    found = {
        hashed(lambda d: d),
        hashed(lambda d: d._replace(group=None)),
        hashed(lambda d: d._replace(group="all")),
        hashed(lambda d: d._replace(label="one")),
        hashed(lambda d: d._replace(marks=())),
    }
    assert len(found) == 5
    assert hashed(lambda d: d._replace(group=f"other {d.group}")) == hashed(lambda d: d)


def test_selected_rows_keep_their_marks(letters: PreTrainedTokenizerFast) -> None:
    """A part of a corpus has the marks of its rows, and documents their numbers."""
    whole = make_corpus(texts(PAIRS), letters, 16)
    part = whole.of_units(np.unique(whole.unit)[1:3])
    assert len(held(part).mark) == len(part.rows)
    assert part.n_documents == 4
    for name in {part.document_names[n] for n in part.document}:
        assert marked(part, name) == marked(whole, name)


def test_groups_stand_in_json_lines(tmp_path: Path) -> None:
    """Names of groups and labels may be numbers; without a group nothing else is read."""
    rows = [
        {"text": "a", "group": 3, "label": True, "marks": [[0, 1], -1]},
        {"text": "b", "group": "3", "label": "corrupt"},
        {"text": "c", "label": ["x"], "marks": "many", "group": None},
    ]
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert read_jsonl(path) == [
        Document("line 1", "a", "3", "true", ((0, 1), -1)),
        Document("line 2", "b", "3", "corrupt"),
        Document("line 3", "c"),
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"group": ["a"]}, r"The group of line 1 of .* is \['a'\]"),
        ({"group": "a", "label": 0.5}, "The label of line 1 of .* is 0.5"),
        ({"group": "a", "marks": 3}, "The marks of line 1 of .* hold 3"),
        ({"group": "a", "marks": [[1, 2, 3]]}, r"hold \[1, 2, 3\]"),
        ({"group": "a", "marks": ["x"]}, "hold 'x'"),
        ({"group": "a", "marks": [True]}, "hold True"),
    ],
)
def test_what_is_no_group_is_refused(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    """With the line it stands in."""
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"text": "abc", **fields}))
    with pytest.raises(BitlensError, match=message):
        read_jsonl(path)


def test_a_group_with_an_empty_document_is_refused(
    letters: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """It would lose its partner in silence; so would one of a single token."""
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "abc", "group": "a"}\n{"text": " ", "group": "a"}')
    with pytest.raises(BitlensError, match=r"A document of the group a of .* is empty"):
        read_texts(path)
    short = [Document("one", "abc", "a"), Document("two", "d", "a")]
    with pytest.raises(BitlensError, match="two of the group a has 1 token"):
        make_corpus(texts(short), letters, 8)


def test_lines_in_groups_are_no_article(tmp_path: Path) -> None:
    """They are prompts, even where they look like WikiText."""
    lines = [" = Title = \n", " A line . \n", "b"]
    rows = [{"text": line, "group": str(n)} for n, line in enumerate(lines)] + [{"text": ""}]
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert [d.text for d in read_texts(path).documents] == lines
