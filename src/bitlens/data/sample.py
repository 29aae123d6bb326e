"""Keys by which positions are drawn, where looking at all of them would take too much room."""

import numpy as np
from numpy.typing import NDArray

from bitlens.data.batches import Batch
from bitlens.seeds import position_keys


def batch_keys(batch: Batch, seed: int) -> NDArray[np.int64]:
    """[rows, width] the key by which each position is drawn; depends on its document and place."""
    place = batch.offset[:, None] + np.arange(batch.tokens.shape[1])
    return position_keys(seed, np.broadcast_to(batch.document[:, None], place.shape), place)
