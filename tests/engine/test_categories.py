"""Laws of categories: what is said of one is what its documents alone would have said."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bitlens.data.categories import Categories
from bitlens.engine.accumulators import Accumulator, SampledRows
from bitlens.engine.categories import TABLE, of_categories
from bitlens.engine.plan import CORPUS
from bitlens.results.stats.replicates import assign
from tests.support import tiny

LENGTHS = [[12], [9], [12, 7], [11], [8], [12], [10], [12, 5], [6], [9]]
KINDS = np.array([0, 1, 0, 1, 1, 0, 1, 0, 1, 0])


def test_sums_of_categories_add_up_by_shard() -> None:
    """Two shards of three categories: the second category is rows 2 and 3, the others the rest."""
    whole = Accumulator(
        sums={"x": torch.arange(1.0, 7.0)},
        largest={"x": torch.tensor([1.0, 9.0, 3.0, 4.0, 5.0, 6.0])},
        rows={"r": [SampledRows(torch.tensor([7, 8]), torch.tensor([1, 3]), {})]},
    )
    one, others = of_categories(whole, 2, [1]), of_categories(whole, 2, [0, 2])
    assert one.sums["x"].tolist() == [3.0, 4.0]
    assert others.sums["x"].tolist() == [6.0, 8.0]
    assert others.largest["x"].tolist() == [5.0, 9.0]
    assert [rows.shard.tolist() for rows in (one.rows["r"][0], others.rows["r"][0])] == [[1], [1]]


def test_every_class_is_spread_over_all_shards() -> None:
    """Two documents of each of three classes on two shards: one in each, and as many tokens."""
    found = assign([5, 5, 3, 3, 9, 1], list(range(6)), 2, [0, 0, 1, 1, 2, 2])
    assert found[[0, 2, 4]].tolist() == (1 - found[[1, 3, 5]]).tolist()
    assert sorted(assign([4] * 6, list(range(6)), 20, [0, 1, 2, 0, 1, 2]).tolist()) == list(
        range(6)
    )


@pytest.mark.parametrize("name", ["behaviour", "geometry", "features"])
def test_a_category_is_measured_as_its_documents_alone_would_be(name: str, tmp_path: Path) -> None:
    """And all documents as they are without categories; replicates leave out documents of both."""
    layout, corpus = tiny.layout("llama"), tiny.corpus(LENGTHS, seed=3)
    kinds = Categories(field="kind", labels=("a", "b"), of=KINDS)
    analysis = tiny.analysis(name)

    def measured(of: Any, where: str) -> Any:
        plan = tiny.plan(of, analyses=[analysis])
        twins = {"3": "rtn:bits=3"}
        return list(tiny.measurement(layout, twins, plan, tmp_path / where, [analysis]).values())

    found = measured(replace(corpus, categories=kinds), "kinds")
    plain = tiny.by_key(measured(corpus, "plain"))
    for key, value in tiny.by_key(found).items():
        assert value.value == pytest.approx(plain[key].value, nan_ok=True)
    alone = {
        kind: tiny.by_key(measured(corpus.select(np.flatnonzero(n == KINDS)), kind))
        for n, kind in enumerate("ab")
    }
    rows = [r for table in found for r in table_rows(table) if table.shown]
    assert {row["others"] for row in rows} == {False, True}
    compared = 0
    for row in rows:
        kind = row["category"] if not row["others"] else "ab".replace(row["category"], "")
        expected = alone[kind][(name, "3", row["item"], row["site"], row["metric"])]
        # Of which a single feature's interval decides, which rests on other shards.
        rests = row["metric"] == "undecided" or row["metric"].startswith("surely")
        if expected.value is not None and not rests:
            assert row["value"] == pytest.approx(expected.value, rel=1e-4, abs=1e-7), row
            assert row["documents"] == expected.documents
            compared += 1
    assert compared > 4


def table_rows(measured: Any) -> list[dict[str, Any]]:
    """The rows on categories of what was measured at a site."""
    return [
        dict(zip(table.columns, row, strict=True))
        for table in measured.shown
        if table.name == TABLE
        for row in zip(*table.columns.values(), strict=True)
    ]


def test_depth_parts_the_positions_of_every_document() -> None:
    """Places 1 to 3 and 4 to 11 of windows: together they are all that count, in both every
    document that is long enough."""
    depth = Categories(field="depth", labels=("0–3", "4–11"), of=None, begins=(0, 4))
    plan = tiny.plan(replace(tiny.corpus(LENGTHS, seed=3), categories=depth), analyses=[])
    found = plan.sets[CORPUS]
    assert found.shards == 2 * found.base
    assert [found.documents_in([n]) for n in (0, 1)] == [10, 10]
    counts = sum(
        np.bincount(plan.positions_of(b, b.index, CORPUS).shard, minlength=found.shards)
        for b in plan.batches
    )
    shallow, deep = np.split(np.asarray(counts), 2)
    assert shallow.sum() == 3 * 12
    assert deep.sum() == sum(n - 4 for document in LENGTHS for n in document)
