"""From what analyses show to tables that can be stored."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from bitlens.analyses.analysis import Shown


def joined(parts: Sequence[Shown]) -> Shown:
    """Tables of one name, of several sites or SAEs, one under the other."""
    if len(parts) == 1:
        return parts[0]
    columns: dict[str, Any] = {}
    for name, first in parts[0].columns.items():
        every = [part.columns[name] for part in parts]
        whole = isinstance(first, np.ndarray)
        columns[name] = np.concatenate(every) if whole else [v for of in every for v in of]
    return Shown(parts[0].name, columns)


def tables(shown: Mapping[str, Sequence[Shown]]) -> dict[str, pa.Table]:
    """What a cell shows, by name; what is not a number is absent."""
    return {
        name: pa.table({c: _known(values) for c, values in joined(parts).columns.items()})
        for name, parts in shown.items()
    }


def _known(values: Any) -> pa.Array:
    if isinstance(values, np.ndarray) and values.dtype.kind == "f":
        values = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
    return pa.array(values, from_pandas=True)
