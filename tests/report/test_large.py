"""The page of a large audit: how many bytes it has, and what it asks of a browser's processor."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bitlens.report.build import build
from tests.support.large_store import write_large

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="chromium is not installed: the page was not tried in a browser"
    ),
]
TRIES = 3
"""The least of so many counts: whatever else the machine does only adds."""
FIRST_SCREEN, FIRST_FEATURE, INTERACTION = 1.0, 1.0, 0.1
"""Seconds of the renderer's processor. The first feature brings its view with it: thousands of
features are unpacked, listed and laid out."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 blocks of 16 heads, nine twins, three SAEs of 16,384 latents."""
    return build(write_large(tmp_path_factory.mktemp("large") / "results"))


class Renderers:
    """A headless browser, and the processor time that its pages take."""

    def __init__(self, chromium: Any) -> None:
        self._chromium = chromium
        self._session = chromium.new_browser_cdp_session()

    def page(self) -> Any:
        """An empty page on a desk, at rest."""
        tab = self._chromium.new_page(viewport={"width": 1280, "height": 900})
        tab.wait_for_timeout(300)
        return tab

    def spent(self, act: Callable[[], object]) -> float:
        """Seconds of all renderers while something is done."""
        before = self._seconds()
        act()
        return sum(now - before.get(process, 0.0) for process, now in self._seconds().items())

    def _seconds(self) -> dict[int, float]:
        known = self._session.send("SystemInfo.getProcessInfo")["processInfo"]
        return {one["id"]: one["cpuTime"] for one in known if one["type"] == "renderer"}


@pytest.fixture(scope="module")
def renderers() -> Iterator[Renderers]:
    """A headless browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        yield Renderers(chromium)
        chromium.close()


def shown(tab: Any) -> None:
    """Wait until the page stands there and is drawn."""
    tab.wait_for_selector("html[data-ready=yes]", timeout=60_000)
    tab.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def test_a_large_page_is_small(large: Path) -> None:
    """Ten million bytes can still be sent to somebody."""
    assert large.stat().st_size <= 10_000_000


def test_the_first_screen_of_a_large_page_is_quick(large: Path, renderers: Renderers) -> None:
    """From the address to what one sees first."""
    counted = []
    for _ in range(TRIES):
        tab = renderers.page()

        def opened(tab: Any = tab) -> None:
            tab.goto(large.as_uri())
            shown(tab)

        counted.append(renderers.spent(opened))
        tab.close()
    assert min(counted) <= FIRST_SCREEN, counted


def test_the_first_feature_of_a_large_page_is_quick(large: Path, renderers: Renderers) -> None:
    """Its address in a page that showed none yet, and whatever the page does in the second after;
    then the first move of the threshold."""
    opened, moved = [], []
    for _ in range(TRIES - 1):
        tab = renderers.page()
        tab.goto(large.as_uri())
        shown(tab)
        tab.wait_for_timeout(1000)

        def feature(tab: Any = tab) -> None:
            tab.evaluate(FEATURE)
            tab.locator(".feature .steps button").first.wait_for()
            tab.wait_for_timeout(1000)

        def threshold(tab: Any = tab) -> None:
            tab.evaluate(SET % (".line", 70))
            shown(tab)

        opened.append(renderers.spent(feature))
        moved.append(renderers.spent(threshold))
        tab.close()
    assert min(opened) <= FIRST_FEATURE, opened
    assert min(moved) <= INTERACTION, moved


@pytest.fixture(scope="module")
def tab(large: Path, renderers: Renderers) -> Any:
    """That page, open on a desk."""
    found = renderers.page()
    found.goto(large.as_uri())
    shown(found)
    return found


TOP = "scrollTo(0, 0)"
FEATURE = "location.hash = 'sae=early&feature=7'"
SET = """(() => {
  const one = document.querySelector(".features %s");
  one.value = "%s";
  one.dispatchEvent(new Event("input", { bubbles: true }));
})()"""
CLICK = "document.querySelector(%r).click()"


@pytest.mark.parametrize(
    ("before", "acts"),
    [
        (TOP, [CLICK % "#twins input", CLICK % "#all-twins"]),
        (TOP, ["location.hash = 'layer=3'", "location.hash = 'layer=4'"]),
        (FEATURE, [SET % (".line", 70), SET % (".line", 95)]),
        (FEATURE, [SET % (".search", 70), SET % (".search", "")]),
        (FEATURE, [CLICK % ".features thead th:nth-child(3) button"]),
        (FEATURE, [CLICK % ".feature .steps button:nth-child(2)"]),
    ],
    ids=["twins", "layer", "threshold", "search", "sort", "next feature"],
)
def test_what_one_does_on_a_large_page_is_quick(
    tab: Any, renderers: Renderers, before: str, acts: list[str]
) -> None:
    """Picking twins, going to a block or to the next feature, the threshold, search and order."""
    tab.evaluate(before)
    if before == FEATURE:
        tab.locator(".feature .steps button").first.wait_for()
    tab.wait_for_timeout(1000)
    counted = []
    for number in range(2 * TRIES):
        act = acts[number % len(acts)]

        def done(act: str = act) -> None:
            tab.evaluate(act)
            shown(tab)

        counted.append(renderers.spent(done))
        tab.wait_for_timeout(300)
    assert min(counted) <= INTERACTION, counted


def test_a_chart_of_many_marks_tells_each_when_it_is_pointed_at(tab: Any) -> None:
    """As one of few does: its fields by their titles, with three digits."""
    figure = tab.locator("figure[data-name=features-1-peaks]")
    figure.scroll_into_view_if_needed()
    figure.locator(".mark-symbol path").first.hover(force=True)
    told = tab.locator("#tip").inner_text()
    assert "latent" in told
    assert "peak activation" in told
    assert re.search(r"r0\.\d{1,3}\n", told)
    tab.evaluate("location.hash = ''")
