"""Laws of calibration against evaluation."""

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from bitlens.data.contamination import contamination
from bitlens.data.corpus import Corpus, make_corpus
from bitlens.data.texts import Documents, read_texts
from bitlens.data.tokenisation import Bos
from tests.support.corpora import CorpusOf


@pytest.mark.parametrize("bos", ["yes", "no"])
def test_planted_passages_are_found(
    with_bos: PreTrainedTokenizerFast, texts_of: Callable[..., Documents], bos: Bos
) -> None:
    """A passage is found however windows cut it; one a token too short is not; short documents
    match when they are equal, not when one goes on."""

    def corpus(context: int, *texts: str) -> Corpus:
        return make_corpus(texts_of(*texts), with_bos, context, bos)

    passage = "0123456789ABCDEFGHIJ"
    seen = corpus(7, "#" * 40, "%%%" + passage + "%%%%%%", "KLMNO", "PQRS<s>")
    new = corpus(5, "&&&&&" + passage, "&" + passage[1:] + "&", "(" * 50, "KLMNO", "KLMN", "PQRS")
    result = contamination(seen, new, run=20)
    assert sorted(result.names) == ["doc 0", "doc 3"]
    assert result.share == 2 / 6
    assert sorted(contamination(seen, new, run=19).names) == ["doc 0", "doc 1", "doc 3"]


def test_a_licence_at_the_top_is_no_copy(
    with_bos: PreTrainedTokenizerFast, texts_of: Callable[..., Documents]
) -> None:
    """19 of 200 tokens in common pass and are counted; 20 of 200 do not pass."""
    licence = "0123456789ABCDEFGHIJ"
    seen = make_corpus(texts_of("####" + licence), with_bos, 300, "no")
    new = make_corpus(
        texts_of(licence[1:] + "(" * 181, licence + ")" * 180, "%" * 200), with_bos, 300, "no"
    )
    result = contamination(seen, new, run=10)
    assert result.names == ("doc 1",)
    assert result.passing == 1


def test_a_corpus_overlaps_with_its_parts(corpus_of: CorpusOf) -> None:
    """Documents overlap with themselves; parts without a common document do not."""
    corpus = corpus_of([[9, 9, 5], [9, 9], [40], [3]])
    assert contamination(corpus, corpus, run=15).share == 1
    assert contamination(corpus.select([0, 2]), corpus.select([1, 3]), run=5).share == 0
    assert contamination(corpus.select([0, 3]), corpus, run=15).names == ("doc 0", "doc 3")


@pytest.mark.slow
@pytest.mark.against
def test_unrelated_real_texts_do_not_overlap(shared: Path) -> None:
    """At the default run two splits of WikiText-2 share nothing, and a part shares itself."""
    tokenizer = AutoTokenizer.from_pretrained(shared / "models" / "stories15M")
    test, validation = (
        make_corpus(read_texts(shared / "texts" / f"wikitext2_raw_{part}.parquet"), tokenizer, 256)
        for part in ("test", "validation")
    )
    assert contamination(test, validation).share == 0
    assert contamination(test.select(range(15)), test).share == 15 / 60
