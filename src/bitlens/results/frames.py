"""Tables of a store as data frames of pandas, which need not be installed for anything else."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from bitlens.errors import InputError
from bitlens.registry import nearest

if TYPE_CHECKING:
    import pandas


def selected(table: pa.Table, what: str, wanted: Mapping[str, str | None]) -> pa.Table:
    """The rows with these values in these columns; None: any. InputError for a column that the
    table, called `what`, does not have, and for a value that stands in none of its rows."""
    for column, value in wanted.items():
        if value is None:
            continue
        if column not in table.column_names:
            raise InputError(
                f"{what} has no column {column}.",
                f"one of {', '.join(table.column_names)}.",
                "leave it out.",
            )
        known = table.column(column).unique().to_pylist()
        if value not in known:
            raise InputError(
                f"{what} has no row whose {column} is {value!r}.",
                f"one of {', '.join(map(str, known[:12]))}{', ...' if len(known) > 12 else ''}.",
                nearest(str(value), map(str, known)) or "leave it out, and look at what is there.",
            )
        table = table.filter(pc.equal(table.column(column), value))
    return table


def framed(table: pa.Table) -> "pandas.DataFrame":
    """The table as pandas has it, by Arrow's own conversion. InputError where pandas is absent."""
    try:
        import pandas
    except ImportError:
        raise InputError(
            "pandas is not installed, and a data frame is asked for.",
            "pandas; nothing else here needs it.",
            "pip install pandas, or table(...), which hands out the same rows as an Arrow table.",
        ) from None
    frame: pandas.DataFrame = table.to_pandas()
    return frame
