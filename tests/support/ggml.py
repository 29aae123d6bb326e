"""llama.cpp's own library of block formats, from whichever installed package brings it."""

import ctypes
from functools import cache
from importlib.metadata import PackageNotFoundError, files

import gguf
import numpy as np

PACKAGES = ("pywhispercpp", "llama_cpp_python")


@cache
def compiled() -> ctypes.CDLL | None:
    """libggml-base as it was compiled for x86-64 Linux; None: no package that has it."""
    for package in PACKAGES:
        try:
            found = files(package) or []
        except PackageNotFoundError:
            continue
        for file in found:
            if file.name == "libggml-base.so":
                return _declared(ctypes.CDLL(str(file.locate())))
    return None


def _declared(loaded: ctypes.CDLL) -> ctypes.CDLL:
    loaded.ggml_quantize_chunk.restype = ctypes.c_size_t
    loaded.ggml_quantize_chunk.argtypes = [
        ctypes.c_int,
        *[ctypes.c_void_p] * 2,
        *[ctypes.c_int64] * 3,
        ctypes.c_void_p,
    ]
    return loaded


def quantized(numbers: np.ndarray, kind: str) -> np.ndarray:
    """`[rows, columns]` to `[rows, bytes]`, by the library's reference code, without an importance
    matrix."""
    known = compiled()
    assert known is not None
    type = gguf.GGMLQuantizationType[kind.upper()]
    block, size = gguf.GGML_QUANT_SIZES[type]
    numbers = np.ascontiguousarray(numbers, dtype=np.float32)
    rows, columns = numbers.shape
    made = np.empty((rows, columns // block * size), np.uint8)
    places = numbers.ctypes.data, made.ctypes.data
    assert known.ggml_quantize_chunk(int(type), *places, 0, rows, columns, None) == made.nbytes
    return made
