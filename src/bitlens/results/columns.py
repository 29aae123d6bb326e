"""A column of a table as numpy holds it: Arrow's own way there loads pandas, or goes one value at a
time."""

import numpy as np
import pyarrow as pa


def present(values: pa.Array) -> np.ndarray:
    """`[n]`: is there something at all?"""
    known = values.buffers()[0]
    return np.ones(len(values), bool) if known is None else _flags(known, values)


def numbers(values: pa.Array) -> np.ndarray:
    """`[n]` of a column of numbers or of flags; anything where there is nothing."""
    held, kind = values.buffers()[1], values.type
    if held is None:
        return np.zeros(len(values))
    if pa.types.is_boolean(kind):
        return _flags(held, values)
    letter = (
        "f" if pa.types.is_floating(kind) else "u" if pa.types.is_unsigned_integer(kind) else "i"
    )
    stored = np.frombuffer(held, f"{letter}{kind.bit_width // 8}")
    return stored[values.offset : values.offset + len(values)]


def texts(values: pa.Array) -> tuple[list[str], np.ndarray]:
    """What a column of texts says, each once, and which of it each row says; -1: nothing."""
    coded = values.dictionary_encode()
    which = np.where(present(coded.indices), numbers(coded.indices), -1)
    return coded.dictionary.to_pylist(), which.astype(np.int64)


def is_number(kind: pa.DataType) -> bool:
    """Does `numbers` read it?"""
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    )


def _flags(held: pa.Buffer, values: pa.Array) -> np.ndarray:
    bits = np.unpackbits(np.frombuffer(held, np.uint8), bitorder="little")
    return bits[values.offset : values.offset + len(values)].astype(bool)
