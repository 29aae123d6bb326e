"""The page is one file that asks nobody for anything and takes no text for markup."""

import base64
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from bitlens.report.audit_results import AuditResults
from bitlens.report.build import page
from bitlens.report.page.html import (
    breakable,
    compressed,
    data,
    figure_data,
    html,
    packed,
    schemed,
)
from bitlens.report.page.parts import Page, Prose, Section, Tabs, figures
from tests.support.analysis_tables import HOSTILE


@pytest.fixture(scope="module")
def text(study_page: Page) -> str:
    """The page of two models with hostile names."""
    return html(study_page)


def elements(text: str) -> list[tuple[str, list[tuple[str, str | None]]]]:
    """Tags and attributes as a browser finds them: scripts are not looked into."""
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, pairs: found.append((tag, pairs))
    parser.feed(text)
    return found


def test_data_cannot_end_its_script() -> None:
    """<, >, & and the two line separators are escaped, and come back as they were."""
    held = {"name": f"{HOSTILE}&<!--\u2028\u2029", "n": 0.1}
    written = str(data(held))
    assert not re.search("[<>&\u2028\u2029]", written)
    assert json.loads(written) == held


def test_not_a_number_is_refused() -> None:
    """NaN would be written as something that is not JSON."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        data([float("nan")])


@pytest.mark.slow
def test_names_stay_text(text: str) -> None:
    """Neither in elements nor in attributes nor in data does a name become markup."""
    assert "img" not in {tag for tag, _ in elements(text)}
    assert "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;" in text


@pytest.mark.slow
def test_the_policy_names_every_script_and_style(text: str) -> None:
    """What runs is what was hashed; nothing else may run, load, send or evaluate."""
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    stated = policy[1].replace("&#39;", "'")
    assert "default-src 'none'" in stated
    assert "img-src data:" in stated
    assert "unsafe" not in stated
    assert "http" not in stated
    blocks = re.findall(r"<(script|style)>(.*?)</\1>", text, re.DOTALL)
    assert [kind for kind, _ in blocks] == ["style", "script"]
    for _, content in blocks:
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in stated


@pytest.mark.slow
def test_nothing_is_fetched_and_nothing_is_inline(text: str) -> None:
    """No link, source or handler points anywhere but into the page."""
    attributes = [pair for _, pairs in elements(text) for pair in pairs]
    assert not [name for name, _ in attributes if re.fullmatch(r"src|srcset|style|on\w+", name)]
    assert all(str(value).startswith("#") for name, value in attributes if name == "href")
    assert "link" not in {tag for tag, _ in elements(text)}
    assert text.count("<script>") == 1, "the chart library is there once"


@pytest.mark.slow
def test_the_page_is_small(text: str) -> None:
    """Two models, four compressions each, 3,000 estimates: under 2 MB."""
    assert len(text.encode()) < 2_000_000


@pytest.mark.slow
def test_the_same_page_is_the_same_bytes(results: AuditResults) -> None:
    """Nothing of time, order or chance gets in."""
    assert html(page(results)) == html(page(results))


def test_entries_are_data_and_the_same_each_time() -> None:
    """What is compressed comes back as it was, in letters that no markup has."""
    held = {"name": HOSTILE, "n": [0.1, None]}
    packed_twice = compressed(held), compressed(held)
    assert packed_twice[0] == packed_twice[1]
    assert re.fullmatch(r"[A-Za-z0-9+/=]+", packed_twice[0])
    assert json.loads(gzip.decompress(base64.b64decode(packed_twice[0]))) == held


def test_colours_follow_the_scheme() -> None:
    """A colour that would be lost on a dark page has another there; the others stay."""
    spec = {"mark": {"color": "#555555"}, "range": ["#0072B2", "#000000"]}
    assert schemed(spec) == {
        "mark": {"color": "light-dark(#555555, #b4b8c0)"},
        "range": ["#0072B2", "light-dark(#000000, #ffffff)"],
    }


def test_tables_hold_each_text_once_and_come_back() -> None:
    """Rows of indices and numbers rebuild the rows they came from."""
    rows = [("a", 1.0, None), ("b", 0.25, "a"), ("a", None, "c")]
    table = packed(["x", "y", "z"], rows)
    assert table["texts"] == ["a", "b", "c"]
    assert table["textual"] == [True, False, True]
    texts, textual = table["texts"], table["textual"]
    back = [
        tuple(
            texts[cell] if is_text and cell is not None else cell
            for cell, is_text in zip(row, textual, strict=True)
        )
        for row in zip(*table["columns"], strict=True)
    ]
    assert back == rows


@pytest.mark.slow
def test_a_figure_holds_its_points_and_shares_its_frames(results: AuditResults) -> None:
    """Six charts of layers share one frame; every point of every chart is there."""
    figure = next(f for f in figures(page(results)) if f.name == "layers-cosine")
    held = figure_data(figure)
    panels = [panel for strip in figure.strips for panel in strip.panels]
    assert len(held["frames"]) == 1
    assert len(held["panels"]) == len(panels) == 6
    assert len(held["columns"][0]) == sum(len(panel.points) for panel in panels)
    assert held["fields"][0] == "panel"


def test_characters_of_all_kinds_survive() -> None:
    """Text in any script is the same on the page."""
    words = "naïve Größe 模型 Δp × − ± 🙂"
    assert words in html(Page(words, "", (Section("a", words, (Prose(words),)),)))


def test_names_break_after_their_marks_and_numbers_nowhere() -> None:
    """Long ones after colons, commas, brackets and folders, one without them after what marks it
    has; short ones, thousands and options hold."""
    assert breakable("rtn:bits=4,group=64") == "rtn:<wbr>bits=4,<wbr>group=64"
    assert breakable("noise:like=[rtn:bits=4]") == "noise:<wbr>like=[<wbr>rtn:<wbr>bits=4]"
    assert breakable("prune:sparsity=0.3") == "prune:<wbr>sparsity=0.3"
    assert breakable("rtn:bits=4 2,572 ±275, 7/8 (87.5 %)").count("<wbr>") == 0
    assert (
        breakable("a_model_of_a_very_long_name")
        == "a_<wbr>model_<wbr>of_<wbr>a_<wbr>very_<wbr>long_<wbr>name"
    )
    assert breakable("(--tokens).") == '(<span class="whole">--tokens</span>).'
    assert breakable("1.0 [0.9980, 1.0000]") == "1.0 [0.9980,\u00a01.0000]"
    assert breakable("84.3 % [83.2, 85.3]") == "84.3\u00a0% [83.2,\u00a085.3]"
    assert breakable("<b>_x") == "&lt;b&gt;_x"


@pytest.mark.slow
def test_everything_within_is_small_and_inert(deep: AuditResults) -> None:
    """Heads, lenses, features and contexts of three compressions: under 3 MB, nothing fetched,
    no hostile token an element."""
    written = html(page(deep))
    assert len(written.encode()) < 3_000_000
    found = elements(written)
    assert "img" not in {tag for tag, _ in found}
    attributes = [pair for _, pairs in found for pair in pairs]
    assert not [name for name, _ in attributes if re.fullmatch(r"src|srcset|style|on\w+", name)]
    names = [value for name, value in attributes if name == "id"]
    assert len(names) == len(set(names)), "every anchor is there once"


def test_one_tab_is_open_at_first() -> None:
    """The one that is to be shown is checked, and only its content is not hidden."""
    tabs = Tabs(tuple((name, (Prose(name),)) for name in ("a", "b", "c")), shown=1)
    written = html(Page("t", "s", (Section("x", "X", (tabs,)),)))
    found = [(tag, dict(pairs)) for tag, pairs in elements(written)]
    boxes = [attributes for tag, attributes in found if tag == "input"]
    panels = [attributes for _, attributes in found if attributes.get("class") == "tab"]
    assert ["checked" in box for box in boxes] == [False, True, False]
    assert ["hidden" in panel for panel in panels] == [True, False, True]
