"""The estimates or contrasts of a store, of which a rule takes those that it is on."""

from typing import Any

import numpy as np
import pyarrow as pa

from bitlens.results.columns import texts
from bitlens.results.gating.rule import ANY, GateRule, matches

Row = dict[str, Any]


class NumberTable:
    """A table by columns: patterns are held against each name once, and rows are made of what is
    selected alone, of a table of a million."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        names = ("analysis", "metric", "model", "compression", "site", "item")
        self._texts = {name: texts(table[name].combine_chunks()) for name in names}
        (analyses, analysis), (metrics, metric) = (self._texts[name] for name in names[:2])
        places, self._metric = np.unique(analysis * len(metrics) + metric, return_inverse=True)
        pairs = (divmod(place, len(metrics)) for place in places.tolist())
        self.metrics = [f"{analyses[first]}.{metrics[second]}" for first, second in pairs]
        """Every `analysis.metric` of the table."""

    def known(self, column: str) -> list[str]:
        """What a column says, each once."""
        return self._texts[column][0]

    def of(self, rule: GateRule) -> list[Row]:
        """The rows that a rule names, of controls too where its pattern fits them, in order."""
        keep = _named(rule.metric, self.metrics)[self._metric]
        for column in ("model", "compression", "site", "item"):
            pattern = (rule.twin or ANY) if column == "compression" else getattr(rule, column)
            known, which = self._texts[column]
            keep &= _named(pattern, known)[which]
        rows: list[Row] = self._table.filter(pa.array(keep)).to_pylist()
        return rows


def _named(pattern: str, names: list[str]) -> np.ndarray:
    return np.array([matches(pattern, name) for name in names], dtype=bool)
