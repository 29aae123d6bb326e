"""Shared losses: the table of pairs, the chart, what is left out and what is missing."""

from dataclasses import replace

import numpy as np
import pytest

from bitlens.report.audit_results import AuditResults
from bitlens.report.page.parts import Details, Figure, Ledger, Prose, Section, Table
from bitlens.report.sections import shared as module
from bitlens.report.sections.shared import overlaps
from bitlens.results.insights.measured import SaeFeatures
from tests.support.feature_tables import twin

RTN, PRUNE = "rtn:bits=4,group=64", "prune:sparsity=0.5"


def lost(first: int, end: int) -> np.ndarray:
    """A hundred features, of which some are lost."""
    return np.where((np.arange(100) >= first) & (np.arange(100) < end), 0.8, 0.95)


@pytest.fixture
def made() -> SaeFeatures:
    """Two compressions lose 20 features each, 10 of them both; the noise of either loses nearly
    what the first does."""
    noise = {f"noise:like=[{name}]": name for name in (RTN, PRUNE)}
    twins = [twin(lost(0, 20), RTN), twin(lost(10, 30), PRUNE)]
    twins += [twin(lost(n, n + 20), name) for n, name in enumerate(noise)]
    return SaeFeatures("demo", "late", "resid.2", tuple(twins))


def section(deep: AuditResults, made: SaeFeatures) -> Section:
    found = overlaps(deep, "demo", [made])[-1]
    assert isinstance(found, Section)
    return found


def test_pairs_stand_between_chance_and_ceiling(deep: AuditResults, made: SaeFeatures) -> None:
    """Two compressions, and each beside its noise: 10 / 30 shared, 0.04 / 0.36 by chance."""
    table = section(deep, made).parts[0]
    assert isinstance(table, Table)
    rows = {row[0]: row for row in table.rows}
    assert list(rows) == [f"{RTN} and {PRUNE}", f"{RTN} and its noise", f"{PRUNE} and its noise"]
    _, share, jaccard, noise, chance, ceiling, phi, *_ = rows[f"{RTN} and {PRUNE}"]
    assert share == "20.0 % and 20.0 %"
    assert jaccard.startswith("0.33 ±")
    assert (chance, ceiling) == ("0.111", "1.000")
    assert phi.startswith("0.38 ±")
    assert rows[f"{RTN} and its noise"][2:4] == ("1", "–")
    # RTN with the noise of pruning: 19 / 21; pruning with that of RTN: 10 / 30.
    assert noise == "0.905 and 0.333"


def test_the_chart_sets_a_pair_beside_its_noises(deep: AuditResults, made: SaeFeatures) -> None:
    """The hollow marks of two compressions: each with the other's noise, 19 / 21 and 10 / 30."""
    (figure,) = (p for p in section(deep, made).parts if isinstance(p, Figure))
    (panel,) = figure.strips[0].panels
    row = [point for point in panel.points if point["row"] == f"{RTN} and {PRUNE}"]
    by_kind = {point["is"]: point for point in row}
    noise = [point["value"] for point in row if point["is"] == "noise"]
    assert by_kind["range"]["chance"] == pytest.approx(0.1111)
    assert by_kind["pair"]["value"] == pytest.approx(1 / 3, abs=1e-4)
    assert noise == pytest.approx([19 / 21, 1 / 3], abs=1e-4)


def test_beside_its_noise_stand_two_draws_of_it(deep: AuditResults, made: SaeFeatures) -> None:
    """Of two seeds: 15 / 25 of what the two draws lose."""
    again = replace(made.twins[2], seed=1, features=made.twins[2].features | {"r": lost(5, 25)})
    found = section(deep, replace(made, twins=(*made.twins, again)))
    (figure,) = (p for p in found.parts if isinstance(p, Figure))
    row = [p for p in figure.strips[0].panels[0].points if p["row"] == f"{RTN} and its noise"]
    assert [p["value"] for p in row if p["is"] == "noise"] == [0.6]


def test_every_pair_is_in_the_ledger(deep: AuditResults, made: SaeFeatures) -> None:
    """Compressions and controls: five pairs at one threshold; the noises are one draw."""
    (fold,) = (p for p in section(deep, made).parts if isinstance(p, Details))
    ledger = fold.parts[0]
    assert isinstance(ledger, Ledger)
    assert len(ledger.rows) == 5


def test_many_pairs_are_thinned_and_said(
    deep: AuditResults, made: SaeFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that could share most are kept."""
    monkeypatch.setattr(module, "MOST", 2)
    (figure,) = (p for p in section(deep, made).parts if isinstance(p, Figure))
    assert "1 pairs of lower ceilings are left out" not in figure.caption
    assert "1 pair of lower ceilings is left out" in figure.caption


def test_nothing_lost_is_said(deep: AuditResults, made: SaeFeatures) -> None:
    """One twin, or twins that lose nothing, make no pair."""
    whole = tuple(replace(t, features=t.features | {"r": np.ones(100)}) for t in made.twins)
    for twins in (made.twins[:1], whole):
        (told,) = section(deep, replace(made, twins=twins)).parts
        assert isinstance(told, Prose)
        assert told.text.startswith("No pairs")
