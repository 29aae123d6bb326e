"""The registers of what a page is made of: sections, families of measures, sentences, findings.

Each is one function under a decorator. Ours are found by listing `report/sections` (sections and
families), `report/text` (sentences) and `report/findings`; those of other packages through the
entry-point groups `bitlens.sections`, `bitlens.sentences` and `bitlens.findings`: an entry point
names the module that holds them.
"""

import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Generic, TypeVar

from bitlens.registry import Plugins
from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.charts.palette import Mark
from bitlens.report.page.parts import Part
from bitlens.report.text.doubts import Claim
from bitlens.results.records import TEXT

Marks = Mapping[str, Mark]
"""How each compression is drawn, by its text form."""
WriteSection = Callable[[AuditResults, str, Marks], tuple[Part, ...]]
"""What stands in a section of one model: of the results, the model's name and the marks. Nothing:
the section is left out."""
WriteSentence = Callable[[AuditResults, str, str], Iterable[Claim]]
"""What a verdict says of one compression of one model, by their names; one without text is left
out."""


@dataclass(frozen=True, kw_only=True)
class Framed:
    """An estimate, and the two values it lies between."""

    row: Row
    intact: float
    chance: float
    where: str = ""
    """Which of several such numbers it is: `in block 2`."""


ReadFamily = Callable[[AuditResults, str, str], Iterable[Framed]]
"""The numbers that stand for a family of measures, of a model's twin by their names; the worst of
them counts."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something worth saying of a model's twins, and where the evidence stands."""

    title: str
    """The finding as a sentence, without numbers that need a second look."""
    text: str
    """The numbers it rests on, with intervals."""
    anchor: str
    """The section that shows it."""
    weight: float
    """How much it matters to someone who decides about a twin: 0 to 1."""
    twins: tuple[str, ...]
    """Which compressions it is about."""
    uses: frozenset[str] = frozenset()
    """What checks may bear on that it uses: the text, the label of an SAE."""
    target: str = ""
    """The address of the one thing it is about on the page: `layer=2`, `layer=2&head=5`."""


WriteFindings = Callable[[AuditResults, str], Iterable[Finding]]
"""What a kind of finding says of one model, by its name."""


@dataclass(frozen=True, kw_only=True)
class MeasureFamily:
    """A family of measures: a column of the overview."""

    title: str
    section: str
    """The anchor of the section that shows it."""
    order: int
    """Where it stands: ours count by tens."""
    read: ReadFamily
    told: str = ""
    """What its number is, in a few words."""


@dataclass(frozen=True, kw_only=True)
class ReportSection:
    """A section that every model's part of the page may have."""

    anchor: str
    """Unique; what a link to it ends with."""
    title: str
    after: str | None
    """The anchor of the section that it follows; None: it follows all that name one."""
    analysis: str
    """Whose numbers it shows, so that the generic section does not; empty: of no one analysis."""
    write: WriteSection
    uses: frozenset[str] = frozenset({TEXT})
    """What checks may bear on that its numbers use."""


@dataclass(frozen=True, kw_only=True)
class VerdictSentence:
    """A sentence, or several, that a verdict may have."""

    order: int
    """Where it stands: ours count by tens."""
    write: WriteSentence


T = TypeVar("T")


class Register(Generic[T]):
    """What is registered by name, once whatever registers it is loaded: ours in the order of our
    modules' names, whichever was imported first, then that of plug-ins."""

    def __init__(self, package: str, plugins: Plugins) -> None:
        self._package = package
        self._plugins = plugins
        self._entries: dict[str, tuple[str, T]] = {}
        """By name, with the module that registers it."""

    def add(self, name: str, entry: T, module: str) -> None:
        """Make an entry of a module known. ValueError for a name that is taken."""
        if name in self._entries:
            raise ValueError(f"{name} is registered twice in {self._package}")
        self._entries[name] = (module, entry)

    def __iter__(self) -> Iterator[T]:
        package = import_module(self._package)
        found = pkgutil.iter_modules(package.__path__, f"{self._package}.")
        place = {module.name: number for number, module in enumerate(found)}
        for name in place:
            import_module(name)
        self._plugins.load()
        entries = sorted(self._entries.values(), key=lambda of: place.get(of[0], len(place)))
        return iter([entry for _, entry in entries])


_SECTION_PLUGINS = Plugins("bitlens.sections")
SECTIONS: Register[ReportSection] = Register("bitlens.report.sections", _SECTION_PLUGINS)
FAMILIES: Register[MeasureFamily] = Register("bitlens.report.sections", _SECTION_PLUGINS)
SENTENCES: Register[VerdictSentence] = Register("bitlens.report.text", Plugins("bitlens.sentences"))
FINDINGS: Register[WriteFindings] = Register("bitlens.report.findings", Plugins("bitlens.findings"))


def section(
    anchor: str,
    title: str,
    *,
    after: str | None = None,
    analysis: str = "",
    uses: Iterable[str] = (TEXT,),
) -> Callable[[WriteSection], WriteSection]:
    """Decorator: the function writes this section of every model's part of the page. `uses`: what
    checks may bear on that its numbers use; one that failed is said in its heading."""

    def add(write: WriteSection) -> WriteSection:
        found = ReportSection(
            anchor=anchor,
            title=title,
            after=after,
            analysis=analysis,
            write=write,
            uses=frozenset(uses),
        )
        SECTIONS.add(anchor, found, write.__module__)
        return write

    return add


def sentence(*, order: int) -> Callable[[WriteSentence], WriteSentence]:
    """Decorator: the function writes a sentence of every compression's verdict, at this place."""

    def add(write: WriteSentence) -> WriteSentence:
        name = f"{write.__module__}.{write.__qualname__}"
        SENTENCES.add(name, VerdictSentence(order=order, write=write), write.__module__)
        return write

    return add


def family(
    title: str, *, section: str, order: int, told: str = ""
) -> Callable[[ReadFamily], ReadFamily]:
    """Decorator: the function reads what stands for a family of measures in the overview. `told`:
    what its number is, in a few words."""

    def add(read: ReadFamily) -> ReadFamily:
        found = MeasureFamily(title=title, section=section, order=order, read=read, told=told)
        FAMILIES.add(title, found, read.__module__)
        return read

    return add


def finding(write: WriteFindings) -> WriteFindings:
    """Decorator: the function writes findings of one kind."""
    FINDINGS.add(f"{write.__module__}.{write.__qualname__}", write, write.__module__)
    return write


def families() -> list[MeasureFamily]:
    """Every family, in the order of the overview's columns."""
    return sorted(FAMILIES, key=lambda entry: entry.order)


def sections() -> list[ReportSection]:
    """Every section, each right after the one that it follows; last those that follow none, or one
    that is not installed. Of several after the same one, what was registered last is the nearest,
    and ours the farthest. ValueError for sections that follow each other in a circle."""
    found = sorted(SECTIONS, key=lambda entry: not entry.write.__module__.startswith("bitlens."))
    known = {entry.anchor for entry in found}
    followers: dict[str | None, list[ReportSection]] = {}
    for entry in found:
        followers.setdefault(entry.after if entry.after in known else None, []).append(entry)

    def walk(entries: Iterable[ReportSection]) -> Iterator[ReportSection]:
        for entry in entries:
            yield entry
            yield from walk(reversed(followers.get(entry.anchor, [])))

    order = list(walk(followers.get(None, [])))
    if len(order) < len(found):
        lost = sorted({entry.anchor for entry in found} - {entry.anchor for entry in order})
        raise ValueError(f"sections {', '.join(lost)} follow each other in a circle")
    return order


def sentences() -> list[VerdictSentence]:
    """Every sentence, in the order of a verdict; of equal places, the first registered first."""
    return sorted(SENTENCES, key=lambda entry: entry.order)


def finding_writers() -> list[WriteFindings]:
    """What writes findings, each of one kind, in the order registered."""
    return list(FINDINGS)
