"""What a splice costs a twin beside the reference: said where it is sure."""

from dataclasses import replace
from typing import Any

import pytest

from bitlens.report.audit_results import AuditResults
from bitlens.report.saes import SaeResults
from bitlens.report.text.splices import costlier, spliced
from bitlens.report.text.verdict import sentences
from tests.support.audit_stores import against_the_reference

RTN, FINE = "rtn:bits=4,group=64", "rtn:bits=8"
NOISE = f"noise:like=[{RTN}]"


def told(deep: AuditResults, **changed: Any) -> AuditResults:
    """The store with other numbers of every difference of the late SAE, or without them."""
    rows = [
        {**row, **changed}
        if (row["metric"], row["item"]) == ("recovered_difference", "late")
        else row
        for row in deep.estimates
    ]
    tested = [
        against_the_reference(row)
        for row in rows
        if row["metric"] == "recovered_difference" and row["value"] is not None
    ]
    return replace(deep, estimates=rows, contrasts=[*deep.contrasts, *tested])


def test_saes_stand_by_depth_with_their_sites(deep: AuditResults) -> None:
    """The sites are the manifest's: estimates of a splice are all at the logits."""
    expected = [SaeResults("early", "resid.0"), SaeResults("late", "resid.2")]
    assert spliced(deep, "demo") == expected


def test_where_less_is_recovered_it_is_said(deep: AuditResults) -> None:
    """97 % less 0.3 * 9 %: 94.3 %, 2.7 points with the noise's 0.83 of that beside; the SAE that
    recovers more in the twin is not spoken of, and the verdict has the sentence."""
    one = next(costlier(deep, "demo", RTN), None)
    assert one is not None
    assert one.uses == {"text", "late"}
    assert one.twins == {NOISE}
    assert one.text == (
        "the SAE in block 2 (late) in its place recovers less of the loss: 94.3 %, in the "
        "reference 97.0 % (difference 2.7 points [1.7, 3.7]), under noise 2.2 points [1.2, 3.2]"
    )
    twin = next(t for t in deep.twins("demo") if t.compression == RTN)
    assert any(s.startswith("The SAE in block 2 (late) in") for s in sentences(deep, "demo", twin))


def test_without_noise_there_is_none_beside(deep: AuditResults) -> None:
    """The sentence ends with the difference."""
    rows = [row for row in deep.estimates if row["compression"] != NOISE]
    one = next(costlier(replace(deep, estimates=rows), "demo", RTN), None)
    assert one is not None
    assert one.text.endswith("[1.7, 3.7])")


def test_an_interval_that_holds_none_says_nothing(deep: AuditResults) -> None:
    """At 8 bits the difference is 0.12 points, within a point either way."""
    assert not list(costlier(deep, "demo", FINE))


@pytest.mark.parametrize(("q", "said"), [(0.05, True), (0.06, False), (None, False)])
def test_the_stored_test_decides(deep: AuditResults, q: float | None, said: bool) -> None:
    """By q, whatever the interval of the difference; without a test nothing is claimed."""
    rows = [
        {**row, "p": q, "q": q, "low": row["low"] if q else None}
        if row["metric"] == "recovered_difference"
        else row
        for row in deep.contrasts
    ]
    assert bool(list(costlier(replace(deep, contrasts=rows), "demo", RTN))) is said


def test_without_a_value_nothing_is_said(deep: AuditResults) -> None:
    """Where the mean costs nothing there is a reason instead."""
    absent = told(deep, value=None, low=None, high=None, reason="nothing to recover")
    assert not list(costlier(absent, "demo", RTN))


def test_a_store_without_the_analysis_has_none(results: AuditResults) -> None:
    """Nothing was spliced."""
    assert spliced(results, "demo") == [] == list(costlier(results, "demo", RTN))
