"""Columns as numpy holds them, beside Arrow's own way there."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bitlens.results.columns import numbers, present, texts

KINDS = [pa.int64(), pa.int32(), pa.uint8(), pa.float64(), pa.float32(), pa.bool_()]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("held", [[1, 0, 1, 1, 0, 1, 0, 0, 1], [1, None, 0, None], [None] * 3, []])
@pytest.mark.parametrize("begin", [0, 2])
def test_numbers_are_arrow_s(kind: pa.DataType, held: list[Any], begin: int) -> None:
    """Of every kind, whole and from a place on."""
    column = pa.array(held).cast(kind)[begin:]
    known = column.to_pylist()
    assert present(column).tolist() == [value is not None for value in known]
    found = numbers(column)
    assert [v for v, is_there in zip(found.tolist(), present(column), strict=True) if is_there] == [
        value for value in known if value is not None
    ]
    if known and None not in known:
        assert found.dtype == column.to_numpy(zero_copy_only=False).dtype


@pytest.mark.parametrize("held", [["b", "a", "b", None], [None], []])
def test_texts_stand_once(held: list[str | None]) -> None:
    """And every row says which."""
    known, which = texts(pa.array(held, pa.string()))
    assert len(set(known)) == len(known)
    assert [None if n < 0 else known[n] for n in which.tolist()] == held
    assert np.issubdtype(which.dtype, np.integer)
