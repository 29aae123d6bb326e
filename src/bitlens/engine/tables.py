"""From what analyses show to tables that can be stored."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from bitlens.results.records import DetailTable
from bitlens.results.table_schema import SHOWN


def joined(parts: Sequence[DetailTable]) -> DetailTable:
    """Tables of one name, of several sites or SAEs, one under the other."""
    if len(parts) == 1:
        return parts[0]
    columns: dict[str, Any] = {}
    for name, first in parts[0].columns.items():
        every = [part.columns[name] for part in parts]
        whole = isinstance(first, np.ndarray)
        columns[name] = np.concatenate(every) if whole else [v for of in every for v in of]
    return DetailTable(parts[0].name, columns)


def tables(shown: Mapping[str, Sequence[DetailTable]]) -> dict[str, pa.Table]:
    """What a cell shows, by name; what is not a number is absent."""
    return {name: _table(joined(parts).columns, SHOWN.get(name)) for name, parts in shown.items()}


def _table(columns: Mapping[str, Any], schema: pa.Schema | None) -> pa.Table:
    """`schema`: None where a plug-in shows what it likes."""
    kinds = {} if schema is None else {field.name: field.type for field in schema}
    arrays = {name: _known(values, kinds.get(name)) for name, values in columns.items()}
    return pa.table(arrays, schema=schema)


def _known(values: Any, kind: pa.DataType | None) -> pa.Array:
    if isinstance(values, np.ndarray) and values.dtype.kind == "f":
        values = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
    return pa.array(values, kind, from_pandas=True)
