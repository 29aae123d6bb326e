"""The first sentence names what broke and where; controls stand beside it."""

from dataclasses import replace
from typing import Any

import pytest

from bitlens.report.audit_results import AuditResults
from bitlens.report.text.beside_controls import beside, disagreement
from bitlens.report.text.losses import Induction, features_and_heads, induction
from bitlens.report.text.places import moved
from bitlens.report.text.summary_table import summary_table
from bitlens.report.text.verdict import verdicts

RTN = "rtn:bits=4,group=64"
PRUNED = "prune:sparsity=0.5"


def changed(results: AuditResults, new: dict[str, Any], **which: Any) -> AuditResults:
    """The results with other fields in the estimates that these choose."""
    rows = [
        {**row, **new} if all(row[k] == v for k, v in which.items()) else row
        for row in results.estimates
    ]
    return replace(results, estimates=rows)


def without(results: AuditResults, *analyses: str) -> AuditResults:
    """The results less some analyses, tables included."""
    rows = [row for row in results.estimates if row["analysis"] not in analyses]
    cells = [cell for cell in results.manifest["cells"] if cell["analysis"] not in analyses]
    return replace(results, estimates=rows, manifest={**results.manifest, "cells": cells})


def test_the_first_sentence_is_the_finding(deep: AuditResults) -> None:
    """Features of each SAE with intervals, and heads by name."""
    told = dict(verdicts(deep, "demo"))[PRUNED]
    assert told.startswith(
        "prune:sparsity=0.5 (8.50 bits per weight): keeps 50.6 % [48.6, 52.6] of 180 features in "
        "block 0 (early), 29.4 % [27.4, 31.4] of 180 features in block 2 (late). Keeps 1 of 2 "
        "induction heads (lost head 1.1, 0.64 to 0.32 [0.30, 0.34]). "
    )
    assert "; the attention of head 1.2 moved most, JSD " in told
    assert "The noise keeps 31.1 % [29.1, 33.1] of the features in block 2 (late)" in told


def test_heads_are_those_that_both_sets_of_sequences_show(deep: AuditResults) -> None:
    """Heads 1.1 (0.64) and 3.1 (0.82) are induction heads; at 49.6 % of it 1.1 is lost."""
    assert induction(deep, "demo", RTN) == Induction(2, ())
    assert induction(deep, "demo", PRUNED) == Induction(2, ("1.1",))
    assert induction(without(deep, "heads"), "demo", RTN) is None


@pytest.mark.parametrize(
    ("twin_scores", "told"),
    [
        ([0.9], "its only induction head"),
        ([0.9, 0.9], "both induction heads"),
        ([0.9, 0.41, 0.9], "all 3 induction heads"),
        ([0.9, 0.4, 0.9], "2 of 3 induction heads (undecided head 0.1, 0.80 to 0.40 [0.36, 0.44])"),
        ([0.9, 0.36, 0.9], "2 of 3 induction heads (lost head 0.1, 0.80 to 0.36 [0.32, 0.40])"),
        (
            [0.39, 0.2, 0.9],
            "1 of 3 induction heads (lost head 0.1, 0.80 to 0.20 [0.16, 0.24]; "
            "undecided head 0.0, 0.80 to 0.39 [0.35, 0.43])",
        ),
        ([0.39], "0 of 1 induction head (undecided head 0.0, 0.80 to 0.39 [0.35, 0.43])"),
        ([0.1] * 3, "none of 3 induction heads"),
        (
            [0.1] * 4 + [0.9],
            "1 of 5 induction heads (lost head 0.0, 0.80 to 0.10 [0.06, 0.14]; "
            "head 0.1, 0.80 to 0.10 [0.06, 0.14]; head 0.2, 0.80 to 0.10 [0.06, 0.14]; ...)",
        ),
    ],
)
def test_heads_are_counted_in_words(
    deep: AuditResults, monkeypatch: pytest.MonkeyPatch, twin_scores: list[float], told: str
) -> None:
    """All, some and none; lost, or undecided where the interval reaches above 0.4; many are cut
    short."""
    rows = [
        {
            "kind": "induction",
            "block": 0,
            "head": n,
            "choosing": 0.8,
            "reference": 0.8,
            "twin": t,
            "twin_low": t - 0.04,
            "twin_high": t + 0.04,
        }
        for n, t in enumerate(twin_scores)
    ]
    traces = [{**rows[0], "kind": "previous"}, {**rows[0], "choosing": 0.3}]
    bare = without(deep, "features")
    monkeypatch.setattr(AuditResults, "table", lambda *_: rows + traces)
    (one,) = features_and_heads(bare, "demo", RTN)
    assert one.text == f"keeps {told}"
    assert not one.uses


def test_without_an_interval_the_score_decides(
    deep: AuditResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.4 alone is lost; the table counts the undecided beside those kept."""
    row = {"kind": "induction", "block": 0, "head": 1, "choosing": 0.8, "reference": 0.8}
    rows = [{**row, "twin": 0.4, "twin_low": None, "twin_high": None}]
    monkeypatch.setattr(AuditResults, "table", lambda *_: rows)
    assert induction(deep, "demo", RTN) == Induction(1, ("0.1",))
    assert Induction(3, ("0.1",)).kept == "2 of 3"
    assert Induction(3, ("0.1",), ("0.2",)).kept == "1 of 3, 1 undecided"


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (Induction(1, ()), "1 of 1 induction head"),
        (Induction(1, (), ("0.1",)), "0 of 1 induction head (1 undecided)"),
        (Induction(8, (), ("0.1",)), "7 of 8 induction heads (1 undecided)"),
        (Induction(8, ("0.0",), ("0.1", "0.2")), "5 of 8 induction heads (2 undecided)"),
    ],
)
def test_a_count_of_heads_is_a_phrase(found: Induction, told: str) -> None:
    """What stands in a sentence has its noun, and those undecided after it."""
    assert found.counted == told


def test_one_sae_needs_no_block_and_many_show_their_ends(deep: AuditResults) -> None:
    """One SAE is all there is; of four the least and the most are named."""
    one = [row for row in deep.estimates if row["item"].partition(",")[0] != "early"]
    features, heads = features_and_heads(replace(deep, estimates=one), "demo", RTN)
    assert features.text == "keeps 51.1 % [49.1, 53.1] of 180 features"
    assert features.uses == {"text", "late"}
    assert heads.text == "keeps both induction heads"
    more = [
        {**row, "site": "resid.3", "item": f"{name}{row['item'].removeprefix('late')}"}
        for name in ("third", "fourth")
        for row in deep.estimates
        if row["item"].startswith("late")
    ]
    told = next(
        features_and_heads(replace(deep, estimates=deep.estimates + more), "demo", RTN)
    ).text
    assert told.startswith("keeps from 51.1 % [49.1, 53.1] of 180 features in block 2 (late) to 72")
    assert told.endswith("features in block 0 (early)")
    assert "third" not in told


def test_heads_without_noise_stand_alone(deep: AuditResults) -> None:
    """The head that moved most is named with or without its control."""
    twins = [twin for twin in deep.manifest["twins"] if not twin["control"]]
    bare = replace(deep, manifest={**deep.manifest, "twins": twins})
    assert "under noise" in moved(deep, "demo", RTN)
    assert moved(bare, "demo", RTN).startswith("the attention of head 1.2 moved most")
    assert "under noise" not in moved(bare, "demo", RTN)
    assert list(beside(bare, "demo", RTN)) == []


def contrast(
    results: AuditResults, metric: str, low: float, high: float, **more: Any
) -> AuditResults:
    """The results with the KL's contrast of one twin, and another for this metric."""
    found = next(row for row in results.contrasts if row["compression"] == RTN)
    row = {**found, "metric": metric, "difference": (low + high) / 2, "low": low, "high": high}
    row["q"] = 0.0018 if low * high > 0 else 0.4
    return replace(results, contrasts=[*results.contrasts, {**row, **more}])


def test_disagreement_must_be_sure(deep: AuditResults) -> None:
    """KL is surely above noise: a perplexity surely below disagrees, one that may be does not."""
    below = contrast(deep, "perplexity_ratio", -0.003, -0.001)
    assert [one.text for one in disagreement(below, "demo", RTN)] == [
        "KL and perplexity disagree: beside noise KL says more damage, the perplexity ratio less "
        "(difference −0.0020 [−0.0030, −0.0010], q = 0.0018)"
    ]
    assert not list(disagreement(contrast(deep, "perplexity_ratio", -0.003, 0.001), "demo", RTN))
    assert not list(disagreement(contrast(deep, "perplexity_ratio", 0.001, 0.003), "demo", RTN))
    assert not list(disagreement(deep, "demo", RTN))


def test_shares_differ_by_points_and_without_q_there_is_p(deep: AuditResults) -> None:
    """A contrast of survived features is told in points; p stands where q is not known."""
    where = {"analysis": "features", "site": "resid.2", "item": "late"}
    rows = contrast(deep, "survived", -0.12, -0.08, **where, q=None)
    told = " ".join(one.text for one in beside(rows, "demo", RTN))
    assert "late) (difference −10.0 points [−12.0, −8.0], p = 0.0011)" in told
    equal = list(beside(contrast(deep, "survived", 0.0, 0.0, **where), "demo", RTN))
    assert equal[-1].text.endswith("of the features in block 2 (late)")


def test_the_table_tells_what_survived_within(deep: AuditResults) -> None:
    """A column an SAE, one for heads; of more than two SAEs only the worst."""
    table = summary_table(deep, "demo")
    titles = [column.title for column in table.columns]
    row = dict(zip(titles, next(r for r in table.rows if r[0] == PRUNED), strict=True))
    assert row["features, early"] == "50.6 ±2.0 %"
    assert row["features, late"] == "29.4 ±2.0 %"
    assert row["induction heads"] == "1 of 2"
    third = [{**row, "item": "third"} for row in deep.estimates if row["item"] == "late"]
    many = summary_table(replace(deep, estimates=deep.estimates + third), "demo")
    assert "features, worst SAE" in [column.title for column in many.columns]
    assert "features" not in summary_table(without(deep, "features", "heads"), "demo").caption


def test_nothing_to_keep_is_said(deep: AuditResults, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads were scored and none is an induction head: that is a finding, not nothing."""
    row = {"kind": "induction", "block": 0, "head": 0, "choosing": 0.2, "reference": 0.1}
    bare = without(deep, "features", "behaviour", "geometry", "attention")
    monkeypatch.setattr(AuditResults, "table", lambda *about: [row] if about[-1] == "heads" else [])
    told = dict(verdicts(bare, "demo"))[RTN]
    assert "the reference has no head with an induction score above 0.4" in told.lower()
