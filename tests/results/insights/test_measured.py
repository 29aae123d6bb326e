"""What is read of a store: SAE by SAE, twins in the manifest's order, rows by latent."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from bitlens.results.insights.measured import measured
from bitlens.results.records import Cell
from bitlens.results.store import Store
from tests.support import results

NOISE = "noise:like=[nf4]"


def table(name: str, saes: list[str], **columns: list) -> pa.Table:
    """Rows of several SAEs at one site."""
    of = {"sae": saes, "site": ["resid.0"] * len(saes), **columns}
    return results.shown(
        name, [dict(zip(of, row, strict=True)) for row in zip(*of.values(), strict=True)]
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two twins of one model with two SAEs, one with halves; another model that failed."""
    made = Store.create(tmp_path / "run")
    cells = []
    for name in ("nf4", NOISE):
        cell = Cell(model="m", compression=name, analysis="features", seed=0)
        features = table(
            "features",
            ["a", "a", "a", "b"],
            latent=[5, 2, 9, 0],
            state=["survived", "damaged", "twin only", "survived"],
            r=[0.95, 0.2, None, 0.99],
        )
        tables = {"features": features}
        if name == "nf4":
            tables["halves"] = table(
                "halves", ["b", "a", "a"], latent=[0, 5, 2], r_first=[0.9, None, 0.3]
            )
        made.write_cell(cell, [], tables)
        cells.append(results.entry(cell))
    cells.append({**cells[0], "model": "n", "status": "failed"})
    cells.append({**cells[0], "analysis": "behaviour"})
    twins = [results.twin("nf4"), results.twin(NOISE, control=True, like="nf4")]
    results.complete(made, cells=cells, twins=twins)
    return made


def test_sae_by_sae(store: Store) -> None:
    """Features of the reference only, by latent, and the halves of the same rows; absent is NaN."""
    a, b = measured(store)
    assert (a.model, a.sae, a.name, b.sae) == ("m", "a", "a (resid.0)", "b")
    assert [(t.name, t.like, t.control) for t in a.twins] == [
        ("nf4", None, False), (NOISE, "nf4", True),
    ]  # fmt: skip
    first, second = a.twins
    assert first.features["latent"].tolist() == [2, 5]
    assert first.features["r"].tolist() == [0.2, 0.95]
    assert first.halves["latent"].tolist() == [2, 5]
    assert np.array_equal(first.halves["r_first"], [0.3, np.nan], equal_nan=True)
    assert second.halves == {}
    assert b.twins[0].features["r"].tolist() == [0.99]


def test_one_model_of_several(store: Store) -> None:
    """Others are not read."""
    assert len(measured(store, "m")) == 2
    assert measured(store, "n") == []
