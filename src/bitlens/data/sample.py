"""Which positions are looked at, where looking at all of them would take too much room?"""

import numpy as np
from numpy.typing import NDArray

from bitlens.data.batches import Batch, make_batches
from bitlens.data.corpus import Corpus
from bitlens.data.positions import Rule, counted
from bitlens.seeds import position_keys

_TOKENS_AT_ONCE = 1 << 20


def batch_keys(batch: Batch, seed: int) -> NDArray[np.int64]:
    """[rows, width] the key by which each position is drawn; depends on its document and place."""
    place = batch.offset[:, None] + np.arange(batch.tokens.shape[1])
    return position_keys(seed, np.broadcast_to(batch.document[:, None], place.shape), place)


def threshold(corpus: Corpus, rule: Rule, k: int, seed: int) -> int:
    """Which key bounds a sample of k positions? Those that count and whose key is at most this.

    Exactly k positions are, or all that count where there are no more than k. They are the k
    smallest of 63-bit hashes, so every set of k positions is as likely as another, and the
    sample does not depend on batches.
    """
    keys = np.concatenate(
        [
            batch_keys(batch, seed)[counted(batch.tokens, batch.lengths, rule, corpus.bos_id)]
            for batch in make_batches(corpus, max(_TOKENS_AT_ONCE, corpus.context))
        ]
    )
    if len(keys) <= k:
        return int(np.iinfo(np.int64).max)
    return int(np.partition(keys, k - 1)[k - 1])
