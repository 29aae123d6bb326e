"""Rules by which positions of a row count in an average."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bitlens.errors import DataError

Rule = Literal["content", "all", "last"]


def counted(
    tokens: NDArray[np.integer],
    lengths: NDArray[np.integer],
    rule: Rule,
    bos_id: int | None,
    ends: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Which positions of a padded batch count? Padding never does.

    `tokens` is [rows, width], padded on the right; `lengths` [rows]; so is the result [rows,
    width]. `content` leaves out each row's first position, where attention sinks and massive
    activations sit whatever the token (Sun et al. 2024), and the BOS token wherever it stands.
    `last` is the last token that is read of each document: `ends` [rows] says which rows are the
    last of theirs, by default all. DataError for another rule.
    """
    place = np.arange(tokens.shape[1])
    length = lengths[:, None]
    if rule == "all":
        return place < length
    if rule == "last":
        final: NDArray[np.bool_] = place == length - 1
        return final if ends is None else final & ends[:, None]
    if rule == "content":
        inside = (place > 0) & (place < length)
        return inside if bos_id is None else inside & (tokens != bos_id)
    raise DataError(
        f"There is no rule for positions called {rule!r}.",
        f"one of {', '.join(get_args(Rule))}.",
        "--positions content",
    )
