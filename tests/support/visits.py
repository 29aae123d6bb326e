"""Pages in a headless browser, and everything they did that a page should not do."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
IN_A_BROWSER = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="chromium is not installed: the page was not tried in a browser"
    ),
]


@contextmanager
def headless() -> Iterator[Any]:
    """A headless browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield chromium
        chromium.close()


class Visit:
    """A page that is open."""

    def __init__(self, browser: Any, path: Path, width: int = 1280) -> None:
        self.tab = browser.new_page(viewport={"width": width, "height": 900})
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.tab.on("console", lambda message: self.complaints.append(message.text))
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("dialog", lambda dialog: self.complaints.append("dialog"))
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.goto(path.as_uri())
        self.tab.wait_for_selector("html[data-ready=yes]", timeout=60_000)
        self.draw()

    def draw(self) -> None:
        """Everything that is not folded away, as before printing."""
        self.tab.evaluate("dispatchEvent(new Event('beforeprint'))")
        self.tab.wait_for_function(
            """() => [...document.querySelectorAll(".panel:not([hidden])")]
              .every((panel) => !panel.checkVisibility() || panel.querySelector("svg"))""",
            timeout=60_000,
        )


def tip(tab: Any, mark: Any) -> str:
    """What a page tells of a mark under the mouse: it is hovered again while views that came into
    sight are still being drawn and push it from its place.
    """
    shown = tab.locator("#tip")
    shown.evaluate("tip => { tip.hidden = true; }")
    for _ in range(50):
        mark.hover(force=True)
        if shown.is_visible():
            break
        tab.wait_for_timeout(100)
    return str(shown.inner_text())
