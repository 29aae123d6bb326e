"""Blocks of weights, and what llama.cpp's own library made of them in its K-formats.

Made with ggml 0.13.1 for x86-64, as pywhispercpp 1.5.1 ships it; against/test_gguf holds the file
to whichever is installed.
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

KINDS = ("q2_k", "q3_k", "q4_k", "q5_k", "q6_k")

_FILE = load_file(Path(__file__).with_suffix(".safetensors"))

WEIGHTS: np.ndarray = _FILE["weights"]
"""`[24, 256]`: of trained matrices, normal ones of many sizes and shapes, constants, grids,
outliers and zeros."""

BYTES: dict[str, np.ndarray] = {kind: _FILE[kind] for kind in KINDS}
"""`[24, bytes of a block]` of each kind, the blocks of these weights."""


def looked_up(rows: np.ndarray, kind: str) -> np.ndarray:
    """`[rows, 256]`, each one of `WEIGHTS`, to their blocks."""
    place = {row.tobytes(): number for number, row in enumerate(WEIGHTS)}
    return BYTES[kind][[place[row.tobytes()] for row in np.ascontiguousarray(rows)]]
