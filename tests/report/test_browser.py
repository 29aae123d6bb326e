"""The page in a browser: offline, silent, drawn, and deaf to hostile names."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from bitlens.report.audit_results import AuditResults
from bitlens.report.build import page
from bitlens.report.page.html import html
from bitlens.report.page.parts import Column, Ledger, Page, Section
from bitlens.report.saes import saes_of
from tests.support.analysis_tables import HOSTILE
from tests.support.visits import IN_A_BROWSER, Visit, headless, tip

pytestmark = IN_A_BROWSER


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless browser."""
    with headless() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def file(study_page: Page, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of two models, one with a hostile name."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html(study_page), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def visit(browser: Any, file: Path) -> Visit:
    """That page, open on a desk."""
    return Visit(browser, file)


def test_charts_are_drawn(visit: Visit) -> None:
    """Every chart in sight has a size, points and axes."""
    drawn = visit.tab.evaluate(
        """() => [...document.querySelectorAll(".panel")].map((p) => {
          if (!p.checkVisibility()) return null;
          const svg = p.querySelector("svg");
          const box = svg?.getBoundingClientRect() ?? { width: 0, height: 0 };
          return [box.width, box.height, p.querySelectorAll(".mark-symbol path").length];
        })"""
    )
    drawn = [chart for chart in drawn if chart]
    assert len(drawn) == 2 + 2 * (3 + 2 + 3 * 2)
    for width, height, points in drawn:
        assert width > 200
        assert height > 100
        assert points >= 4


def test_an_address_names_its_model_and_the_way_back_leads_out(visit: Visit) -> None:
    """Of two models, a card's link opens the block of its own; back closes it, forward opens it."""
    link, place = visit.tab.locator(".places a[href*='layer=']").last, visit.tab.locator("#place")
    link.click()
    place.wait_for(state="visible")
    assert visit.tab.evaluate("location.hash").startswith("#model=")
    assert " of " in place.locator("h2").inner_text()
    visit.tab.go_back()
    place.wait_for(state="hidden")
    visit.tab.go_forward()
    place.wait_for(state="visible")
    place.locator(".close").click()
    place.wait_for(state="hidden")


def test_folds_and_tabs_draw_when_opened(visit: Visit) -> None:
    """Arrow keys move between tabs; what was hidden is drawn once it shows."""
    tabs = visit.tab.locator(".tabs").first
    tabs.locator("input").first.focus()
    visit.tab.keyboard.press("ArrowRight")
    panel = tabs.locator(".tab").nth(1).locator(".panel").first
    panel.locator("svg .mark-line path").first.wait_for(state="attached")
    assert tabs.locator(".tab").first.is_hidden()
    fold = visit.tab.locator("details", has=visit.tab.locator("figure")).first
    fold.locator("summary").first.click()
    fold.locator("svg .mark-symbol path").first.wait_for(state="attached")


def test_every_number_can_be_found(visit: Visit) -> None:
    """The table of all estimates filters by words, sorts by columns, and tells how many."""
    visit.tab.evaluate("document.querySelector('#numbers details').open = true")
    ledger = visit.tab.locator("#numbers .ledger")
    ledger.scroll_into_view_if_needed()
    ledger.locator("thead button").first.wait_for()
    assert "50 of 3,366 rows" in ledger.locator(".count").inner_text()
    ledger.locator("input").fill("MLP.3 cosine local prune")
    assert ledger.locator(".count").inner_text() == "4 of 4 rows"
    ledger.locator("thead button", has_text="value").click()
    cells = ledger.locator("tbody tr td:nth-child(7)").all_inner_texts()
    assert [float(cell) for cell in cells] == sorted(float(cell) for cell in cells)
    assert len(set(cells)) > 1


def test_hovering_tells_the_number_as_text(visit: Visit) -> None:
    """A tooltip shows a hostile name as it is written."""
    panel = visit.tab.locator("figure[data-name=overview] .panel").first
    visit.tab.evaluate("scrollTo(0, 0)")
    point = panel.locator(".mark-symbol path[aria-label*='checkpoint'][fill='#CC79A7']").first
    told = tip(visit.tab, point)
    assert HOSTILE in told
    assert "95 % interval from" in told


def test_names_run_nothing(visit: Visit) -> None:
    """The hostile name is on the page as text, many times, and made no element."""
    assert visit.tab.locator("img").count() == 0
    assert visit.tab.locator("main h2", has_text=HOSTILE).count() == 1


def test_the_policy_holds(visit: Visit, browser: Any) -> None:
    """Even markup that got in could neither run nor evaluate nor fetch."""
    assert visit.tab.locator("meta[http-equiv=Content-Security-Policy]").count() == 1
    tried = browser.new_page()
    tried.goto(visit.tab.url)
    ran = tried.evaluate(
        """async () => {
          const div = document.createElement("div");
          document.body.append(div);
          div.innerHTML = "<img src=x onerror='window.ran = 1'>";
          const fetched = await fetch("data:,x").then(() => "fetched", () => "refused");
          const made = document.createElement("script");
          made.textContent = "window.evaluated = 1";
          document.body.append(made);
          return [window.ran ?? 0, window.evaluated ?? 0, fetched];
        }"""
    )
    tried.close()
    assert ran == [0, 0, "refused"]


def test_numbers_can_be_taken_away(visit: Visit, tmp_path: Path) -> None:
    """A figure's CSV holds the store's own values."""
    with visit.tab.expect_download() as download:
        visit.tab.locator("figure[data-name=overview] [data-save=csv]").click()
    path = tmp_path / "overview.csv"
    download.value.save_as(path)
    rows = list(csv.DictReader(path.open(newline="", encoding="utf-8")))
    assert len(rows) == 2 * 2 * 4
    assert {row["chart"] for row in rows} == {"demo", HOSTILE}
    assert all(float(row["low"]) < float(row["value"]) < float(row["high"]) for row in rows)


def test_all_of_it_was_silent(visit: Visit, file: Path) -> None:
    """After all that: no message, no error, no dialog, and no request but the file itself."""
    assert visit.complaints == []
    assert [url for url in visit.requests if not url.startswith("blob:")] == [file.as_uri()]


def test_a_phone_shows_it_without_sideways_scrolling(browser: Any, file: Path) -> None:
    """At 420 pixels the page is as wide as the screen; wide tables scroll inside themselves."""
    phone = Visit(browser, file, width=420)
    assert phone.tab.evaluate("document.documentElement.scrollWidth") <= 420
    assert phone.complaints == []
    phone.tab.close()


def test_spreadsheets_run_no_cell(browser: Any, tmp_path: Path) -> None:
    """A text that begins like a formula leaves with an apostrophe before it."""
    ledger = Ledger("x", (Column("name"), Column("n", True)), (("=1+1", -0.5), ('say "a"', None)))
    path = tmp_path / "page.html"
    path.write_text(html(Page("t", "s", (Section("a", "A", (ledger,)),))), encoding="utf-8")
    small = Visit(browser, path)
    small.tab.locator(".ledger thead button").first.wait_for()
    with small.tab.expect_download() as download:
        small.tab.locator(".save").click()
    saved = tmp_path / "x.csv"
    download.value.save_as(saved)
    assert saved.read_text().splitlines() == ['"name","n"', '"\'=1+1",-0.5', '"say ""a""",']
    assert small.complaints == []
    small.tab.close()


@pytest.fixture(scope="module")
def deep_file(deep: AuditResults, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of one model with every analysis, hostile tokens in its tables."""
    path = tmp_path_factory.mktemp("deep page") / "report.html"
    path.write_text(html(page(deep)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def inside(browser: Any, deep_file: Path) -> Visit:
    """That page, open on a desk."""
    return Visit(browser, deep_file)


def test_what_is_inside_is_drawn(inside: Visit) -> None:
    """Heat maps, scatters, ladders, bars: each has its marks."""
    for name, marks in {
        "attention-jsd": ".mark-rect path",
        "attention-levels": ".mark-symbol path",
        "heads-scores": ".mark-symbol path",
        "heads-survival": ".mark-symbol path",
        "lens-lens_kl": ".mark-line path",
        "features-1-states": ".mark-rect path",
        "features-1-thresholds": ".mark-symbol path",
        "features-2-peaks": ".mark-symbol path",
    }.items():
        panels = inside.tab.locator(f"figure[data-name={name}] .panel").all()
        assert panels
        for panel in panels:
            assert panel.locator(marks).count() >= 4, name


def test_hovering_a_head_names_it_beside_its_control(inside: Visit) -> None:
    """A cell tells its head, its value and its control."""
    figure = inside.tab.locator("figure[data-name=attention-jsd] .panel").nth(4)
    figure.scroll_into_view_if_needed()
    told = tip(inside.tab, figure.locator(".mark-rect path[aria-label*='1.2']").first)
    assert "1.2" in told
    assert "control" in told
    assert "noise:like=[prune:sparsity=0.5]" in told


def test_a_feature_shows_what_it_fires_on(inside: Visit) -> None:
    """Contexts side by side, tokens shaded in steps and text; ranks in both models, charts, what
    its direction says, and where others wrote of it."""
    box = inside.tab.locator("#features-2 .features")
    box.scroll_into_view_if_needed()
    box.locator("tbody a").first.click()
    feature = box.locator(".feature")
    feature.locator(".excerpt").first.wait_for()
    assert feature.locator(".excerpt").count() == 2
    # Its r is below nought, so the planted twin is silent.
    where = feature.locator(".where").first.inner_text()
    assert where == "a document, token 0 · rank 1 in the reference; silent in the twin"
    peak = feature.locator(".excerpt .peak").first
    assert peak.inner_text() == HOSTILE
    assert "heat8" in (peak.get_attribute("class") or "")
    shade = peak.evaluate("token => getComputedStyle(token).backgroundColor")
    plain = feature.locator(".excerpt .tokens").first
    assert shade != plain.evaluate("token => getComputedStyle(token).backgroundColor")
    told = tip(inside.tab, peak)
    assert HOSTILE in told
    assert "reference" in told
    assert feature.locator(".pair").count() == 3
    assert f"likelier: {HOSTILE} +2.5" in feature.locator(".says").inner_text()
    link = feature.locator("a[rel=noreferrer]").get_attribute("href") or ""
    latent = re.findall(r"Feature (\d+)", feature.locator("h4").inner_text())[0]
    assert link == f"https://www.neuronpedia.org/demo/2-res/{latent}"
    feature.locator("button", has_text="Close").click()
    feature.wait_for(state="hidden")


def test_features_are_found_by_number_and_by_token(inside: Visit, deep: AuditResults) -> None:
    """A number is the beginning of a latent's; a text stands in what it fires on or says, in any
    twin."""
    twins = [twin.compression for twin in deep.measured("demo")]
    tables = [deep.table("demo", twin, "features", "directions") for twin in twins]
    known = {row["latent"] for table in tables for row in table if row["sae"] == "late"}
    box = inside.tab.locator("#features-2 .features")
    search = box.locator(".search")
    search.fill("alert(1)")
    box.locator(".count", has_text=f"{len(known)} of {len(known)} features").wait_for()
    search.fill("no such token")
    box.locator(".count", has_text="0 of 0 features").wait_for()
    first = str(7 * 10)
    search.fill(first)
    found = box.locator(":scope > .scroll tbody th").all_inner_texts()
    assert found
    assert all(text.startswith(first) for text in found)
    search.fill("")


def test_positions_mark_where_the_models_differ(inside: Visit) -> None:
    """The tab of a compression shows its grid; cells that differ hold both tokens."""
    tabs = inside.tab.locator("#trajectories .tabs")
    tabs.locator("label", has_text="prune").click()
    cells = tabs.locator("td.differs:visible")
    assert cells.count() == 6
    assert all("≠" in text for text in cells.all_inner_texts())


def test_the_threshold_counts_as_the_store_does(inside: Visit, deep: AuditResults) -> None:
    """At every threshold that the store has a share for, the bar of every twin says the same."""
    box = inside.tab.locator("#features-2 .features")
    box.scroll_into_view_if_needed()
    box.locator(".bars li").first.wait_for()
    (sae,) = [sae for sae in saes_of(deep, "demo") if sae.label == "late"]
    for line in (50, 70, 90, 95, 99):
        box.locator(".line").fill(str(line))
        for told in box.locator(".bars li").all():
            twin = told.locator("button").inner_text()
            row = sae.find(deep, "demo", twin, f"features.kept_{line}")
            assert row is not None
            kept, active = re.findall(r"\d+", told.locator(".told").inner_text())[-2:]
            assert int(kept) / int(active) == pytest.approx(row["value"])


def test_a_feature_has_an_address_and_the_way_back(inside: Visit) -> None:
    """A number in the table opens the feature; back closes it; the next worst follows."""
    box = inside.tab.locator("#features-2 .features")
    box.locator("tbody a").first.click()
    first = box.locator(".feature h4").inner_text()
    assert "late" in first
    assert "sae=late&feature=" in inside.tab.url
    box.locator(".feature button", has_text="Next worst").click()
    inside.tab.wait_for_function("text => !document.body.innerText.includes(text)", arg=first)
    inside.tab.go_back()
    box.locator(".feature h4", has_text=first).wait_for()
    inside.tab.go_back()
    box.locator(".feature").wait_for(state="hidden")


def test_twins_that_are_picked_are_the_only_ones(inside: Visit) -> None:
    """Rows, bars and charts of the others go, and come back with all."""
    inside.tab.locator("#twins label").first.click()
    inside.tab.wait_for_function("location.hash.startsWith('#twin=')")
    assert inside.tab.locator("#features-2 .bars li").count() == 1
    assert inside.tab.locator(".hero:visible").count() == 1
    inside.tab.locator("#all-twins").click()
    inside.tab.wait_for_function("!location.hash")
    assert inside.tab.locator("#features-2 .bars li").count() == 3


def test_a_document_and_its_token_have_an_address(inside: Visit) -> None:
    """The address opens both; the card has both lists, as the store has them, and what is hostile
    is text. The document's own token is the second of both."""
    inside.tab.evaluate("location.hash = 'twin=prune:sparsity=0.5&document=1&token=4'")
    box = inside.tab.locator("#documents .documents")
    box.locator("h4", has_text=HOSTILE).wait_for()
    assert box.locator(".text [aria-current]").inner_text().strip() == "↵"
    rows = box.locator(".card tbody tr").all_inner_texts()
    assert [row.split("\t") for row in rows] == [
        [HOSTILE, "50.0 % (1)", "40.0 % (1)", "−10.0"],
        ["↵ ✓", "20.0 % (2)", "30.0 % (2)", "+10.0"],
        ["␣a", "10.0 % (3)", "10.0 % (3)", "0.0"],
        ["␣time", "5.0 % (4)", "5.0 % (4)", "0.0"],
        ["模型", "1.2 % (5)", "under 0.1 % (5)", "−1.2"],
    ]
    assert "KL 0.63 nats" in box.locator(".card").inner_text()
    assert "rank 2 of 30" in box.locator(".sheet").inner_text()
    inside.tab.evaluate("location.hash = 'twin=prune:sparsity=0.5&document=1&token=99'")
    inside.tab.locator("#notice", has_text="document 1, token 99").wait_for()
    inside.tab.evaluate("location.hash = 'document=3'")
    inside.tab.locator("#notice", has_text="no document 3").wait_for()
    inside.tab.evaluate("location.hash = 'document=0'")
    box.locator("h4", has_text="document 0").wait_for()


def test_lens_grids_show_blocks_by_tokens(inside: Visit) -> None:
    """The last block on top, the reference's token and the twin's where it is another; another
    text and twin by the keyboard; what is hostile is text."""
    box = inside.tab.locator(".lens-grids")
    box.scroll_into_view_if_needed()
    inside.tab.wait_for_function("() => document.querySelector('.lens-grid th')?.innerText")
    heads = box.locator("thead th").all_inner_texts()
    assert heads == ["after block", "␣upon", HOSTILE, "↵"]
    rows = [row.split("\t") for row in box.locator("tbody tr").all_inner_texts()]
    assert [row[0] for row in rows] == ["1", "0"]
    assert rows[0][1].split("\n") == ["␣upon ✓", f"≠ {HOSTILE}"]
    assert rows[1][1:] == [".", ".", "."]
    box.locator(".which").focus()
    inside.tab.keyboard.press("Home")
    box.locator(".text-of").focus()
    inside.tab.keyboard.press("End")
    assert box.locator(".text-of option:checked").inner_text() == HOSTILE


def test_arrows_go_from_one_changed_token_to_the_next(inside: Visit) -> None:
    """The third token and the sixth are underlined, and nothing else; the way there is in the
    address, and back goes back. The keyboard stays where it is."""
    inside.tab.evaluate("location.hash = 'twin=rtn:bits=8&document=0'")
    box = inside.tab.locator("#documents .documents")
    box.locator(".facts", has_text="Under rtn:bits=8").wait_for()
    changed = box.locator(".text .changed").all_inner_texts()
    assert changed == [HOSTILE, " time"]
    text = box.locator(".text")
    text.focus()
    for key, token in (("ArrowRight", 3), ("ArrowRight", 6), ("ArrowRight", 6), ("ArrowLeft", 3)):
        inside.tab.keyboard.press(key)
        inside.tab.wait_for_function(f"location.hash.endsWith('&token={token}')")
    inside.tab.keyboard.press("Shift+ArrowRight")
    inside.tab.wait_for_function("location.hash.endsWith('&token=4')")
    assert text.evaluate("text => text === document.activeElement")
    card = box.locator(".card")
    box.locator(".text .tokens").nth(5).hover()
    told = card.inner_text()
    assert "Another token comes first" in told
    assert "other\tunder 1.2 %\tunder 0.1 % (5)\t–" in told
    box.locator(".text .tokens").nth(7).hover()
    # Not among the five: what both models gave it is known all the same.
    assert ". ✓\t0.7 %\t0.7 %\t0.0" in card.inner_text()
    box.locator(".text .tokens").nth(0).hover()
    assert "Nothing stands before it" in card.inner_text()


def test_darker_is_farther_on_one_scale(inside: Visit) -> None:
    """Each token has the step of its KL in the store: under 0.01, 0.01, 0.03, 0.1, 0.3, 1, 3."""
    inside.tab.evaluate("location.hash = 'twin=prune:sparsity=0.5&document=29'")
    box = inside.tab.locator("#documents .documents")
    box.locator("h4", has_text="document 29").wait_for()
    spans = box.locator(".text .tokens").all()
    steps = [re.search(r"\bkl(\d)", span.get_attribute("class") or "") for span in spans]
    # KL is 0.21 times the place: nothing, 0.21, 0.42, 0.63, 0.84, 1.05, 1.26 and 1.47.
    assert [step and step[1] for step in steps] == [None, "3", "4", "4", "4", "5", "5", "5"]
    assert [span.evaluate("s => s.matches('.uncounted')") for span in spans] == [
        False, True, *[False] * 6,
    ]  # fmt: skip
    kinds = box.locator(".kind")
    for kind, found in (("worst", ["document 0", HOSTILE]), ("median", ["document 15"])):
        kinds.select_option(kind)
        assert box.locator(".list tbody th").all_inner_texts() == found
    box.locator(".which").select_option("rtn:bits=8")
    inside.tab.wait_for_function("location.hash.includes('rtn%3Abits%3D8&document=29')")
    box.locator(".facts", has_text="Under rtn:bits=8").wait_for()
    inside.tab.locator("#all-twins").click()
    inside.tab.evaluate("location.hash = ''")


def test_a_head_has_an_address(inside: Visit) -> None:
    """The numbers of one head open, and close again."""
    inside.tab.evaluate("location.hash = 'layer=1&head=2'")
    place = inside.tab.locator("#place")
    place.locator("h2", has_text="Head 1.2").wait_for()
    assert all("head 2" in text for text in place.locator("tbody th").all_inner_texts())
    place.locator(".close").click()
    place.wait_for(state="hidden")


def test_a_head_s_address_opens_its_two_patterns(inside: Visit) -> None:
    """Of the twin that the address names, beside the reference; tokens are text."""
    inside.tab.evaluate("location.hash = 'twin=prune:sparsity%3D0.5&layer=1&head=2'")
    view = inside.tab.locator("#place .pattern-view")
    view.locator(".map", has_text="prune:sparsity=0.5").wait_for()
    assert [t.replace("\n", "") for t in view.locator(".map .strip").all_inner_texts()] == [
        "Reference", "prune:sparsity=0.5", "Difference"
    ]  # fmt: skip
    assert view.locator(".lines p").first.locator(".tokens").all_inner_texts() == [
        " Once", HOSTILE, "↵", "模型", "⟨U+202E⟩", "."
    ]  # fmt: skip
    # The last token looks at the one before; in the twin half of that goes to the first.
    told = view.locator(".told").inner_text()
    assert "Head 1.2, from “.” (token 5) to " in told
    assert "reference 1.000, prune:sparsity=0.5 0.502, difference −0.498" in told
    painted = """canvas => {
      const { data } = canvas.getContext('2d').getImageData(0, 0, 6, 6);
      return [[5, 4], [5, 0], [5, 1]].map(([q, k]) => data[4 * (6 * q + k) + 3]);
    }"""
    alphas = [canvas.evaluate(painted) for canvas in view.locator("canvas").all()]
    # The square root of 128/255 and of 127/255, and of the difference of as much.
    assert alphas == [[255, 0, 0], [181, 180, 0], [180, 180, 0]]


def test_a_token_that_is_pointed_at_is_marked_in_all(inside: Visit) -> None:
    """A token, a cell or a slider marks the same place in all three; what it pays is told."""
    view = inside.tab.locator("#place .pattern-view")
    view.locator(".lines p").nth(1).locator(".tokens").nth(3).hover()
    places = (
        "() => [...document.querySelectorAll('#place .mark')].map(m => [m.style.top, m.style.left])"
    )
    rows = [(50, 100 * 2 / 6)] * 3
    found = inside.tab.evaluate(places)
    for (query, key), (top, _), (_, left) in zip(rows, found[::2], found[1::2], strict=True):
        assert float(top.rstrip("%")) == pytest.approx(query)
        assert float(left.rstrip("%")) == pytest.approx(key, abs=1e-4)
    assert view.locator(".lines .from").all_inner_texts() == ["模型"] * 2
    assert view.locator(".lines .to").all_inner_texts() == ["↵"] * 2
    canvas = view.locator("canvas").nth(2)
    box = canvas.bounding_box()
    assert box is not None
    cell = box["width"] / 6
    canvas.hover(position={"x": 0.5 * cell, "y": 4.5 * cell})
    assert "from “⟨U+202E⟩” (token 4) to “ Once” (token 0)" in view.locator(".told").inner_text()
    view.locator("input.from").fill("2")
    assert "(token 2) to “ Once” (token 0)" in view.locator(".told").inner_text()
    inside.tab.locator("#place .close").click()
    inside.tab.evaluate("location.hash = ''")


def test_an_unknown_address_says_so_as_text(inside: Visit) -> None:
    """What nobody measured is named, however hostile, and opens nothing."""
    for asked, told in (
        ("layer=99", "layer 99"),
        ("feature=x", "feature x"),
        (f"twin={quote('<img src=x onerror=alert(1)>')}", "<img src=x onerror=alert(1)>"),
        ("wish=1", "wish=1"),
        ("%E0%A4", "no part called"),
    ):
        inside.tab.evaluate("hash => { location.hash = hash; }", asked)
        inside.tab.locator("#notice", has_text=told).wait_for()
    inside.tab.evaluate("location.hash = 'validity'")
    inside.tab.locator("#notice").wait_for(state="hidden")
    assert inside.tab.locator("#place").is_hidden()


def test_all_of_that_was_silent(inside: Visit, deep_file: Path) -> None:
    """No message, no error, no dialog, no request but the file; no token made an element."""
    assert inside.complaints == []
    assert [u for u in inside.requests if not u.startswith("blob:")] == [deep_file.as_uri()]
    assert inside.tab.locator("img").count() == 0


def test_a_phone_shows_the_inside_too(browser: Any, deep_file: Path) -> None:
    """Grids and tables scroll inside themselves; contexts stand one below the other."""
    phone = Visit(browser, deep_file, width=420)
    assert phone.tab.evaluate("document.documentElement.scrollWidth") <= 420
    assert phone.complaints == []
    phone.tab.close()
