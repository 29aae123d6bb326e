"""What the page of a large audit asks of a browser: processor time of its renderer, by act.

24 blocks of 16 heads, nine twins, three SAEs of 16,384 latents (`tests/support/large_store.py`).
Each act is done a few times, and the least is told: whatever else the machine does only adds.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

from bitlens.report.build import build
from tests.support.large_store import write_large

FIRST_SCREEN, INTERACTION = 1.0, 0.1
"""Seconds asked for."""
TOP = "scrollTo(0, 0)"
FEATURE = "location.hash = 'sae=early&feature=7'"
SET = """(() => {
  const one = document.querySelector(".features %s");
  one.value = "%s";
  one.dispatchEvent(new Event("input", { bubbles: true }));
})()"""
CLICK = "document.querySelector(%r).click()"
ACTS: dict[str, tuple[str, list[str]]] = {
    "pick twins": (TOP, [CLICK % "#twins input", CLICK % "#all-twins"]),
    "go to a block": (TOP, ["location.hash = 'layer=3'", "location.hash = 'layer=4'"]),
    "move the threshold": (FEATURE, [SET % (".line", 70), SET % (".line", 95)]),
    "search": (FEATURE, [SET % (".search", 70), SET % (".search", "")]),
    "sort": (FEATURE, [CLICK % ".features thead th:nth-child(3) button"]),
    "next feature": (FEATURE, [CLICK % ".feature .steps button:nth-child(2)"]),
}
"""What is done, after what, and the ways of doing it by turns."""


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


@contextmanager
def headless() -> Iterator[Renderers]:
    """A headless browser."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("page.py needs chromium: it was not found on the path")
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=options)
        yield Renderers(browser)
        browser.close()


def shown(tab: Any) -> None:
    """Wait until the page stands there and is drawn."""
    tab.wait_for_selector("html[data-ready=yes]", timeout=60_000)
    tab.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def do(tab: Any, script: str) -> None:
    """Run it in the page, until the page is drawn."""
    tab.evaluate(script)
    shown(tab)


def opening(renderers: Renderers, address: str, tries: int) -> tuple[float, float]:
    """Seconds of the first screen, and of the first feature with the second that follows."""
    screens, features = [], []
    for _ in range(tries):
        tab = renderers.page()

        def first(tab: Any = tab) -> None:
            tab.goto(address)
            shown(tab)

        def feature(tab: Any = tab) -> None:
            tab.evaluate(FEATURE)
            tab.locator(".feature .steps button").first.wait_for()
            tab.wait_for_timeout(1000)

        screens.append(renderers.spent(first))
        tab.wait_for_timeout(1000)
        features.append(renderers.spent(feature))
        tab.close()
    return min(screens), min(features)


def acting(renderers: Renderers, tab: Any, name: str, tries: int) -> float:
    """Seconds of one act, on a page that is open."""
    before, ways = ACTS[name]
    tab.evaluate(before)
    if before == FEATURE:
        tab.locator(".feature .steps button").first.wait_for()
    tab.wait_for_timeout(1000)
    counted = []
    for number in range(2 * tries):
        way = ways[number % len(ways)]
        counted.append(renderers.spent(partial(do, tab, way)))
        tab.wait_for_timeout(300)
    return min(counted)


def main() -> None:
    """Print one line an act."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=3)
    tries = parser.parse_args().tries
    with tempfile.TemporaryDirectory() as folder, headless() as renderers:
        store = write_large(Path(folder) / "results")
        began = process_time()
        page = build(store)
        print(f"page: {page.stat().st_size:,} bytes, written in {process_time() - began:.1f} s")
        screen, feature = opening(renderers, page.as_uri(), tries)
        print(f"first screen: {screen:.2f} s of the renderer (asked for: {FIRST_SCREEN})")
        print(f"first feature, and what its view draws in a second: {feature:.2f} s")
        tab = renderers.page()
        tab.goto(page.as_uri())
        shown(tab)
        for name in ACTS:
            taken = acting(renderers, tab, name, tries)
            print(f"{name}: {taken:.3f} s (asked for: {INTERACTION})")


if __name__ == "__main__":
    main()
