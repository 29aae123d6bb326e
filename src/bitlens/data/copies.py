"""Copies among documents, word for word or nearly: they are one draw of text, and counting them
apart would make every interval too narrow.

Near copies by MinHash (Broder 1997, "On the resemblance and containment of documents") over runs
of five tokens, at the similarity of Lee et al. 2022, "Deduplicating Training Data Makes Language
Models Better": linear in the text, no document is compared with every other.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from bitlens.seeds import generator

RUN = 5
"""Tokens in a run; a shorter document is a run of its own."""
NEAR = 0.8
"""Share of the runs of two documents that both have, from which on they are copies; estimated from
the hashes, with a standard error of 0.05."""
HASHES, BANDS = 64, 16
"""How often runs are hashed, and into how many bands the least hashes go. Documents that agree in
a whole band are compared: 99.98 % of those with 0.8 of their runs in common do, 6 % of those with
a quarter."""
_TOKENS_A_PART = 1 << 21


def units(documents: Sequence[NDArray[np.integer]]) -> NDArray[np.int64]:
    """`[documents]`: the sampling unit of each, called by the first of its copies; `documents` are
    their tokens."""
    count = len(documents)
    if count < 2:
        return np.arange(count)
    signatures = np.concatenate([_signatures(part) for part in _parts(documents)])
    pairs = np.concatenate([_alike(band, signatures) for band in np.split(signatures, BANDS, 1)])
    return _connected(pairs, count)


def joined(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """`[documents]`: the units of documents that are together in one of two ways, or by others in
    between; each unit, as those that are given, is called by the first document in it."""
    own = np.arange(len(one))
    pairs = np.stack([np.concatenate([own, own]), np.concatenate([one, other])], axis=1)
    return _connected(pairs, len(one))


def _connected(pairs: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """`[count]`: the first of all that pairs connect with each."""
    graph = coo_matrix((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (count, count))
    label = connected_components(graph, directed=False)[1]
    _, first = np.unique(label, return_index=True)
    return np.asarray(first[label], dtype=np.int64)


def _parts(documents: Sequence[NDArray[np.integer]]) -> Iterator[list[NDArray[np.integer]]]:
    """Documents of so many tokens at a time."""
    ends = np.cumsum([len(ids) for ids in documents])
    borders = np.flatnonzero(np.diff(ends // _TOKENS_A_PART)) + 1
    for part in np.split(np.arange(len(documents)), borders):
        yield [documents[n] for n in part]


def _signatures(documents: Sequence[NDArray[np.integer]]) -> NDArray[np.uint32]:
    """`[documents, hashes]`: the least of each hash of all runs of a document."""
    draw = generator(0, "copies")
    weights = draw.integers(0, 2**64, size=RUN, dtype=np.uint64)
    filled = [np.append(ids, np.full(max(0, RUN - len(ids)), -1)) for ids in documents]
    lengths = np.array([len(ids) for ids in filled])
    runs = sliding_window_view(np.concatenate(filled).astype(np.uint64), RUN) @ weights
    # No run goes from one document into the next.
    within = np.repeat(np.cumsum(lengths), lengths)[: len(runs)] >= np.arange(len(runs)) + RUN
    runs = runs[within]
    starts = np.append(0, np.cumsum(lengths - RUN + 1)[:-1])
    factors = draw.integers(0, 2**64, size=(HASHES, 2), dtype=np.uint64) | np.uint64(1)
    # Multiply-shift hashing (Dietzfelbinger 1996).
    least = [np.minimum.reduceat((runs * a + b) >> np.uint64(32), starts) for a, b in factors]
    return np.stack(least, axis=1).astype(np.uint32)


def _alike(band: NDArray[np.uint32], signatures: NDArray[np.uint32]) -> NDArray[np.int64]:
    """`[pairs, 2]`: documents that agree in a band with another before them, and enough besides."""
    bits = generator(0, "bands").integers(0, 2**64, size=band.shape[1], dtype=np.uint64)
    key = band.astype(np.uint64) @ bits
    order = np.argsort(key, kind="stable")
    begins = np.append(True, np.diff(key[order]) != 0)
    first = order[begins][np.cumsum(begins) - 1]
    pairs = np.stack([first, order], axis=1)[~begins]
    agree = (signatures[pairs[:, 0]] == signatures[pairs[:, 1]]).mean(axis=1)
    alike: NDArray[np.int64] = pairs[agree >= NEAR]
    return alike
