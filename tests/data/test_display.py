"""What a reader sees of tokens and documents."""

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from bitlens.data.corpus import Corpus, make_corpus
from bitlens.data.display import CorpusTexts
from bitlens.data.files import Document
from bitlens.data.texts import Documents


@pytest.fixture
def corpus(letters: PreTrainedTokenizerFast) -> Corpus:
    """Two documents, one of three windows, each beginning with BOS."""
    texts = Documents("texts", (Document("long", "abcdefghij"), Document("short", "xyz")), True)
    return make_corpus(texts, letters, 5, bos="yes")


def test_places_are_found_in_their_windows(
    corpus: Corpus, letters: PreTrainedTokenizerFast
) -> None:
    """Every place of every window, with up to so many tokens of that window before it."""
    texts = CorpusTexts(corpus, letters)
    seen = 0
    for number, (row, document, start) in enumerate(
        zip(corpus.rows, corpus.document, corpus.starts, strict=True)
    ):
        written = [letters.decode([int(token)]) for token in row]
        for place in range(len(row)):
            offset = int(start) + place
            assert texts.row(int(document), offset) == number
            for count in (1, 3, 99):
                expected = written[max(0, place + 1 - count) : place + 1]
                assert texts.before(int(document), offset, count) == expected
            seen += 1
    assert seen == corpus.n_tokens
    assert len(corpus.rows) == 4


def test_documents_and_tokens_have_their_names(
    corpus: Corpus, letters: PreTrainedTokenizerFast
) -> None:
    """Tokens as the tokenizer writes them, markup and all: what is made of it is the page's
    business."""
    texts = CorpusTexts(corpus, letters)
    assert {texts.document(n) for n in (0, 1)} == {"long", "short"}
    for character in "a<&\n ":
        assert texts.token(letters.convert_tokens_to_ids(character)) == character
    assert texts.token(0) == "<s>"


def test_a_part_of_a_corpus_has_the_same_places(
    corpus: Corpus, letters: PreTrainedTokenizerFast
) -> None:
    """Documents that were left out move no other's places."""
    long = corpus.document_names.index("long")
    texts = CorpusTexts(corpus.select([long]), letters)
    offset = int(corpus.starts[corpus.document == long][1]) + 2
    assert texts.before(long, offset, 9) == CorpusTexts(corpus, letters).before(long, offset, 9)
    assert np.all(texts.before(long, offset, 2) == ["e", "f"])
