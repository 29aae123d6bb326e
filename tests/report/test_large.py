"""The page of a large audit: how many bytes it has, and that its many marks tell what they are.

What it asks of a processor is in `benchmarks/page.py`.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bitlens.report.build import build
from tests.support.large_store import write_large
from tests.support.visits import IN_A_BROWSER, headless, tip

pytestmark = IN_A_BROWSER


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 blocks of 16 heads, nine twins, three SAEs of 16,384 latents."""
    return build(write_large(tmp_path_factory.mktemp("large") / "results"))


@pytest.fixture(scope="module")
def tab(large: Path) -> Iterator[Any]:
    """That page, open on a desk at a feature."""
    with headless() as browser:
        found = browser.new_page(viewport={"width": 1280, "height": 900})
        found.goto(large.as_uri() + "#sae=early&feature=7")
        found.wait_for_selector("html[data-ready=yes]", timeout=60_000)
        yield found


def test_a_large_page_is_small(large: Path) -> None:
    """Ten million bytes can still be sent to somebody."""
    assert large.stat().st_size <= 10_000_000


def test_a_feature_is_shown_among_thousands(tab: Any) -> None:
    """Its address opens it, and one goes on to the next."""
    steps = tab.locator(".feature .steps button")
    steps.first.wait_for()
    before = tab.url
    steps.nth(1).click()
    assert tab.url != before


def test_a_chart_of_many_marks_tells_each_when_it_is_pointed_at(tab: Any) -> None:
    """As one of few does: its fields by their titles, with three digits."""
    figure = tab.locator("figure[data-name=features-1-peaks]")
    figure.scroll_into_view_if_needed()
    told = tip(tab, figure.locator(".mark-symbol path").first)
    assert "latent" in told
    assert "peak activation" in told
    assert re.search(r"r0\.\d{1,3}\n", told)


def test_a_chart_of_many_marks_is_told_and_has_a_table(tab: Any) -> None:
    """Its own name says from where to where its marks are; a button shows its numbers, and more."""
    figure = tab.locator("figure[data-name=features-1-peaks]")
    figure.scroll_into_view_if_needed()
    figure.locator(".panel svg").first.wait_for(state="attached")
    name = figure.locator(".panel").first.get_attribute("aria-label")
    assert re.search(r" marks from \S+ to \S+, the middle one \S+\.", name)
    figure.locator("[data-show=table]").press("Enter")
    rows = figure.locator(".figure-table tbody tr")
    rows.first.wait_for()
    before = rows.count()
    figure.locator(".figure-table button").press("Enter")
    assert rows.count() == 2 * before
    figure.locator("[data-show=table]").press("Enter")
    assert figure.locator(".figure-table").count() == 0
    tab.evaluate("location.hash = ''")
