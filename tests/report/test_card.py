"""A model card's fragment says what was measured, on what, and how sure it is."""

import pytest

from bitlens.errors import InputError
from bitlens.report.audit_results import AuditResults
from bitlens.report.card import card
from bitlens.report.text.numbers import amount
from tests.support.audit_stores import RTN


def test_a_twin_has_its_word_numbers_and_hashes(deep: AuditResults) -> None:
    """Each number as on the page, between intact and chance."""
    told = card(deep, RTN)
    row = deep.find("demo", RTN, "behaviour.kl")
    assert row is not None
    between = f"{amount(row, 'nats')} | 0 nats | 6.40 nats | 120 |"
    assert f"| KL divergence | {between} |".replace("| |", "|") in told.replace("\\[", "[").replace(
        "\\]", "]"
    )
    assert told.startswith(f"## What compression changed\n\n### {RTN} of demo\n\n**")
    assert "- reference: demo, weights 5d1c" in told
    assert "token hash 9f2c1ab04d7e5513" in told
    for sae in deep.about("demo")["saes"]:
        assert f"weights {sae['fingerprint']}" in told
    assert "rtn:bits=8" not in told.partition("Measured with")[0]
    assert deep.manifest["command"] in told


def test_all_twins_have_theirs_and_one_that_failed_says_why(results: AuditResults) -> None:
    """Without a name."""
    told = card(results)
    assert told.count("### ") == len(results.twins("demo"))
    assert "**failed**. It could not be measured: group 48 does not divide" in told


def test_names_stay_text(study: AuditResults) -> None:
    """Of models, twins and texts."""
    told = card(study)
    assert "<img" not in told.rpartition("```\n")[0].rpartition("```\n")[0].replace(r"\<img", "")


def test_an_unknown_twin_is_refused(results: AuditResults) -> None:
    """With what was probably meant."""
    with pytest.raises(InputError, match="Did you mean rtn:bits=8"):
        card(results, "rtn:bits=88")
