"""Corpora by the lengths of their rows, document by document."""

from collections.abc import Callable

from hypothesis import strategies as st

from bitlens.data.corpus import Corpus

CorpusOf = Callable[..., Corpus]
"""Makes a corpus of random tokens from the row lengths of each document."""
SHAPES = st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=5), min_size=1, max_size=12)
