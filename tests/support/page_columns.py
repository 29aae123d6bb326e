"""Columns of the page read back, as its script reads them."""

import base64
from typing import Any

import numpy as np

KINDS = {"int32": "<i4", "steps": "<i2", "float16": "<f2", "float32": "<f4"}


def back(column: dict[str, Any]) -> np.ndarray:
    """The numbers in the bytes of a column."""
    kind = np.dtype(KINDS[column["type"]])
    planes = np.frombuffer(base64.b64decode(column["bytes"]), np.uint8)
    return np.ascontiguousarray(planes.reshape(kind.itemsize, -1).T).view(kind).ravel()
