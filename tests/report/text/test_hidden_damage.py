"""Damage that outputs hide, and features that outlast them: bounds hold for whole intervals."""

from dataclasses import replace
from typing import Any

import pytest

from bitlens.report.audit_results import AuditResults
from bitlens.report.text.hidden_damage import hidden
from bitlens.report.text.verdict import sentences
from tests.support.audit_stores import CAST

RTN = "rtn:bits=4,group=64"


def told(
    deep: AuditResults,
    ratio: tuple[Any, ...],
    early: tuple[Any, ...],
    late: tuple[Any, ...],
    **kl: Any,
) -> AuditResults:
    """The store with other numbers of that twin: (value, low, high) each, and mean KL."""
    changed = {
        "perplexity_ratio": {"": ratio},
        "survived": {"early": early, "late": late},
        "kl": {"": kl.get("kl", (0.1, 0.09, 0.11))},
    }
    rows = []
    for row in deep.estimates:
        numbers = changed.get(row["metric"], {}).get(row["item"])
        if row["compression"] == RTN and numbers:
            row = {**row, **dict(zip(("value", "low", "high"), numbers, strict=True))}
        rows.append(row)
    return replace(deep, estimates=rows)


STILL, MOVED = (1.002, 0.997, 1.007), (1.04, 1.03, 1.05)
KEPT, LOST, UNSURE = (0.98, 0.97, 0.99), (0.8, 0.77, 0.83), (0.94, 0.92, 0.96)


def test_features_lost_behind_still_outputs(deep: AuditResults) -> None:
    """The SAE that lost most is named, with both bounds; the verdict has the sentence."""
    found = told(deep, STILL, KEPT, LOST)
    one = next(hidden(found, "demo", RTN), None)
    assert one is not None
    assert one.uses == {"text", "late"}
    assert one.text == (
        "hidden damage: perplexity stays within 1 % of the reference's, yet 80.0 % [77.0, 83.0] "
        "of the features in block 2 (late) survive, fewer than 95 %"
    )
    twin = next(t for t in found.twins("demo") if t.compression == RTN)
    assert any(s.startswith("Hidden damage: ") for s in sentences(found, "demo", twin))


def test_features_that_outlast_the_outputs(deep: AuditResults) -> None:
    """The reverse: every SAE keeps its features, and perplexity has moved."""
    found = told(deep, MOVED, KEPT, KEPT)
    one = next(hidden(found, "demo", RTN), None)
    assert one is not None
    assert one.text.startswith(
        "features outlast the outputs: perplexity moves by more than 1 %, yet 98.0 %"
    )


@pytest.mark.parametrize(
    ("ratio", "early", "late"),
    [
        (STILL, KEPT, KEPT),
        (MOVED, KEPT, LOST),
        (STILL, KEPT, UNSURE),
        ((1.008, 1.004, 1.012), KEPT, LOST),
        ((1.015, 1.008, 1.022), KEPT, KEPT),
        (MOVED, KEPT, UNSURE),
        ((1.002, None, None), KEPT, LOST),
        (STILL, KEPT, (0.8, None, None)),
    ],
)
def test_agreement_and_doubt_say_nothing(
    deep: AuditResults, ratio: tuple[Any, ...], early: tuple[Any, ...], late: tuple[Any, ...]
) -> None:
    """An interval that crosses a bound, or is missing, decides nothing."""
    assert not list(hidden(told(deep, ratio, early, late), "demo", RTN))


@pytest.mark.parametrize(
    ("q", "high", "sure"), [(0.05, 1e-6, True), (0.06, -1e-6, False), (0.9, -1e-6, False)]
)
def test_less_kl_than_a_cast_is_no_change_either(
    deep: AuditResults, q: float, high: float, sure: bool
) -> None:
    """Where perplexity alone does not decide; by the stored q, whatever the intervals."""
    row = next(row for row in deep.contrasts if row["compression"] == RTN)
    row = {**row, "control": CAST, "difference": -1e-5, "low": -2e-5, "high": high, "q": q}
    found = told(deep, (1.008, 1.004, 1.012), KEPT, LOST)
    one = next(hidden(replace(found, contrasts=[*found.contrasts, row]), "demo", RTN), None)
    expected = f"hidden damage: mean KL is less than that of {CAST}, yet 80.0 %"
    assert (one is not None and one.text.startswith(expected)) is sure


def test_without_features_there_is_nothing_to_hide(results: AuditResults) -> None:
    """Outputs alone."""
    assert not any(list(hidden(results, "demo", t.compression)) for t in results.measured("demo"))
