"""Tokens and documents as a reader sees them."""

from typing import TYPE_CHECKING

import numpy as np

from bitlens.data.corpus import Corpus

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class CorpusTexts:
    """The tokens of a corpus as text, by document and place."""

    def __init__(self, corpus: Corpus, tokenizer: "PreTrainedTokenizerBase") -> None:
        self._corpus = corpus
        self._tokenizer = tokenizer

    def token(self, number: int) -> str:
        """What the tokenizer writes for a token; part of a character is a replacement mark."""
        return str(self._tokenizer.decode([number], clean_up_tokenization_spaces=False))

    def document(self, number: int) -> str:
        """The name of a document."""
        return self._corpus.document_names[number]

    def row(self, document: int, offset: int) -> int:
        """Which window holds a place in a document."""
        rows = np.flatnonzero(self._corpus.document == document)
        starts = self._corpus.starts[rows]
        return int(rows[np.searchsorted(starts, offset, side="right") - 1])

    def before(self, document: int, offset: int, count: int) -> list[str]:
        """A place's token and those before it in its window, `count` at most, as text."""
        row = self.row(document, offset)
        place = offset - int(self._corpus.starts[row])
        tokens = self._corpus.rows[row][max(0, place + 1 - count) : place + 1]
        return [self.token(int(token)) for token in tokens]

    def around(self, document: int, offset: int, count: int) -> tuple[str, str, str]:
        """A place in its window: `count` tokens before it at most, its token, as many after."""
        row = self.row(document, offset)
        place, tokens = offset - int(self._corpus.starts[row]), self._corpus.rows[row]
        spans = (tokens[max(0, place - count) : place], tokens[place + 1 : place + 1 + count])
        before, after = (
            str(self._tokenizer.decode(span.tolist(), clean_up_tokenization_spaces=False))
            for span in spans
        )
        return before, self.token(int(tokens[place])), after
