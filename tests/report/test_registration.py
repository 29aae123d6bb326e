"""Sections and sentences register themselves, ours and those of plug-ins, and stand in order."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from bitlens.registry import Plugins
from bitlens.report import registration
from bitlens.report.audit_results import AuditResults
from bitlens.report.build import page
from bitlens.report.charts.palette import marks
from bitlens.report.findings.ranking import findings
from bitlens.report.first_screen import matrix
from bitlens.report.page.parts import Part, Prose
from bitlens.report.registration import (
    Finding,
    Framed,
    Marks,
    Register,
    family,
    finding,
    section,
    sections,
    sentence,
    sentences,
)
from bitlens.report.text.doubts import Claim, claim
from bitlens.report.text.verdict import verdicts

OURS = (
    *("compressed", "quality", "categories", "benchmarks", "documents", "layers", "attention"),
    *("routing", "heads", "lens", "features", "transfer", "prediction", "shared", "probes"),
    "causal",
)
RTN = "rtn:bits=4,group=64"


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """Entry-point groups to fill, of packages that are not installed; forgotten afterwards."""
    groups: dict[str, list[Any]] = {}
    monkeypatch.setattr("bitlens.registry.entry_points", lambda group: groups.get(group, []))
    sections = Plugins("bitlens.sections")
    places = {
        "SECTIONS": ("bitlens.report.sections", sections),
        "FAMILIES": ("bitlens.report.sections", sections),
        "SENTENCES": ("bitlens.report.text", Plugins("bitlens.sentences")),
        "FINDINGS": ("bitlens.report.findings", Plugins("bitlens.findings")),
    }
    for name, (package, known_plugins) in places.items():
        known = getattr(registration, name)
        list(known)
        fresh: Register[Any] = Register(package, known_plugins)
        fresh._entries = dict(known._entries)
        monkeypatch.setattr(registration, name, fresh)
    return groups


def point(load: Any) -> Any:
    """An entry point that runs this when it is loaded."""
    return SimpleNamespace(load=load)


def write(text: str) -> registration.WriteSection:
    """A section of one paragraph; of no text, an empty one."""

    def parts(results: AuditResults, model: str, marks: Marks) -> tuple[Part, ...]:
        return (Prose(text),) if text else ()

    return parts


def test_ours_stand_in_their_order(plugins: dict[str, list[Any]]) -> None:
    """What one reads first: what was done, the outputs, then ever further in."""
    assert tuple(entry.anchor for entry in sections()) == OURS


def test_a_plugin_stands_right_after_what_it_names(plugins: dict[str, list[Any]]) -> None:
    """Of two the later is nearer; without a place, or after what is not there, it is last."""

    def load() -> None:
        section("first", "First", after="heads")(write("a"))
        section("second", "Second", after="heads")(write("b"))
        section("child", "Child", after="first")(write("c"))
        section("lost", "Lost", after="not installed")(write("d"))
        section("end", "End")(write("e"))

    plugins["bitlens.sections"] = [point(load)]
    found = [entry.anchor for entry in sections()]
    at = found.index("heads")
    assert found[at : at + 5] == ["heads", "second", "first", "child", "lens"]
    assert found[-2:] == ["lost", "end"]


def test_sections_in_a_circle_are_refused(plugins: dict[str, list[Any]]) -> None:
    """They would be on no page, and nobody would know."""

    def load() -> None:
        section("hen", "Hen", after="egg")(write("a"))
        section("egg", "Egg", after="hen")(write("b"))

    plugins["bitlens.sections"] = [point(load)]
    with pytest.raises(ValueError, match="egg, hen follow each other in a circle"):
        sections()


@pytest.mark.slow
def test_a_plugins_section_is_on_the_page(
    results: AuditResults, plugins: dict[str, list[Any]]
) -> None:
    """One without parts is left out."""

    def load() -> None:
        section("told", "Told", after="layers")(write("by a plug-in"))
        section("silent", "Silent", after="layers")(write(""))

    plugins["bitlens.sections"] = [point(load)]
    titles = [entry.title for entry in page(results).sections]
    assert titles[titles.index("Layer by layer") + 1] == "Told"
    assert "Silent" not in titles


def test_a_plugins_sentence_stands_where_it_says(
    results: AuditResults, plugins: dict[str, list[Any]]
) -> None:
    """Between ours, which count by tens; of every compression, or of one."""

    def told(results: AuditResults, model: str, compression: str) -> Iterator[Claim]:
        if compression == RTN:
            yield claim(f"a plug-in knows {model}", leads=False)
        yield claim("")

    plugins["bitlens.sentences"] = [point(lambda: sentence(order=45)(told))]
    before, after = ("45", "50")
    orders = [entry.order for entry in sentences()]
    assert orders == sorted(orders)
    assert orders[orders.index(int(before)) + 1] == int(after)
    said = dict(verdicts(results, "demo"))
    assert "A plug-in knows demo." in said[RTN]
    assert said[RTN].index("mean KL") < said[RTN].index("A plug-in")
    assert not any("plug-in" in text for name, text in said.items() if name != RTN)


def test_a_plugins_family_and_findings_are_on_the_first_screen(
    deep: AuditResults, plugins: dict[str, list[Any]]
) -> None:
    """A column of the overview, where its order says; a finding by its weight."""

    def same(results: AuditResults, model: str, who: str) -> Iterator[Framed]:
        if row := results.find(model, who, "behaviour.same_top"):
            yield Framed(row=row, intact=1.0, chance=0.0)

    def found(results: AuditResults, model: str) -> Iterator[Finding]:
        yield Finding(title="Mine", text="1", anchor="own", weight=2.0, twins=(RTN,))

    plugins["bitlens.sections"] = [point(lambda: family("Own", section="own", order=15)(same))]
    plugins["bitlens.findings"] = [point(lambda: finding(found))]
    drawn = marks([twin.compression for twin in deep.twins("demo")])
    assert matrix(deep, "demo", drawn).columns[:3] == (
        ("Outputs", "quality"),
        ("Own", "own"),
        ("Geometry", "layers"),
    )
    assert findings(deep, "demo")[0].title == "Mine"


def test_a_name_is_taken_once(plugins: dict[str, list[Any]]) -> None:
    """A second section of one anchor would be reached by no link."""
    sections()
    with pytest.raises(ValueError, match="heads is registered twice"):
        section("heads", "Mine")(write("a"))
