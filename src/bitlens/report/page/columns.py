"""Columns of numbers as bytes: what a page can hold of a hundred thousand features."""

import base64
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

Value = str | float | int | None
"""What a cell of a table holds."""
STEPS = 10_000
"""Steps of a correlation between 0 and 1."""
MISSING = -(2**15)
FIRST = 48
"""The letter of nought, `0`; 255 more follow it."""


def letters(values: Iterable[int]) -> str:
    """Whole numbers up to 255, a letter each: most are small, so most letters are one byte, and
    what repeats compresses."""
    return "".join(map(_LETTERS.__getitem__, values))


_LETTERS = [chr(FIRST + value) for value in range(256)]


def numbers(values: Sequence[float | int | None]) -> dict[str, Any]:
    """Numbers in the smallest type that holds three digits of each; None where there is none."""
    sizes = [abs(value) for value in values if value]
    narrow = all(1e-4 < size < 6e4 for size in sizes)
    kind = "float16" if narrow else "float32"
    return _column(kind, [math.nan if value is None else value for value in values])


def whole(values: Sequence[int | None]) -> dict[str, Any]:
    """Whole numbers; None where there is none."""
    return _column("int32", [MISSING if value is None else value for value in values])


def correlations(values: Sequence[float | None]) -> dict[str, Any]:
    """Correlations rounded up to steps of a ten-thousandth, so that one lies above a threshold of
    so many hundredths exactly where the number itself does."""
    return _column("steps", [MISSING if value is None else _step(value) for value in values])


def _step(value: float) -> int:
    """The least step that is not below the value."""
    step = math.ceil(value * STEPS)
    # The product is rounded: what lies on a step may seem to lie beside it.
    if value <= (step - 1) / STEPS:
        return step - 1
    return step + 1 if value > step / STEPS else step


def _column(kind: str, values: Sequence[float | int]) -> dict[str, Any]:
    stored = np.dtype("int16" if kind == "steps" else kind).newbyteorder("<")
    # First all first bytes, then all second ones: neighbours that are alike compress well.
    planes = np.array(values, stored).view(np.uint8).reshape(-1, stored.itemsize).T
    return {"type": kind, "bytes": base64.b64encode(planes.tobytes()).decode()}
