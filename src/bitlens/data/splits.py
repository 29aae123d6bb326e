"""Whole documents to learn from, and others to measure on."""

from collections.abc import Sequence

import numpy as np

from bitlens.data.corpus import Corpus
from bitlens.errors import DataError
from bitlens.seeds import generator

HELD_OUT_TOKENS = 65_536
"""At most so many are kept to measure on."""
SHORT = 0.05
"""Share of the tokens to learn from that may be missing, however short the documents."""


def split(corpus: Corpus, share: float) -> tuple[Corpus, Corpus]:
    """Documents to learn from and documents to measure on, whole, at least one of each.

    The choice is the same for every seed of training. BitlensError where there is one document
    only, or where `share` is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise DataError(
            f"The share of documents held out is {share:g}.", "between 0 and 1.", "--held-out 0.1"
        )
    # Copies stay together: what was learnt from is not measured on.
    unit = corpus.unit[corpus.document]
    documents = np.unique(unit)
    if len(documents) < 2:
        raise DataError(
            f"{corpus.name} has {len(documents)} document"
            + (f", and {corpus.copies} copies of it." if corpus.copies else "."),
            "two or more: some are learnt from, the others measured on.",
            "another --text, or more --tokens.",
        )
    order = generator(0, "held-out").permutation(documents)
    held = order[: min(max(1, round(share * len(documents))), len(documents) - 1)]
    tokens = np.bincount(unit, corpus.lengths, minlength=documents.max() + 1)
    kept = held[np.cumsum(tokens[held]) <= HELD_OUT_TOKENS]
    return corpus.of_units(order[len(held) :]), corpus.of_units(kept if len(kept) else held[:1])


def nested(corpus: Corpus, held_out: int, sizes: Sequence[int]) -> tuple[Corpus, list[Corpus]]:
    """Documents of about `held_out` tokens to measure on, and for each of `sizes` documents of at
    most so many tokens to learn from, the smaller ones among the larger ones.

    What is held out does not depend on the sizes, so that SAEs of all of them are measured on the
    same documents. BitlensError where there is too little text for the largest (documents are
    whole: one of them may be missing, or SHORT), or where no document is short enough for the
    smallest.
    """
    unit = corpus.unit[corpus.document]
    documents = generator(0, "held-out").permutation(np.unique(unit))
    tokens = np.bincount(unit, corpus.lengths, minlength=int(documents.max()) + 1)
    so_far = np.cumsum(tokens[documents])
    apart = int(np.searchsorted(so_far, held_out)) + 1
    left = int(so_far[-1] - so_far[min(apart, len(so_far)) - 1])
    largest, longest = max(sizes), int(tokens.max())
    if not left or left + max(longest, SHORT * largest) < largest:
        raise DataError(
            f"{corpus.name} has {left:,} tokens beside the {held_out:,} that are held out, in "
            f"documents of up to {longest:,}.",
            f"{largest:,}, the most that is to be learnt from.",
            "more text, or fewer tokens.",
        )
    learnt, so_far = documents[apart:], np.cumsum(tokens[documents[apart:]])
    if so_far[0] > min(sizes):
        first = f"{int(so_far[0]):,} tokens"
        raise DataError(
            f"The first document of {corpus.name} to be learnt from has {first}.",
            f"{min(sizes):,} or fewer, the least that is to be learnt from.",
            "shorter documents, or more tokens.",
        )
    counts = [int(np.searchsorted(so_far, size, side="right")) for size in sizes]
    return corpus.of_units(documents[:apart]), [corpus.of_units(learnt[:n]) for n in counts]
