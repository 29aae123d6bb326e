"""Which expert and which router stand out of a store, by the rules of the page."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.experts import damaged_expert, damaged_router, expert_rows, named
from bitlens.report.scores import scores
from bitlens.results.store import Store


def row(metric: str, site: str, item: str, value: float, half: float | None = 0.01) -> Row:
    low, high = (None, None) if half is None else (value - half, value + half)
    return {
        **{"model": "m", "compression": "twin", "analysis": "routing", "metric": metric},
        **{"site": site, "item": item, "value": value, "low": low, "high": high},
        **{"chance": None, "seed": 0, "documents": 30, "reason": None, "bits": 4.0},
    }


def store(rows: list[Row], tmp_path: Path) -> AuditResults:
    model: dict[str, Any] = {"name": "m", "blocks": 2}
    return AuditResults(
        manifest={"models": [model], "twins": [], "metrics": {}, "checks": []},
        run={},
        estimates=rows,
        contrasts=[],
        coverage=[],
        store=Store(tmp_path),
    )


def errors(*values: float, half: float | None = 0.01) -> list[Row]:
    """Four experts of two blocks."""
    places = [(f"experts.{n // 2}", f"expert {n % 2}, local") for n in range(len(values))]
    return [row("expert_error", *p, v, half) for p, v in zip(places, values, strict=True)]


def test_errors_are_read_by_place(tmp_path: Path) -> None:
    """Block and expert of the site and the item; written `1.0`."""
    found = expert_rows(store(errors(0.1, 0.2, 0.3, 0.4), tmp_path), "m", "twin")
    assert list(found) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert found[(1, 0)]["value"] == 0.3
    assert named((1, 0)) == "1.0"


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ((0.1, 0.1, 1.0, 0.1), (1, 0)),
        ((0.1, 0.1, 0.4, 0.1), None),
        ((0.6, 0.1, 1.0, 0.1), None),
        ((1.0,), None),
    ],
)
def test_one_lost_expert_is_named(
    values: tuple[float, ...], place: tuple[int, int] | None, tmp_path: Path
) -> None:
    """Where it is off by more than half, and by twice as much as the next; never where there is no
    other to hold it against."""
    found = damaged_expert(store(errors(*values), tmp_path), "m", "twin")
    assert (found and found[0]) == place


def test_an_expert_that_may_be_off_by_less_than_half_is_not_named(tmp_path: Path) -> None:
    """Its whole interval counts."""
    assert damaged_expert(store(errors(0.1, 0.1, 0.6, half=0.2), tmp_path), "m", "twin") is None


def test_the_worst_router_that_differs_on_equal_input_is_named(tmp_path: Path) -> None:
    """Surely below 1; of two the lower. As the twin runs, routers differ for other reasons."""
    rows = [
        row("agreement", "router.0", "local", 1.0, 0.0),
        row("agreement", "router.1", "local", 0.9),
        row("agreement", "router.0", "cumulative", 0.2),
    ]
    found = damaged_router(store(rows, tmp_path), "m", "twin")
    assert found is not None
    assert found[0] == 1
    assert damaged_router(store(rows[::2], tmp_path), "m", "twin") is None


def test_without_an_interval_none_is_named(tmp_path: Path) -> None:
    """What is said to be surely so is so by an interval."""
    rows = [*errors(0.1, 0.1, 1.0, half=None), row("agreement", "router.1", "local", 0.5, None)]
    assert damaged_expert(store(rows, tmp_path), "m", "twin") is None
    assert damaged_router(store(rows, tmp_path), "m", "twin") is None


def test_what_noise_does_as_well_is_not_named(tmp_path: Path) -> None:
    """Weight noise of the same size whose interval meets the twin's; where it does not, it is."""
    own = row("agreement", "router.1", "local", 0.9)
    for value, named_one in ((0.905, False), (0.99, True)):
        noise = {**own, "compression": "noise", "value": value}
        noise |= {"low": value - 0.01, "high": value + 0.01}
        found = store([own, noise], tmp_path)
        told = [{"model": "m", "compression": "noise", "control": True, "like": "twin"}]
        found = replace(found, manifest={**found.manifest, "twins": told})
        assert (damaged_router(found, "m", "twin") is not None) == named_one


def test_the_overview_has_the_router_that_agrees_least(tmp_path: Path) -> None:
    """Of two routers that agree on 90 and on 70 %, where loads alone give a half: 40 % of the way
    from chance to intact, in block 1."""
    rows = [
        {**row("agreement", f"router.{n}", "cumulative", value), "chance": 0.5}
        for n, value in enumerate((0.9, 0.7))
    ]
    found = {f.title: s for f, s in scores(store(rows, tmp_path), "m", "twin")}["Routing"]
    assert found is not None
    assert found.value == pytest.approx(0.4)
    assert found.of.where == "in block 1"
