"""Laws of categories in a store: differences, whom they are tested for, and what too few leave."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitlens.results.categories import TABLE, _rows, categories
from bitlens.results.records import FEWEST, TOO_FEW, Cell, Metric
from bitlens.results.stats.replicates import leave_one_out

KL = {"behaviour.kl": Metric("kl", "?", unit="nats", worse="higher", intact=0.0, scale="log")}
CELL = Cell(model="m", compression="c", analysis="behaviour", seed=0)


def stored(documents: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """What the engine leaves of these documents' KL, a shard each of twenty."""

    def row(kind: str, others: bool, of: np.ndarray) -> dict[str, Any]:
        shard = np.arange(len(of)) % 20
        weights = leave_one_out(np.ones(20, dtype=bool))[:, shard]
        means = (weights @ of) / weights.sum(axis=1)
        return {
            "category": kind, "others": others, "metric": "kl", "site": "logits", "item": "",
            "value": means[0], "replicates": means[1:].tolist(), "chance": None,
            "documents": len(of), "reason": None,
        }  # fmt: skip

    found = []
    for kind, of in documents.items():
        rest = np.concatenate([v for other, v in documents.items() if other != kind])
        found += [row(kind, False, of), row(kind, True, rest)]
    return found


def test_a_category_stands_beside_all_others() -> None:
    """0.3 against 0.1: a difference of 0.2, and where both are what they are in every document it
    is sure; of 40 documents alike there is none."""
    spread = np.linspace(0.9, 1.1, 40)
    found = list(
        _rows(CELL, stored({"zh": 0.3 * spread, "en": 0.1 * spread}), KL, "jackknife", 0.95)
    )
    zh, en = found
    assert (zh["value"], zh["others"], zh["difference"]) == pytest.approx((0.3, 0.1, 0.2))
    assert zh["difference_low"] > 0.15
    assert zh["p"] < 0.001
    assert en["difference"] == pytest.approx(-0.2)


def test_of_too_few_documents_nothing_is_said() -> None:
    """On either side: neither an interval of the difference nor a test."""
    few = stored({"zh": np.full(FEWEST - 1, 0.3), "en": np.linspace(0.1, 0.2, 40)})
    for row in _rows(CELL, few, KL, "jackknife", 0.95):
        assert (row["p"], row["difference_low"], row["unsaid"]) == (None, None, TOO_FEW)
        assert row["difference"] is not None


def test_labels_drawn_by_chance_are_rarely_found_to_differ() -> None:
    """Of 300 draws from one distribution, some 5 % have p <= 0.05: documents of two labels, 25
    against 75."""
    draw = np.random.default_rng(0)
    found = []
    for _ in range(300):
        kl = draw.lognormal(-2, 0.5, 100)
        rows = list(_rows(CELL, stored({"a": kl[:25], "b": kl[25:]}), KL, "jackknife", 0.95))
        found.append(rows[0]["p"] <= 0.05)
    assert 0.02 < np.mean(found) < 0.09


def test_a_store_without_categories_has_no_rows(tmp_path: Path) -> None:
    """Nothing is written where nobody asked, and reading it is no error."""
    from bitlens.results.store import Store
    from tests.support.audit_stores import write_store

    store = Store.open(write_store(tmp_path / "results", ("demo",)))
    assert categories(store, store.manifest()) == []
    assert store.read_table(TABLE).num_rows == 0
