"""The README's two pictures of the page: `python tools/readme_pictures.py RUN`.

The first screen, and the page of the feature that a twin damaged most. Taken by a Chromium
without a window of the report in the folder RUN, which `make demo` writes.
"""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from playwright.sync_api import sync_playwright

import bitlens
from bitlens.errors import InputError
from bitlens.report.audit import Audit

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE = {"width": 1280, "height": 1400}
MARGIN = 16
"""Pixels below the last twin's card, where the first picture ends."""
TALL = {"width": 1280, "height": 2400}
"""So that all of a feature is on the screen, with nothing that sticks to its edge over it."""
WORST_FIRST = ("broken", "damaged", "changed", "undecided", "intact", "failed")
READY = "html[data-ready=yes]"
"""The page says so once it can be used."""
FEATURE = ".features .feature:visible"
WAIT = 20_000
"""Milliseconds after which something is wrong."""


def worst_feature(audit: Audit) -> str:
    """The address of the feature, of those with texts, that the worst twin keeps least."""
    twin = min(audit.verdict, key=lambda name: WORST_FIRST.index(audit.verdict[name]))
    texts = audit.details(twin, "features", "contexts").to_pylist()
    shown = {(row["sae"], row["latent"]) for row in texts}
    known = audit.details(twin, "features", "features").to_pylist()
    of = [row for row in known if (row["sae"], row["latent"]) in shown and row["r"] is not None]
    worst = min(of, key=lambda row: row["r"])
    place = {"twin": twin, "sae": worst["sae"], "feature": worst["latent"]}
    return f"#{urlencode(place)}"


def take(browser: Any, page: Path, address: str, out: Path) -> None:
    """Both pictures of one page."""
    tab = browser.new_page(viewport=SIZE, device_scale_factor=1)
    tab.goto(page.resolve().as_uri())
    tab.wait_for_selector(READY, timeout=WAIT)
    cards = tab.locator(".heroes").first.bounding_box()
    whole = {"x": 0, "y": 0, "width": SIZE["width"]}
    whole["height"] = cards["y"] + cards["height"] + MARGIN
    tab.screenshot(path=out / "first-screen.png", clip=whole)
    tab.set_viewport_size(TALL)
    tab.goto(f"{page.resolve().as_uri()}{address}")
    tab.reload()
    found = tab.locator(FEATURE).first
    found.wait_for(timeout=WAIT)
    found.locator(".excerpt").first.wait_for(timeout=WAIT)
    found.screenshot(path=out / "feature.png")


def main(arguments: list[str]) -> None:
    """Parse, and take both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="a folder with report.html")
    parser.add_argument("--out", type=Path, default=PICTURES)
    given = parser.parse_args(arguments)
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        raise InputError("There is no Chromium.", f"one of {', '.join(BROWSERS)}.", "install it.")
    given.out.mkdir(parents=True, exist_ok=True)
    address = worst_feature(bitlens.open(given.run))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        take(browser, given.run / "report.html", address, given.out)
        browser.close()
    print(f"{given.out}: {', '.join(sorted(p.name for p in given.out.glob('*.png')))}")


if __name__ == "__main__":
    main(sys.argv[1:])
