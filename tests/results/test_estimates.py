"""From a store of cells to rows with intervals and contrasts."""

from dataclasses import asdict

import numpy as np
import pytest

from bitlens.results.estimates import contrasts, controls_of, estimates
from bitlens.results.records import REFERENCE, Cell, Metric, TwinRecord, Value
from bitlens.results.stats.intervals import interval
from bitlens.results.stats.multiple import false_discovery
from bitlens.results.stats.replicates import leave_one_out
from bitlens.results.store import Store

KL = Metric("kl", "How far?", unit="nats", worse="higher", intact=0.0, scale="log")
LOSS = Metric("perplexity", "How surprised?", unit="", worse="higher", intact=None, level=True)
TWINS = [
    TwinRecord(compression="rtn:bits=4", control=False, bits=4.25),
    TwinRecord(compression="prune:sparsity=0.3", control=False, bits=16.0),
    TwinRecord(compression="cast:dtype=bfloat16", control=True, bits=16.0),
    TwinRecord(compression="noise:like=[rtn:bits=4]", control=True, like="rtn:bits=4"),
    TwinRecord(compression="rtn:bits=2", control=False, status="failed", reason="no memory"),
]
SIZES = {"rtn:bits=4": 2.0, "prune:sparsity=0.3": 1.0, "cast:dtype=bfloat16": 1.0}


def values(compression, rng):
    """KL at three sites, and a level; shards in common with nothing but their number."""
    weights = leave_one_out(np.ones(20, dtype=bool))
    found = []
    for metric, site in [
        ("kl", "resid.0"),
        ("kl", "resid.1"),
        ("kl", "logits"),
        ("perplexity", ""),
    ]:
        shards = SIZES.get(compression, 0.5) * rng.lognormal(sigma=0.3, size=20)
        numbers = (weights @ shards / weights.sum(axis=1)).tolist()
        found.append(
            Value(
                metric=metric,
                site=site,
                item="",
                value=numbers[0],
                replicates=tuple(numbers[1:]),
                chance=9.0,
                documents=20,
            )
        )
    return [*found, Value(metric="kl", site="resid.2", item="", value=None, reason="not measured")]


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / "out")


@pytest.fixture
def manifest(store):
    rng = np.random.default_rng(0)
    cells = []
    for model in ("a", "b"):
        for twin in TWINS:
            cell = Cell(model=model, compression=twin.compression, analysis="behaviour", seed=3)
            about = {"model": model, "compression": twin.compression, "analysis": "behaviour"}
            cells.append({"id": cell.id, "status": twin.status, "seed": 3, **about})
            if twin.status == "done":
                store.write_cell(cell, values(twin.compression, rng))
    return {
        "metrics": {f"behaviour.{m.name}": asdict(m) for m in (KL, LOSS)},
        "twins": [{"model": model, **asdict(twin)} for model in ("a", "b") for twin in TWINS],
        "cells": cells,
    }


def test_one_row_an_estimate(store, manifest):
    """Every value of every complete cell, in the manifest's order, with its interval."""
    rows = estimates(store, manifest)
    store.write_table("estimates", rows)
    assert len(rows) == 2 * 4 * 5
    assert [row["compression"] for row in rows[:20:5]] == [t.compression for t in TWINS[:4]]
    _, first = store.read_cell(manifest["cells"][0]["id"])
    expected = interval(first[0], KL)
    assert (rows[0]["value"], rows[0]["low"], rows[0]["high"]) == (
        expected.value, expected.low, expected.high,
    )  # fmt: skip
    assert rows[0] | {"value": 0, "low": 0, "high": 0} == {
        "model": "a", "compression": "rtn:bits=4", "bits": 4.25, "analysis": "behaviour",
        "metric": "kl", "site": "resid.0", "item": "", "value": 0, "low": 0, "high": 0,
        "documents": 20, "intact": 0.0, "chance": 9.0, "worse": "higher", "reason": None, "seed": 3,
    }  # fmt: skip
    assert rows[4]["value"] is None
    assert rows[4]["reason"] == "not measured"


def test_twins_meet_their_controls(store, manifest):
    """RTN meets the noise that is like it and the cast, pruning, which has no noise, the cast;
    controls and levels nothing."""
    rows = contrasts(store, manifest)
    store.write_table("contrasts", rows)
    met = {(row["model"], row["compression"], row["control"]) for row in rows}
    assert met == {
        (model, *pair)
        for model in ("a", "b")
        for pair in [
            ("rtn:bits=4", "noise:like=[rtn:bits=4]"),
            ("rtn:bits=4", "cast:dtype=bfloat16"),
            ("prune:sparsity=0.3", "cast:dtype=bfloat16"),
        ]
    }
    assert {row["metric"] for row in rows} == {"kl"}
    assert len(rows) == 2 * 3 * 4
    noise = (row for row in rows if row["control"].startswith("noise"))
    rtn = [row for row in noise if row["p"] is not None]
    prune = [row for row in rows if row["compression"] != "rtn:bits=4" and row["p"] is not None]
    assert all(row["q"] < 0.01 and row["low"] > 0 for row in rtn)
    assert all(row["p"] > 0.01 for row in prune)


def test_q_is_over_all_rows_of_a_metric(store, manifest):
    """The false discovery rate counts every test of the metric, in all models and at all sites,
    with one kind of control: how far twins are from a cast says nothing of noise."""
    rows = contrasts(store, manifest)
    for kind in ("noise", "cast"):
        family = [row for row in rows if row["control"].startswith(kind)]
        assert family
        assert [row["q"] for row in family] == false_discovery([row["p"] for row in family])
    assert [row["p"] is None for row in rows] == [row["site"] == "resid.2" for row in rows]


def test_another_metric_makes_no_finding_surer(store, manifest):
    """What is tested of one metric is no part of another's family."""

    def found():
        rows = contrasts(store, manifest)
        place = ("model", "compression", "control", "site")
        return {
            tuple(row[name] for name in place): row["q"] for row in rows if row["metric"] == "kl"
        }

    alone = found()
    manifest["metrics"]["behaviour.perplexity"]["level"] = False
    assert any(row["metric"] == "perplexity" for row in contrasts(store, manifest))
    assert found() == alone


def test_without_a_control_there_is_no_contrast(store, manifest):
    """Where no control was run, or it failed, nothing is compared."""
    manifest["twins"] = [twin for twin in manifest["twins"] if not twin["control"]]
    assert contrasts(store, manifest) == []


def test_controls_of_a_twin():
    """The noise that is like it and the first cast, never a failed one; none for a control."""
    noise, cast = "noise:like=[rtn:bits=4]", "cast:dtype=bfloat16"
    assert controls_of("rtn:bits=4", TWINS) == [noise, cast, REFERENCE]
    assert controls_of("rtn:bits=3", TWINS) == [cast, REFERENCE]
    assert controls_of(cast, TWINS) == controls_of(noise, TWINS) == []
    failed = [
        TwinRecord(compression=noise, control=True, like="rtn:bits=4", status="failed"),
        *TWINS[:3],
    ]
    assert controls_of("rtn:bits=4", failed) == [cast, REFERENCE]
    assert controls_of("rtn:bits=4", TWINS[:2]) == [REFERENCE]


@pytest.mark.parametrize(
    ("metric", "tested"),
    [
        (Metric("kl", "?", unit="nats", worse="higher", intact=0.0), True),
        (Metric("kl", "?", unit="", worse="higher", intact=1.0, scale="log"), True),
        (Metric("kl", "?", unit="nats", worse="higher", intact=0.0, scale="log"), False),
        (Metric("kl", "?", unit="", worse="lower", intact=1.0, scale="atanh"), False),
        (Metric("kl", "?", unit="share", worse="lower", intact=1.0, scale="logit"), False),
        (Metric("kl", "?", unit="", worse="lower", intact=0.0, interval=False), False),
        (Metric("kl", "?", unit="", worse=None, intact=None), False),
        (Metric("kl", "?", unit="", worse=None, intact=1.0, level=True), False),
    ],
)
def test_where_both_sides_are_possible_the_reference_is_a_control(store, manifest, metric, tested):
    """Twins, and no controls, are tested against the intact value: how far, and how sure."""
    manifest["metrics"]["behaviour.kl"] = asdict(metric)
    rows = [row for row in contrasts(store, manifest) if row["control"] == REFERENCE]
    assert bool(rows) is tested
    if tested:
        assert {row["compression"] for row in rows} == {"rtn:bits=4", "prune:sparsity=0.3"}
        row = next(r for r in rows if (r["compression"], r["site"]) == ("rtn:bits=4", "logits"))
        values = {r["compression"]: r["value"] for r in estimates(store, manifest)
                  if (r["model"], r["site"]) == (row["model"], "logits")}  # fmt: skip
        assert row["difference"] == values["rtn:bits=4"] - metric.intact
        assert row["low"] > 0
        assert row["q"] < 0.01
