"""How latents flow between categories: a matrix a twin, and what older stores say."""

from dataclasses import replace

import pytest

from bitlens.report.audit_results import AuditResults
from bitlens.report.page.markdown import markdown
from bitlens.report.page.parts import Prose, Section, Table, Tabs
from bitlens.report.saes import SaeResults
from bitlens.report.sections.flow import CATEGORIES, flow
from bitlens.sae import firing_categories as categories

RTN = "rtn:bits=4,group=64"
LATE = SaeResults("late", "resid.2")


def section(results: AuditResults) -> Section:
    """Of the SAE at block 2."""
    (found,) = flow(results, "demo", LATE, "features-2")
    assert isinstance(found, Section)
    return found


def matrix(results: AuditResults, twin: str) -> Table:
    """One twin's."""
    tabs = section(results).parts[1]
    assert isinstance(tabs, Tabs)
    (table,) = dict(tabs.tabs)[twin]
    assert isinstance(table, Table)
    return table


def test_a_matrix_by_hand(deep: AuditResults) -> None:
    """Of 200 common latents 9 % become rare; under noise of 0.83 the size, 15 of them; dead and
    frequent ones stay, and of rare ones there are none."""
    table = matrix(deep, RTN)
    titles = [column.title for column in table.columns]
    assert titles == ["reference", "latents", *CATEGORIES, *(f"noise: {c}" for c in CATEGORIES)]
    dead, rare, common, frequent = table.rows
    assert dead[:6] == ("dead", "20", "100 %", "0 %", "0 %", "0 %")
    assert rare[:3] == ("rare", "0", "–")
    assert common == (
        "common", "200", "0 %", "9.00 %", "91.0 %", "0 %", "0 %", "7.50 %", "92.5 %", "0 %",
    )  # fmt: skip
    assert frequent[:6] == ("frequent", "2", "0 %", "0 %", "0 %", "100 %")
    assert table.caption == (
        "9.0 % [8.0, 10.0] of the latents that fire ten times or more in either model are of "
        "another category in the twin; under noise 7.5 % [6.5, 8.5]."
    )


def test_the_twin_that_is_farthest_is_seen_first(deep: AuditResults) -> None:
    """As everywhere on the page; Markdown has them all."""
    tabs = section(deep).parts[1]
    assert isinstance(tabs, Tabs)
    twins = [title for title, _ in tabs.tabs]
    assert twins[tabs.shown] == "prune:sparsity=0.5"
    assert RTN in twins
    assert markdown(section(deep)).count("| common | 200 |") == 3


def test_without_noise_there_is_one_matrix(deep: AuditResults) -> None:
    """No columns without numbers."""
    twins = [twin for twin in deep.manifest["twins"] if not twin["control"]]
    table = matrix(replace(deep, manifest={**deep.manifest, "twins": twins}), RTN)
    assert [column.title for column in table.columns][2:] == list(CATEGORIES)
    assert table.caption.endswith("in the twin.")


@pytest.mark.parametrize("tables", [True, False])
def test_an_older_store_says_so(deep: AuditResults, tables: bool) -> None:
    """Without the metric in its manifest it was written before, whatever else it holds."""
    metrics = {k: v for k, v in deep.manifest["metrics"].items() if "category" not in k}
    manifest = {**deep.manifest, "metrics": metrics}
    older = replace(deep, manifest=manifest if tables else {**manifest, "cells": []})
    (part,) = section(older).parts
    assert isinstance(part, Prose)
    assert "written before" in part.text


def test_categories_are_those_of_the_analysis() -> None:
    """The page must not need what the analysis needs, so it has its own names for them."""
    assert categories.CATEGORIES == CATEGORIES
