"""Places in a text as one integer each: the document, and where in it."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

BITS = 32
"""Of the integer, those that say where in the document."""

Numbers = TypeVar("Numbers", NDArray[np.int64], Tensor)


def packed(document: Numbers, offset: Numbers) -> Numbers:
    """Document and offset, int64 each, as one integer, in the order of documents."""
    place: Numbers = (document << BITS) + offset
    return place


def unpacked(place: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Document and offset of each."""
    return place >> BITS, place & ((1 << BITS) - 1)
