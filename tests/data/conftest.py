"""Small tokenizers of each habit, corpora of given shape, and the real texts where they are."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from bitlens.data.corpus import Corpus
from bitlens.data.files import Document
from bitlens.data.texts import Documents
from tests.support.corpora import CorpusOf

SAMPLE = "the cat sat on the mat and the dog sat on the log. naïve 日本\n" * 3


def _byte_level(template: str | None, special: dict[str, str]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([SAMPLE], trainer)
    if template:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=[("<s>", 0), ("</s>", 1)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=8, **special)


@pytest.fixture(scope="session")
def with_bos() -> PreTrainedTokenizerFast:
    """As Gemma's: BOS before each text."""
    return _byte_level("<s> $A", {"bos_token": "<s>", "eos_token": "</s>"})


@pytest.fixture(scope="session")
def with_bos_and_eos() -> PreTrainedTokenizerFast:
    """BOS before and EOS after each text."""
    return _byte_level("<s> $A </s>", {"bos_token": "<s>", "eos_token": "</s>"})


@pytest.fixture(scope="session")
def without_bos() -> PreTrainedTokenizerFast:
    """As GPT-2's: it has a BOS token and puts none."""
    return _byte_level(None, {"bos_token": "<s>", "eos_token": "</s>"})


@pytest.fixture(scope="session")
def without_special() -> PreTrainedTokenizerFast:
    """As Qwen's: it has no BOS token."""
    return _byte_level(None, {})


@pytest.fixture(scope="session")
def odd_opening() -> PreTrainedTokenizerFast:
    """It begins a text with a token that it does not call BOS."""
    return _byte_level("</s> $A", {"bos_token": "<s>"})


@pytest.fixture(scope="session")
def texts_of() -> Callable[..., Documents]:
    """Texts from strings."""

    def make(*texts: str, marked: bool = True) -> Documents:
        named = tuple(Document(f"doc {n}", text) for n, text in enumerate(texts))
        return Documents("texts", named, marked)

    return make


@pytest.fixture(scope="session")
def corpus_of() -> CorpusOf:
    """A corpus of random tokens, BOS (0) among them, from the row lengths of each document."""

    def make(
        documents: Sequence[Sequence[int]], bos: bool = True, seed: int = 0, vocabulary: int = 20
    ) -> Corpus:
        draw = np.random.default_rng(seed)
        lengths = [length for rows in documents for length in rows]
        rows = [draw.integers(0, vocabulary, length).astype(np.int32) for length in lengths]
        for row in rows:
            row[0] = 0 if bos else row[0]
        return Corpus(
            name="random",
            rows=tuple(rows),
            document=np.repeat(np.arange(len(documents)), [len(rows) for rows in documents]),
            starts=np.concatenate([np.cumsum([0, *rows[:-1]]) for rows in documents]),
            document_names=tuple(f"doc {n}" for n in range(len(documents))),
            context=max(lengths),
            bos=bos,
            bos_id=0 if bos else None,
        )

    return make
