"""A model card's fragment says what was measured, on what, and how sure it is."""

from dataclasses import replace

import pytest

from bitlens.errors import InputError
from bitlens.report.audit_results import AuditResults
from bitlens.report.card import card
from bitlens.report.hero import hero
from bitlens.report.page.markdown import escaped
from bitlens.report.text.numbers import amount
from bitlens.report.text.verdict import sentences
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
    assert "rtn:bits=8" not in told.partition("### How to repeat it")[0]
    assert deep.manifest["command"] in told


def test_the_verdict_stands_with_its_intervals(deep: AuditResults) -> None:
    """Sentence by sentence, as on the page, and the checks that their marks name."""
    told = card(deep, RTN)
    (twin,) = (one for one in deep.twins("demo") if one.compression == RTN)
    for sentence in sentences(deep, "demo", twin):
        assert f"\n- {escaped(sentence)}\n" in told
    assert "\n- ✗1 finite activations: 3 of 60,904 positions" in told


def test_a_table_stands_before_several_twins(results: AuditResults) -> None:
    """A row each, the one that failed too; none before a single twin."""
    rows = [line for line in card(results).splitlines() if line.startswith("| rtn:bits=")]
    words = [hero(results, "demo", twin).status for twin in results.measured("demo")[:2]]
    assert [row.split(" | ")[1] for row in rows] == [*(told.word for told in words), "failed"]
    assert "| twin |" not in card(results, RTN)


def test_a_card_is_the_same_for_every_run_of_the_same(results: AuditResults) -> None:
    """Whenever and wherever it ran; what a number depends on changes its hash."""
    later = replace(results, run={**results.run, "date": "2027-01-01T00:00:00+00:00", "seconds": 1})
    assert card(later) == card(results)
    cells = results.manifest["cells"]
    for changed, same in ((cells[::-1], True), ([{**cells[0], "id": "f" * 16}, *cells[1:]], False)):
        other = replace(results, manifest={**results.manifest, "cells": changed})
        assert (card(other) == card(results)) is same


def test_all_twins_have_theirs_and_one_that_failed_says_why(results: AuditResults) -> None:
    """Without a name."""
    told = card(results)
    assert told.count(" of demo\n") == len(results.twins("demo"))
    assert "**failed**. It could not be measured: group 48 does not divide" in told


def test_names_stay_text(study: AuditResults) -> None:
    """Of models, twins and texts."""
    told = card(study)
    assert "<img" not in told.rpartition("```\n")[0].rpartition("```\n")[0].replace(r"\<img", "")


def test_an_unknown_twin_is_refused(results: AuditResults) -> None:
    """With what was probably meant."""
    with pytest.raises(InputError, match="Did you mean rtn:bits=8"):
        card(results, "rtn:bits=88")
