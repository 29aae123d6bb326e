"""Contamination: evaluation texts that were seen in calibration."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from bitlens.data.corpus import Corpus
from bitlens.seeds import generator

RUN = 32
"""Tokens in a row that no two texts share by chance. Stock phrases of 13 tokens alone flagged 22 %
and 83 % of unrelated documents (two halves of TinyStories, two splits of WikiText-2), of 25 tokens
0.2 % and 3 %, of 32 none; exact deduplication uses 50 (Lee et al. 2022)."""
COPIED = 0.1
"""Share of its tokens in such runs from which on a document counts as seen: a licence at the top
of a file is less, and says nothing about what comes after."""


@dataclass(frozen=True)
class Contamination:
    """How much of the evaluation was in the calibration."""

    share: float
    """Of the evaluation documents, those a tenth of which, or more, are runs of tokens that
    calibration holds too; intact value 0."""
    names: tuple[str, ...]
    """Their names."""
    passing: int
    """Documents that share a run, but less of them than that."""
    run: int
    """Tokens in a shared run."""


def contamination(calibration: Corpus, evaluation: Corpus, run: int = RUN) -> Contamination:
    """Which evaluation documents share runs of `run` tokens with calibration documents?

    Both corpora come from one tokenizer; windows are joined again first. A document shorter than
    that counts when a calibration document equals it. Runs are compared by a 64-bit multilinear
    hash (Lemire and Kaser 2014), so a false match is as good as impossible.
    """
    weights = generator(0, "overlap").integers(0, 2**64, size=run, dtype=np.uint64)
    seen = np.unique(
        np.concatenate(
            [sliding_window_view(ids, run) @ weights for _, ids in _streams(calibration, run)]
        )
    )
    copied, passing = [], 0
    for document, ids in _streams(evaluation, run):
        starts = _among(sliding_window_view(ids, run) @ weights, seen)
        # Each shared run covers its own tokens: a token is in one if one began shortly before.
        inside = np.convolve(starts, np.ones(run)) > 0.5
        if inside.mean() >= COPIED:
            copied.append(document)
        elif inside.any():
            passing += 1
    return Contamination(
        share=len(copied) / evaluation.n_documents,
        names=tuple(evaluation.document_names[document] for document in copied),
        passing=passing,
        run=run,
    )


def _among(hashes: NDArray[np.uint64], seen: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of the hashes were seen? `seen` is in order and not empty: `np.isin` would put it in
    order anew for every document."""
    at = np.searchsorted(seen, hashes)
    same: NDArray[np.bool_] = seen[np.minimum(at, len(seen) - 1)] == hashes
    return same


def _streams(corpus: Corpus, least: int) -> Iterator[tuple[int, NDArray[np.uint64]]]:
    """Each document's tokens in one piece without BOS, filled up to a least length."""
    first = np.flatnonzero(np.diff(corpus.document, prepend=-1))
    for start, stop in zip(first, [*first[1:], len(corpus.rows)], strict=True):
        ids = np.concatenate([row[corpus.bos :] for row in corpus.rows[start:stop]])
        filling = np.full(max(0, least - len(ids)), -1)
        yield int(corpus.document[start]), np.concatenate([ids, filling]).astype(np.uint64)
