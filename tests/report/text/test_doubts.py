"""What did not pass heads the verdict, and marks the sentences that rest on it."""

from dataclasses import asdict, replace
from typing import Any

import pytest

from bitlens.report.audit_results import AuditResults
from bitlens.report.build import page
from bitlens.report.page.markdown import markdown
from bitlens.report.page.parts import Checklist, HeroRows, Prose
from bitlens.report.sections.validity import validity
from bitlens.report.text.doubts import Claim, Doubt, overflow_site, rests
from bitlens.report.text.verdict import claims, doubtful, sentences
from bitlens.results.records import CALIBRATION, TEXT, Check, overflow, overflowed
from tests.support.audit_stores import CAST

RTN, FINE, PRUNED = "rtn:bits=4,group=64", "rtn:bits=8", "prune:sparsity=0.5"
NOISE = f"noise:like=[{RTN}]"


def checked(results: AuditResults, *checks: Check) -> AuditResults:
    """The store with these checks, and every cell complete."""
    cells = [cell for cell in results.manifest["cells"] if cell["status"] == "done"]
    manifest = {**results.manifest, "checks": [asdict(c) for c in checks], "cells": cells}
    return replace(results, manifest=manifest)


def told(results: AuditResults, name: str = RTN) -> list[str]:
    """The verdict of one compression, sentence by sentence."""
    twin = next(twin for twin in results.twins("demo") if twin.compression == name)
    return sentences(results, "demo", twin)


def marked(results: AuditResults, mark: str, name: str = RTN) -> set[str]:
    """What the sentences with a mark speak of, by their first words."""
    found = [s.partition(": ")[2] if s.startswith(name) else s for s in told(results, name)]
    return {" ".join(s.lower().split()[:2]) for s in found if mark in s}


def test_what_passed_marks_nothing(deep: AuditResults) -> None:
    """No heading, no mark."""
    sound = checked(deep, Check("enough documents", True, "200 documents", bears_on=TEXT))
    assert doubtful(sound, "demo") == []
    assert not any("✗" in s or "?1" in s for s in told(sound))


def test_a_failed_check_of_the_text_leaves_the_heads_in_the_lead(deep: AuditResults) -> None:
    """Heads are scored on sequences of their own; everything else is marked and comes after."""
    text = Check("the reference can read the text", False, "it cannot", bears_on=TEXT)
    first, *more = told(checked(deep, text))
    assert first == "rtn:bits=4,group=64 (4.25 bits per weight): keeps both induction heads."
    free = [s for s in (first, *more) if "(✗1)" not in s]
    assert all("heads" in s for s in free)
    assert all(s.endswith("(✗1).") for s in more if s not in free)
    assert any(s.startswith("Perplexity ×") for s in more)


def test_a_poor_fit_marks_what_is_read_through_that_sae_alone(deep: AuditResults) -> None:
    """Under --allow poor-fit: its features do not lead, and those of the other SAE are not marked
    for it."""
    poor = Check("the SAE late fits resid.2", False, "60 % unexplained", bears_on="late")
    first, *more = told(checked(deep, poor))
    assert first.endswith("of 180 features in block 0 (early).")
    kept = [s for s in more if s.startswith("Keeps")]
    assert [("late" in s, "(✗1)" in s) for s in kept] == [(False, False), (True, True)]
    assert marked(checked(deep, poor), "✗1") == {"keeps 51.1", "the sae"}


def test_where_everything_is_in_doubt_nothing_leads(results: AuditResults) -> None:
    """The first sentence says so, the numbers follow with their marks."""
    broken = checked(results, Check("the sweep equals the model's forward", False, "0.4 apart"))
    first, *more = told(broken)
    assert first.endswith(": nothing that was measured is sure: a check that it rests on failed.")
    assert more
    assert all(s.endswith("(✗1).") for s in more)


def test_an_undecided_check_marks_and_leads(results: AuditResults) -> None:
    """A question is no cross: sentences keep their place."""
    few = checked(results, Check("enough documents", None, "32 documents", bears_on=TEXT))
    first, *more = told(few)
    assert first.endswith("same top token 93.36 % [92.96, 93.76] (?1).")
    assert all(s.endswith("(?1).") for s in more)


def test_a_check_of_a_twin_marks_what_its_numbers_are_in(results: AuditResults) -> None:
    """A control's: what is compared with it; a compression's: that one alone."""
    cast = checked(results, Check(f"{CAST}: weights differ", None, "none", twins=(CAST,)))
    assert marked(cast, "?1") == {"kl is"}
    own = checked(results, Check(f"{RTN}: weights differ", None, "none", twins=(RTN,)))
    assert len(marked(own, "?1")) == len(told(own))
    assert not marked(own, "?1", FINE)


def test_calibration_marks_what_was_calibrated(results: AuditResults) -> None:
    """By the twins' own records."""
    allowed = checked(
        results, Check("apart", False, "shared, which was allowed", bears_on=CALIBRATION)
    )
    assert not marked(allowed, "✗1")
    twins = [{**t, "calibrated": t["compression"] == RTN} for t in allowed.manifest["twins"]]
    known = replace(allowed, manifest={**allowed.manifest, "twins": twins})
    assert len(marked(known, "✗1")) > 1
    assert not marked(known, "✗1", FINE)


def test_a_check_of_another_model_marks_nothing(results: AuditResults) -> None:
    """Checks of a study say of which model they are."""
    other = checked(results, Check("enough documents", False, "2", bears_on=TEXT, model="other"))
    assert doubtful(other, "demo") == []
    assert "✗" not in " ".join(told(other))


@pytest.mark.slow
def test_what_failed_comes_first_and_heads_the_page(results: AuditResults) -> None:
    """Crosses before questions, numbered, with what rests on them; above the findings."""
    found = checked(
        results,
        Check("enough documents", None, "32 documents", bears_on=TEXT),
        Check("the reference can read the text", False, "it cannot.", bears_on=TEXT),
    )
    names = [check.name for check in doubtful(found, "demo")]
    assert names == ["1. the reference can read the text", "2. enough documents"]
    lead, first, *below = page(found).sections[0].parts
    assert isinstance(lead, Prose)
    assert "1 failed; 1 could not be decided (enough documents)" in lead.text
    assert isinstance(first, Checklist)
    assert any(isinstance(part, HeroRows) for part in below)
    assert [c.name for c in first.items] == names
    lines = markdown(page(found))
    assert (
        "✗ 1. the reference can read the text: it cannot. What rests on it is marked ✗1." in lines
    )
    assert "(✗1, ?2)" in lines


def test_nothing_rests_on_an_incomplete_study(results: AuditResults) -> None:
    """It heads the verdict, and no sentence is marked for it."""
    (check,) = (c for c in doubtful(results, "demo") if "complete" in c.name)
    assert check.detail == "14 of 16 cells have a result."


@pytest.mark.parametrize("uses", [frozenset(), frozenset({TEXT}), frozenset({"late"})])
@pytest.mark.parametrize("bears_on", ["", TEXT, "late", "other"])
def test_what_a_sentence_uses_decides(
    results: AuditResults, uses: frozenset[str], bears_on: str
) -> None:
    """A law: a check bears on everything, or on what is used."""
    doubt = Doubt(Check("any", False, "", bears_on=bears_on), 1)
    assert rests(results, "demo", Claim("", uses), doubt) == (not bears_on or bears_on in uses)


def test_every_claim_says_what_it_uses(deep: AuditResults) -> None:
    """Its own twin, and the text, an SAE, or sequences of its own: then it speaks of heads."""
    for twin in deep.measured("demo"):
        for one in claims(deep, "demo", twin):
            assert twin.compression in one.twins
            assert TEXT in one.uses or "heads" in one.text
            assert all((label in one.uses) or f"({label})" not in one.text
                       for label in ("early", "late"))  # fmt: skip


def test_numbers_that_cannot_exist_are_reasons_not_failures(deep: AuditResults) -> None:
    """A share of heads where the reference has none: counted and told, under no cross."""
    rows = [
        {**r, "value": None, "low": None, "high": None, "reason": "the reference has no head"}
        if r["metric"] == "duplicate_kept_90" else r
        for r in deep.estimates
    ]  # fmt: skip
    absent = replace(checked(deep), estimates=rows)
    parts = validity(absent)
    assert doubtful(absent, "demo") == []
    assert not [part for part in parts if isinstance(part, Checklist)]
    missing = sum(row["value"] is None for row in rows)
    assert missing
    assert f"{missing} numbers of" in "\n".join(map(markdown, parts))


def broken(results: AuditResults) -> AuditResults:
    """One twin without numbers from block 1 on."""

    def without(row: dict[str, Any]) -> dict[str, Any]:
        own = row["item"].rpartition(", ")[2] == "reference"
        if row["compression"] != RTN or own or row["site"].endswith(".0"):
            return row
        return {**row, "value": None, "low": None, "high": None, "reason": overflow("resid.1")}

    return replace(checked(results), estimates=list(map(without, results.estimates)))


def test_a_twin_that_overflows_says_where(results: AuditResults) -> None:
    """With the reference's own numbers; never that nothing was measured."""
    found = broken(results)
    first = told(found)[0]
    assert first == (
        "rtn:bits=4,group=64 (4.25 bits per weight): overflows at resid.1, computed in float32: "
        "from there on it has no numbers; the reference's own perplexity is 8.31 [8.06, 8.56] (✗1)."
    )
    assert overflow_site(found, "demo", RTN) == "resid.1"
    assert overflow_site(found, "demo", FINE) is None
    (check,) = doubtful(found, "demo")
    assert check.name == f"1. {RTN}: its numbers are finite"
    assert "resid.1" in check.detail
    assert "✗" not in " ".join(told(found, FINE))


def test_reasons_of_an_overflow_are_known_again() -> None:
    """And others are not taken for it."""
    assert overflowed(overflow("attn.12")) == "attn.12"
    assert overflowed("the reference has no head") is None
