"""The page of a comparison in a browser: silent, every address opens what it names, names are
text."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest

from bitlens.report.comparison.compared import Compared
from bitlens.report.comparison.write import DATA, write_comparison
from tests.support.analysis_tables import HOSTILE
from tests.support.compared_stores import compared_store
from tests.support.visits import IN_A_BROWSER, Visit, headless

pytestmark = IN_A_BROWSER
RUN = "b <img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three twins of one run, one of another whose name is hostile, as is that of a twin, and one
    that read other tokens."""
    root, draw = tmp_path_factory.mktemp("runs"), np.random.default_rng(3)
    base = draw.lognormal(-3, 0.3, 20)
    near = 2 * base + 0.002 * draw.standard_normal(20)
    runs = [
        compared_store(root / "a", {"rtn:bits=8": base, "fp4": 2 * base, "nf4": near}),
        compared_store(root / RUN, {f"checkpoint:{HOSTILE}": 5 * base}),
        compared_store(root / "c", {"rtn:bits=2": 9 * base}, tokens="77"),
    ]
    return write_comparison(Compared.read(runs, "behaviour.kl"), root / "out")


@pytest.fixture(scope="module")
def visit(file: Path) -> Iterator[Visit]:
    """That page, open on a desk."""
    with headless() as chromium:
        yield Visit(chromium, file)


def test_charts_and_tables_are_there(visit: Visit) -> None:
    """Every chart in sight is drawn, with a mark a twin at least."""
    marks = visit.tab.evaluate(
        """() => [...document.querySelectorAll(".panel")].filter((p) => p.checkVisibility())
          .map((p) => p.querySelectorAll(".mark-symbol path").length)"""
    )
    assert marks
    assert min(marks) >= 4
    assert visit.tab.locator("#ranking tbody tr").count() >= 5


def test_every_section_has_its_address(visit: Visit) -> None:
    """What the page lists at its top it has, and nothing is told of it."""
    links = visit.tab.locator("nav a").all()
    assert len(links) >= 4
    for link in links:
        link.click()
        anchor = (link.get_attribute("href") or "")[1:]
        assert visit.tab.evaluate("() => location.hash.slice(1)") == anchor
        top = visit.tab.locator(f"[id='{anchor}']").evaluate("s => s.getBoundingClientRect().top")
        assert -5 <= top < 900
        assert visit.tab.locator("#notice").is_hidden()


def test_the_picker_has_the_twins_that_were_compared(visit: Visit, file: Path) -> None:
    """As the JSON beside the page names them; one that is picked has an address, back shows all."""
    known = {row["twin"] for row in json.loads((file.parent / DATA).read_text())["twins"]}
    boxes = visit.tab.locator("#twins input[type=checkbox]")
    assert {box.get_attribute("value") for box in boxes.all()} == known
    visit.tab.evaluate("location.hash = ''")
    shown = visit.tab.locator("#ranking tbody tr:visible")
    every = shown.count()
    visit.tab.locator("#twins label", has_text="fp4").click()
    visit.tab.wait_for_function("location.hash === '#twin=fp4'")
    assert "fp4" in shown.first.inner_text()
    assert shown.count() < every
    visit.tab.locator("#all-twins").click()
    visit.tab.wait_for_function("!location.hash")
    assert shown.count() == every


def test_a_hostile_name_has_an_address_and_is_text(visit: Visit) -> None:
    """Of a twin that there is; one that there is not is told, and chosen by nobody."""
    twin = f"checkpoint:{HOSTILE}"
    visit.tab.evaluate("hash => { location.hash = hash; }", f"twin={quote(twin)}")
    visit.tab.wait_for_function("document.querySelectorAll('#twins input:checked').length === 1")
    assert visit.tab.locator("#twins input:checked").get_attribute("value") == twin
    assert visit.tab.locator("#notice").is_hidden()
    visit.tab.evaluate("hash => { location.hash = hash; }", f"twin={quote(HOSTILE)}")
    visit.tab.locator("#notice", has_text=f"This page has no {HOSTILE}").wait_for()
    visit.tab.evaluate("location.hash = 'layer=2'")
    visit.tab.locator("#notice", has_text="This page has no layer 2").wait_for()
    visit.tab.locator("#all-twins").click()
    assert RUN in (visit.tab.locator("#runs").text_content() or "")


def test_all_of_that_was_silent(visit: Visit, file: Path) -> None:
    """No message, no error, no dialog, no request but the file; no name made an element; nothing
    is wider than a phone."""
    visit.tab.set_viewport_size({"width": 420, "height": 900})
    assert visit.tab.evaluate("document.documentElement.scrollWidth") <= 420
    assert visit.complaints == []
    assert [u for u in visit.requests if not u.startswith("blob:")] == [file.as_uri()]
    assert visit.tab.locator("img").count() == 0
