"""Random tokens that say themselves twice: what can only be predicted by copying."""

from collections.abc import Sequence

import numpy as np

from bitlens.data.corpus import Corpus
from bitlens.errors import DataError
from bitlens.seeds import generator

SHORTEST = 4
"""Tokens that a sequence has at least before it repeats itself."""


def repeated(
    tokens: np.ndarray,
    bos: int | None,
    context: int,
    periods: Sequence[int],
    count: int,
    seed: int,
) -> Corpus:
    """`count` sequences of distinct tokens, each twice in a row; the periods take turns.

    `tokens`: ids to draw from, without replacement within a sequence. A period that the context or
    the number of tokens cannot hold is cut to what they can. Each sequence is a document of one
    window, with a seed of its own. DataError where there is no room for two tokens and their
    repetition.
    """
    longest = min((context - (bos is not None)) // 2, len(tokens))
    if longest < SHORTEST:
        raise DataError(
            f"A context of {context} tokens and {len(tokens)} different ordinary tokens leave "
            f"room for a sequence of {max(longest, 0)} tokens and its repetition.",
            f"room for {SHORTEST} at least.",
            "a longer --context, or leave the analysis heads out of --analyses.",
        )
    begin = [] if bos is None else [bos]
    rows, names = [], []
    for number in range(count):
        period = min(periods[number % len(periods)], longest)
        drawn = generator(seed, "repeated", number).choice(tokens, period, replace=False)
        rows.append(np.array([*begin, *drawn, *drawn], dtype=np.int32))
        names.append(f"random sequence {number} of {period} tokens, twice")
    return Corpus(
        name="random tokens, twice",
        rows=tuple(rows),
        document=np.arange(count, dtype=np.int64),
        starts=np.zeros(count, dtype=np.int64),
        document_names=tuple(names),
        context=max(map(len, rows)),
        bos=bos is not None,
        bos_id=bos,
        notes=_notes(periods, longest),
    )


def _notes(periods: Sequence[int], longest: int) -> tuple[str, ...]:
    cut = [str(period) for period in periods if period > longest]
    if not cut:
        return ()
    return (
        f"Repeated random sequences of {' and '.join(cut)} tokens were cut to {longest}, which is "
        "what the context or the vocabulary holds.",
    )
