"""The registers of a page's sections and of a verdict's sentences: ours, and those of plug-ins.

A section or a sentence is one function under a decorator, in a file of its own. Ours are found by
listing `report/sections` and `report/text`, those of other packages through the entry-point groups
`bitlens.sections` and `bitlens.sentences`: an entry point names the module that holds them.
"""

import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Generic, TypeVar

from bitlens.registry import Plugins
from bitlens.report.audit_results import AuditResults
from bitlens.report.charts.palette import Mark
from bitlens.report.page.parts import Part
from bitlens.report.text.doubts import Claim

Marks = Mapping[str, Mark]
"""How each compression is drawn, by its text form."""
WriteSection = Callable[[AuditResults, str, Marks], tuple[Part, ...]]
"""What stands in a section of one model: of the results, the model's name and the marks. Nothing:
the section is left out."""
WriteSentence = Callable[[AuditResults, str, str], Iterable[Claim]]
"""What a verdict says of one compression of one model, by their names; one without text is left
out."""


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


@dataclass(frozen=True, kw_only=True)
class VerdictSentence:
    """A sentence, or several, that a verdict may have."""

    order: int
    """Where it stands: ours count by tens."""
    write: WriteSentence


T = TypeVar("T")


class Register(Generic[T]):
    """What is registered by name, once whatever registers it is loaded."""

    def __init__(self, package: str, group: str) -> None:
        self._package = package
        self._plugins = Plugins(group)
        self._entries: dict[str, T] = {}

    def add(self, name: str, entry: T) -> None:
        """Make an entry known. ValueError for a name that is taken."""
        if name in self._entries:
            raise ValueError(f"{name} is registered twice in {self._package}")
        self._entries[name] = entry

    def __iter__(self) -> Iterator[T]:
        package = import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__, f"{self._package}."):
            import_module(module.name)
        self._plugins.load()
        return iter(self._entries.values())


SECTIONS: Register[ReportSection] = Register("bitlens.report.sections", "bitlens.sections")
SENTENCES: Register[VerdictSentence] = Register("bitlens.report.text", "bitlens.sentences")


def section(
    anchor: str, title: str, *, after: str | None = None, analysis: str = ""
) -> Callable[[WriteSection], WriteSection]:
    """Decorator: the function writes this section of every model's part of the page."""

    def add(write: WriteSection) -> WriteSection:
        found = ReportSection(
            anchor=anchor, title=title, after=after, analysis=analysis, write=write
        )
        SECTIONS.add(anchor, found)
        return write

    return add


def sentence(*, order: int) -> Callable[[WriteSentence], WriteSentence]:
    """Decorator: the function writes a sentence of every compression's verdict, at this place."""

    def add(write: WriteSentence) -> WriteSentence:
        name = f"{write.__module__}.{write.__qualname__}"
        SENTENCES.add(name, VerdictSentence(order=order, write=write))
        return write

    return add


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
