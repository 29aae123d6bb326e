"""Parts of a page: a tree of small records that lowers to HTML and to Markdown alike.

Parts hold text and numbers, never markup: what they hold is escaped where it is lowered.
"""

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from bitlens.report.charts.palette import Mark
from bitlens.report.page.browsers import DocumentBrowser, FeatureBrowser, HeadPatterns, LensBrowser
from bitlens.report.page.columns import Value
from bitlens.report.text.numbers import UNSAID
from bitlens.results.records import TOO_FEW, Check

Spec = dict[str, Any]
"""A Vega-Lite specification, or a part of one."""
Point = dict[str, Any]
"""Fields of one point of a chart: texts and numbers."""


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Command:
    """Something to copy into a terminal."""

    text: str


@dataclass(frozen=True)
class Facts:
    """Names and what they are."""

    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class HeroNumber:
    """One number of a hero row."""

    title: str
    text: str
    """With its interval and unit."""
    word: str
    """What the rules about it say: `intact`, `changed`, `damaged`, `broken`, `undecided`."""


@dataclass(frozen=True, kw_only=True)
class HeroPlace:
    """What a twin is hit hardest in, a block or a head; or what noise does."""

    title: str
    text: str
    target: str
    """The address that it leads to: of a section, or `layer=2&head=5`."""


@dataclass(frozen=True, kw_only=True)
class HeroRow:
    """What one sees of a twin first: a word, a sentence, three numbers, its size."""

    compression: str
    mark: Mark | None
    word: str
    """Also `failed`."""
    rests: tuple[str, ...]
    """The rules that gave the word, each with its number, and what the intervals leave open."""
    sentence: str
    advice: str
    numbers: tuple[HeroNumber, ...]
    places: tuple[HeroPlace, ...]
    facts: tuple[str, ...]
    """Size and bits."""
    doubts: tuple[str, ...]
    """Checks that failed and bear on it."""
    more: str
    """What it rests on, in numbers."""


@dataclass(frozen=True)
class HeroRows:
    """The hero rows of a model's twins."""

    items: tuple[HeroRow, ...]
    caption: str = ""
    """What the numbers and the words mean."""


@dataclass(frozen=True, kw_only=True)
class Headline:
    """A finding: a sentence, its numbers, and where the evidence is."""

    title: str
    text: str
    anchor: str
    """Of the section that shows it."""
    target: str = ""
    """The address of the one thing it is about: `layer=2&head=5`."""
    word: str = ""
    """That of its twin, of several the worst: what its bar is drawn by."""


@dataclass(frozen=True)
class Headlines:
    """Findings, the weightiest first."""

    items: tuple[Headline, ...]
    caption: str = ""
    """How to read the numbers under them."""


@dataclass(frozen=True, kw_only=True)
class ScoreCell:
    """A score of the overview: how much is left, and how dark it is drawn."""

    text: str
    """`84.3 %`; a dash where nothing was measured."""
    interval: str
    """`[83.2, 85.3]`; empty where there is none."""
    step: int | None
    """0, intact, to 10, chance; None without a number."""
    told: str
    """The number itself with its interval, chance and intact value."""
    doubted: bool = False
    """Whether a check that it rests on failed."""


@dataclass(frozen=True)
class Matrix:
    """Twins by families of measures: each cell a score between chance and intact."""

    columns: tuple[tuple[str, str], ...]
    """(title, anchor of the section that shows it)."""
    rows: tuple[tuple[str, Mark | None, tuple[ScoreCell, ...]], ...]
    """(compression, mark, cells)."""
    caption: str = ""


@dataclass(frozen=True)
class Checklist:
    """What was checked, and how it came out."""

    items: tuple[Check, ...]


@dataclass(frozen=True)
class Column:
    """A column's title, and whether it holds numbers."""

    title: str
    numeric: bool = False


@dataclass(frozen=True)
class Table:
    """A table that is read whole; its cells are text as it should stand."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""

    @property
    def told(self) -> str:
        """The caption, and what a sign in the cells stands for."""
        unsaid = any(UNSAID in cell for row in self.rows for cell in row)
        return f"{self.caption} {UNSAID}: {TOO_FEW}." if unsaid else self.caption


@dataclass(frozen=True)
class Ledger:
    """A table too long to be read whole: filtered and sorted on the page, left out of Markdown."""

    name: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    caption: str = ""


@dataclass(frozen=True)
class Panel:
    """One chart: its points, and the frame that draws them, which many charts may share."""

    title: str
    frame: Spec
    """Vega-Lite layers, transforms and height."""
    points: tuple[Point, ...]

    def spec(self, width: int) -> Spec:
        """The whole specification, so many pixels wide."""
        points = {"values": list(self.points)}
        return {**self.frame, "title": self.title, "data": points, "width": width}


@dataclass(frozen=True)
class Strip:
    """Charts that stand beside each other, under one title."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Charts that answer one question together; also written as pictures where asked for."""

    name: str
    """File name without its ending."""
    title: str
    key: str
    """What the lines and marks are, in words."""
    strips: tuple[Strip, ...]
    caption: str
    """What to look for."""
    legend: tuple[tuple[Mark, str], ...] = ()
    controls: tuple[tuple[Mark, str], ...] = ()
    """What else is drawn, and how: noise, a cast, states. On the page they follow the legend."""
    across: int = 3
    """Charts in a row, where the page is wide enough."""
    opens: Literal["", "layer", "head", "feature"] = ""
    """What a mark leads to: the block at its x, or the head or the feature that it is."""


@dataclass(frozen=True)
class TokenRow:
    """A position of a text, and what the reference and a twin put first at each block."""

    before: str
    target: str
    """The true next token."""
    where: str
    tops: tuple[tuple[str, str], ...]
    """(reference's, twin's), one a block."""


@dataclass(frozen=True)
class TokenGrid:
    """Positions by blocks: two models' top tokens, told apart where they differ."""

    columns: tuple[str, ...]
    """One title a block."""
    rows: tuple[TokenRow, ...]
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class WrittenText:
    """What one model wrote, cut at the first token that differs."""

    who: str
    note: str
    """How it ended, and whether it is right."""
    before: str
    token: str
    after: str


@dataclass(frozen=True, kw_only=True)
class TextPair:
    """Two texts for the same question."""

    title: str
    asked: str
    """What both go on from."""
    reference: WrittenText
    twin: WrittenText


@dataclass(frozen=True)
class SideBySide:
    """Texts of the reference and of a twin beside each other, the first differing token marked."""

    pairs: tuple[TextPair, ...]
    caption: str = ""


@dataclass(frozen=True)
class Tabs:
    """Alternatives, of which one is seen at a time."""

    tabs: tuple[tuple[str, tuple["Part", ...]], ...]
    shown: int = 0
    """Which one at first."""


@dataclass(frozen=True)
class Details:
    """What is there for whoever wants it, closed at first."""

    summary: str
    parts: tuple["Part", ...]


@dataclass(frozen=True)
class Statement:
    """What a section found: a sentence, and the numbers that it rests on."""

    text: str
    numbers: str = ""


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it; sections nest."""

    anchor: str
    title: str
    """What it is called where one looks for it."""
    parts: tuple["Part", ...]
    _: KW_ONLY
    found: "Statement | None" = None
    """What it shows, in its heading; None: its title says enough."""
    doubts: tuple[str, ...] = ()
    """Checks that failed and that its numbers rest on."""
    model: str = ""
    """Of several models the one it is about: what an address within it names."""

    @classmethod
    def stating(
        cls, anchor: str, title: str, parts: tuple["Part", ...], doubts: Iterable[str] = ()
    ) -> "Section":
        """A section whose heading is the first statement among its parts, if there is one."""
        found = next((part for part in parts if isinstance(part, Statement)), None)
        others = tuple(part for part in parts if part is not found)
        return cls(anchor, title, others, found=found, doubts=tuple(doubts))


@dataclass(frozen=True)
class Page:
    """The whole: a title, a line under it, and sections."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]
    twins: tuple[tuple[str, Mark], ...] = ()
    """Compressions among which a reader picks those to see."""


Part = (
    Prose
    | Statement
    | Command
    | Facts
    | HeroRows
    | Headlines
    | Matrix
    | Checklist
    | Table
    | Ledger
    | Figure
    | TokenGrid
    | SideBySide
    | HeadPatterns
    | FeatureBrowser
    | DocumentBrowser
    | LensBrowser
    | Tabs
    | Details
    | Section
)


def figures(part: "Part | Page") -> list[Figure]:
    """Every figure in a tree of parts, in reading order."""
    if isinstance(part, Figure):
        return [part]
    if isinstance(part, Page):
        inside: tuple[Part, ...] = part.sections
    elif isinstance(part, Tabs):
        inside = tuple(p for _, parts in part.tabs for p in parts)
    elif isinstance(part, Details | Section):
        inside = part.parts
    else:
        inside = ()
    return [found for p in inside for found in figures(p)]
