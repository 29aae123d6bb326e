"""Laws of corpora: every token once, documents stay documents, order does not matter."""

import copy
import logging
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from bitlens.data.corpus import Corpus, check_vocabulary, make_corpus
from bitlens.data.texts import Documents, read_texts
from bitlens.data.tokenisation import Bos
from bitlens.errors import BitlensError
from tests.support.corpora import CorpusOf

TextsOf = Callable[..., Documents]
LONG = "the cat sat on the mat. " * 20


def _own_tokens(corpus: Corpus) -> dict[str, list[int]]:
    """Each document's tokens put together again from its windows."""
    own: dict[str, list[int]] = {}
    for row, document in zip(corpus.rows, corpus.document, strict=True):
        name = corpus.document_names[document]
        own.setdefault(name, []).extend(row[int(corpus.bos) :].tolist())
    return own


@settings(max_examples=30)
@given(
    documents=st.lists(st.text(max_size=60), min_size=1, max_size=6),
    context=st.integers(2, 12),
    bos=st.sampled_from(["auto", "yes", "no"]),
)
def test_every_token_of_every_document_is_in_one_window(
    with_bos_and_eos: PreTrainedTokenizerFast,
    texts_of: TextsOf,
    documents: list[str],
    context: int,
    bos: Bos,
) -> None:
    """Windows put together again are the documents' tokens, and nothing but BOS was added."""
    expected = {
        f"doc {n}": ids
        for n, text in enumerate(documents)
        if len(ids := with_bos_and_eos.encode(text, add_special_tokens=False, verbose=False)) >= 2
    }
    if not expected:
        with pytest.raises(BitlensError, match="no document of at least 2 tokens"):
            make_corpus(texts_of(*documents), with_bos_and_eos, context, bos)
        return
    corpus = make_corpus(texts_of(*documents), with_bos_and_eos, context, bos)
    assert _own_tokens(corpus) == expected
    assert corpus.lengths.max() <= context
    assert all((row[0] == 0) == corpus.bos for row in corpus.rows)
    assert all((row[1:] > 1).all() for row in corpus.rows), "special tokens within a window"
    last = np.diff(corpus.document, append=-1) != 0
    assert (corpus.lengths[~last] == context).all(), "a window before the last is not full"
    assert corpus.n_documents == len(expected)
    dropped = len(documents) - len(expected)
    assert (f"Documents of fewer than 2 tokens left out: {dropped}." in corpus.notes) == (
        dropped > 0
    )


def test_windows_by_hand(without_special: PreTrainedTokenizerFast, texts_of: TextsOf) -> None:
    """Five bytes at a context of three: with a BOS two, two and one; without three and two."""
    text = "#%&()"
    ids = [without_special.convert_tokens_to_ids(character) for character in text]
    without = make_corpus(texts_of(text), without_special, 3)
    assert [row.tolist() for row in without.rows] == [ids[:3], ids[3:]]
    assert without.starts.tolist() == [0, 3]
    without_special_bos = _with_bos_token(without_special)
    corpus = make_corpus(texts_of(text), without_special_bos, 3, bos="yes")
    assert [row.tolist() for row in corpus.rows] == [[0, *ids[:2]], [0, *ids[2:4]], [0, ids[4]]]
    assert corpus.starts.tolist() == [0, 3, 6]
    assert corpus.document.tolist() == [0, 0, 0]
    assert (corpus.n_documents, corpus.n_tokens, len(corpus.rows)) == (1, 8, 3)


def _with_bos_token(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, bos_token="<s>")


def test_bos_follows_the_tokenizer(
    with_bos: PreTrainedTokenizerFast,
    with_bos_and_eos: PreTrainedTokenizerFast,
    without_bos: PreTrainedTokenizerFast,
    without_special: PreTrainedTokenizerFast,
    texts_of: TextsOf,
) -> None:
    """Auto does what the tokenizer does, and the notes say what was done."""
    texts = texts_of(LONG)
    for tokenizer in (with_bos, with_bos_and_eos):
        corpus = make_corpus(texts, tokenizer, 8)
        assert (corpus.bos, corpus.bos_id) == (True, 0)
        assert corpus.notes[-1] == "Each window begins with BOS (<s>): the tokenizer puts it."
    for tokenizer, bos_id in ((without_bos, 0), (without_special, None)):
        corpus = make_corpus(texts, tokenizer, 8)
        assert (corpus.bos, corpus.bos_id) == (False, bos_id)
        assert "puts none" in corpus.notes[-1]
    assert make_corpus(texts, without_bos, 8, "yes").bos
    assert not make_corpus(texts, with_bos, 8, "no").bos


def test_bos_that_cannot_be_is_refused(
    without_special: PreTrainedTokenizerFast,
    odd_opening: PreTrainedTokenizerFast,
    texts_of: TextsOf,
) -> None:
    """Asking for a BOS that is not there, or leaving an odd one to be guessed, is an error."""
    with pytest.raises(BitlensError, match="has no BOS token"):
        make_corpus(texts_of(LONG), without_special, 8, "yes")
    with pytest.raises(BitlensError, match=r"begins a text with </s>, .* \(<s>\)"):
        make_corpus(texts_of(LONG), odd_opening, 8)
    assert not make_corpus(texts_of(LONG), odd_opening, 8, "no").bos


def test_running_text_becomes_stretches_of_eight_windows(
    with_bos: PreTrainedTokenizerFast, texts_of: TextsOf
) -> None:
    """Without document marks eight windows are a document, in their order, and it is said."""
    corpus = make_corpus(texts_of(LONG, marked=False), with_bos, 3)
    ids = with_bos.encode(LONG, add_special_tokens=False, verbose=False)
    counts = np.bincount(corpus.document)
    assert sorted(counts)[1:] == [8] * (len(ids) // 16)
    own = _own_tokens(corpus)
    stretches = [own[f"doc 0, stretch {n}"] for n in range(1, len(own) + 1)]
    assert list(chain.from_iterable(stretches)) == ids
    assert "no document marks" in corpus.notes[0]
    assert f"{len(own)} in all" in corpus.notes[0]


@settings(max_examples=20)
@given(seed=st.integers(0, 99), budget=st.none() | st.integers(3, 300), order=st.randoms())
def test_order_of_the_source_does_not_matter(
    with_bos: PreTrainedTokenizerFast,
    texts_of: TextsOf,
    seed: int,
    budget: int | None,
    order: random.Random,
) -> None:
    """The same documents in any order are the same corpus, document ids and budget included."""
    documents = ["abc def", "the cat sat", "abc def", "the dog " * 9, "日本 " * 7, "x" * 30]
    first = make_corpus(texts_of(*documents), with_bos, 6, max_tokens=budget, seed=seed)
    order.shuffle(documents)
    other = make_corpus(texts_of(*documents), with_bos, 6, max_tokens=budget, seed=seed)
    assert [row.tolist() for row in other.rows] == [row.tolist() for row in first.rows]
    assert (other.document == first.document).all()
    assert (other.starts == first.starts).all()
    assert other.token_hash == first.token_hash


def test_budget_is_spread_over_documents(
    with_bos: PreTrainedTokenizerFast, texts_of: TextsOf
) -> None:
    """No document takes more than a hundredth of the budget, or its part where there are fewer."""
    long = texts_of(*[f"{n} " * 400 for n in range(130)])
    corpus = make_corpus(long, with_bos, 8, max_tokens=100 * 16, seed=3)
    assert np.bincount(corpus.document).tolist() == [2] * 100
    assert any("Documents of which only the beginning was read" in note for note in corpus.notes)
    few = make_corpus(texts_of("a " * 400, "b " * 400), with_bos, 8, max_tokens=80, seed=3)
    assert np.bincount(few.document).tolist() == [5, 5]


def test_budget_takes_whole_documents(
    with_bos: PreTrainedTokenizerFast, texts_of: TextsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A budget takes the first documents of a seeded order; only the last one may be cut."""
    monkeypatch.setattr("bitlens.data.budget.SPREAD", 1)
    texts = texts_of(*[f"{n} " * (5 + n) for n in range(40)])
    whole = make_corpus(texts, with_bos, 8, seed=3)
    assert not any("budget" in note for note in whole.notes)
    for budget in (9, 50, 200, whole.n_tokens - 1, whole.n_tokens):
        corpus = make_corpus(texts, with_bos, 8, max_tokens=budget, seed=3)
        n_rows = len(corpus.rows)
        assert [r.tolist() for r in corpus.rows] == [r.tolist() for r in whole.rows[:n_rows]]
        assert corpus.n_tokens <= budget
        if budget < whole.n_tokens:
            assert corpus.n_tokens + len(whole.rows[n_rows]) > budget, "room was left"
            assert f"took {corpus.n_documents} of 40 documents" in corpus.notes[0]
            partial = whole.document[n_rows] == corpus.document[-1]
            assert ("cut short" in corpus.notes[0]) == partial
        else:
            assert corpus.notes == whole.notes
    other = make_corpus(texts, with_bos, 8, max_tokens=200, seed=4)
    assert other.document_names != make_corpus(texts, with_bos, 8, max_tokens=200).document_names


@pytest.mark.parametrize("budget", [3, 5, 8, 9, 16, 17])
def test_at_most_means_at_most(
    with_bos: PreTrainedTokenizerFast, texts_of: TextsOf, budget: int
) -> None:
    """No more tokens than asked for are read, BOS included; a window is cut where one alone would
    be more, which is said."""
    texts = texts_of(LONG, LONG + "more")
    corpus = make_corpus(texts, with_bos, 8, max_tokens=budget)
    assert corpus.n_tokens == (budget if budget < 8 else budget // 8 * 8)
    whole = make_corpus(texts, with_bos, 8)
    assert corpus.rows[0].tolist() == whole.rows[0][:budget].tolist()
    assert any("the last one cut short" in note for note in corpus.notes)


@pytest.mark.parametrize(("bos", "least"), [("yes", 3), ("no", 2)])
def test_a_budget_leaves_something_to_predict(
    with_bos: PreTrainedTokenizerFast, texts_of: TextsOf, bos: Bos, least: int
) -> None:
    """Two tokens of the text at least."""
    assert make_corpus(texts_of(LONG), with_bos, 8, bos, max_tokens=least).n_tokens == least
    with pytest.raises(BitlensError, match=f"at least {least}"):
        make_corpus(texts_of(LONG), with_bos, 8, bos, max_tokens=least - 1)


def test_copies_are_read_last_and_are_one_draw(
    without_special: PreTrainedTokenizerFast, texts_of: TextsOf
) -> None:
    """A budget is spent on texts that differ while there are some; what is read twice is one unit
    of sampling, which is said."""
    texts = [f"{n} the {n} cat {n * n} sat {n + 7} on" for n in range(10)]
    once = make_corpus(texts_of(*texts), without_special, 64)
    five = make_corpus(texts_of(*texts * 5), without_special, 64)
    part = make_corpus(texts_of(*texts * 5), without_special, 64, max_tokens=once.n_tokens)
    assert part.token_hash == once.token_hash
    assert (once.n_documents, once.n_units, once.copies) == (10, 10, 0)
    assert (five.n_documents, five.n_units, five.copies) == (50, 10, 40)
    assert five.unit.tolist() == list(range(10)) * 5
    assert five.select([3, 13, 4]).n_units == 2


def test_budget_tokenises_no_more_than_it_needs(
    with_bos: PreTrainedTokenizerFast, texts_of: TextsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small budget on many documents does not tokenise all of them."""
    asked: list[int] = []
    original = type(with_bos).__call__

    def spy(self: object, text: str | list[str], **rest: object) -> object:
        asked.append(len(text))
        return original(self, text, **rest)

    monkeypatch.setattr(type(with_bos), "__call__", spy)
    texts = texts_of(*[f"{n} " + "the cat " * 3000 for n in range(40)])
    make_corpus(texts, with_bos, 64, max_tokens=100)
    assert sum(asked) < 20


def test_nothing_is_said_about_long_texts(
    with_bos: PreTrainedTokenizerFast,
    texts_of: TextsOf,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The tokenizer's warning about its maximal length, given once, would only frighten."""
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    # Other tests may have turned its warnings off.
    caplog.set_level(logging.WARNING, logger="transformers")
    tokenizer = copy.deepcopy(with_bos)
    make_corpus(texts_of(LONG), tokenizer, 8)
    assert not caplog.records
    tokenizer(LONG)
    assert "longer than the specified maximum" in caplog.text


def test_token_hash_knows_tokens_and_structure(corpus_of: CorpusOf) -> None:
    """Another token, another cut or another grouping is another hash; document order is not."""
    first = corpus_of([[4, 3], [5]])
    assert first.token_hash == corpus_of([[4, 3], [5]]).token_hash
    assert first.token_hash != corpus_of([[4, 3], [5]], seed=1).token_hash
    assert first.token_hash != corpus_of([[4], [3], [5]]).token_hash
    assert first.select([0]).token_hash != first.token_hash
    tokens = np.concatenate(first.rows[:2])
    later = replace(first, rows=(tokens[:5], tokens[5:], first.rows[2]))
    assert later.token_hash != first.token_hash
    swapped = Corpus(
        name="other name",
        rows=(first.rows[2], *first.rows[:2]),
        document=np.array([0, 1, 1]),
        starts=np.array([0, 0, 4]),
        document_names=("b", "a"),
        context=5,
        bos=True,
        bos_id=0,
    )
    assert swapped.token_hash == first.token_hash


def test_selected_documents_keep_their_ids(corpus_of: CorpusOf) -> None:
    """A part of a corpus calls its documents what the whole does."""
    corpus = corpus_of([[4, 3], [5], [6, 6, 2]])
    part = corpus.select([2, 0])
    assert part.document.tolist() == [0, 0, 2, 2, 2]
    assert part.starts.tolist() == [0, 4, 0, 6, 12]
    assert part.n_documents == 2
    assert part.n_tokens == 21
    assert part.document_names == corpus.document_names
    assert part.rows[4] is corpus.rows[5]


def test_vocabulary_is_checked(corpus_of: CorpusOf) -> None:
    """The first token outside a model's vocabulary is named with its document."""
    corpus = corpus_of([[4, 3], [5]])
    check_vocabulary(corpus, 50)
    corpus.rows[2][3] = 50
    check_vocabulary(corpus, 51)
    with pytest.raises(BitlensError, match=r"Token 50 in doc 1 of random .* vocabulary of 50"):
        check_vocabulary(corpus, 50)


@pytest.mark.parametrize(("context", "budget"), [(1, None), (0, None), (8, 0), (8, -5)])
def test_impossible_sizes_are_refused(
    with_bos: PreTrainedTokenizerFast, texts_of: TextsOf, context: int, budget: int | None
) -> None:
    """A context that holds no pair of tokens, and a budget of nothing, are errors."""
    with pytest.raises(BitlensError, match=r"context is|budget is"):
        make_corpus(texts_of(LONG), with_bos, context, max_tokens=budget)


def test_real_stories(shared: Path) -> None:
    """A real tokenizer on real stories loses nothing."""
    tokenizer = AutoTokenizer.from_pretrained(shared / "models" / "stories15M")
    texts = read_texts(shared / "texts" / "tinystories_1000.json")
    corpus = make_corpus(texts, tokenizer, 256)
    assert corpus.bos
    assert corpus.n_documents == 1000
    own = _own_tokens(corpus)
    for name, text, *_ in texts.documents[:50]:
        assert own[name] == tokenizer.encode(text, add_special_tokens=False, verbose=False)
    check_vocabulary(corpus, 32000)
