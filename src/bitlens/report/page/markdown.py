"""Parts of a page as Markdown, for pull requests and model cards."""

import re
from functools import singledispatch

from bitlens.report.page.browsers import DocumentBrowser, FeatureBrowser, HeadPatterns, LensBrowser
from bitlens.report.page.parts import (
    Checklist,
    Command,
    Details,
    Facts,
    Figure,
    Headlines,
    HeroRow,
    HeroRows,
    Ledger,
    Matrix,
    Page,
    Prose,
    Section,
    SideBySide,
    Statement,
    Table,
    Tabs,
    TokenGrid,
)
from bitlens.report.text.doubts import SIGNS
from bitlens.results.counts import count


def escaped(text: str) -> str:
    """Text that Markdown shows as it is: no markup, no HTML, no line break and no address in it."""
    plain = re.sub(r"([\\`*_{}\[\]<>|~#!@&$])", r"\\\1", " ".join(text.split()))
    # GitHub makes links of what begins like an address, without any marks around it.
    return re.sub(r"(?<=:)(?=//)|(?<=\bwww)(?=\.)", r"\\", plain, flags=re.IGNORECASE)


@singledispatch
def markdown(part: object, level: int = 1) -> str:  # noqa: ARG001
    """A part and everything under it; `level` is that of the next heading. TypeError for what is no
    part."""
    raise TypeError(f"no Markdown for {type(part).__name__}")


def _all(parts: tuple[object, ...], level: int) -> str:
    return "\n\n".join(text for part in parts if (text := markdown(part, level)))


@markdown.register
def _(part: Page, level: int = 1) -> str:
    head = f"# {escaped(part.title)}\n\n{escaped(part.subtitle)}"
    return f"{head}\n\n{_all(part.sections, level + 1)}\n"


@markdown.register
def _(part: Section, level: int = 1) -> str:
    found = f"{markdown(part.found)}\n\n" if part.found else ""
    return f"{'#' * min(level, 6)} {escaped(part.title)}\n\n{found}{_all(part.parts, level + 1)}"


@markdown.register
def _(part: Statement, _: int = 1) -> str:
    numbers = f" {escaped(part.numbers)}" if part.numbers else ""
    return f"**{escaped(part.text)}**{numbers}"


@markdown.register
def _(part: Prose, _: int = 1) -> str:
    return escaped(part.text)


@markdown.register
def _(part: Command, _: int = 1) -> str:
    longest = max((len(run) for run in re.findall("`+", part.text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{part.text}\n{fence}"


@markdown.register
def _(part: Facts, _: int = 1) -> str:
    return "\n".join(f"- {escaped(name)}: {escaped(value)}" for name, value in part.items)


@markdown.register
def _(part: HeroRows, _: int = 1) -> str:
    return "\n\n".join(map(_hero, part.items))


def _hero(row: HeroRow) -> str:
    numbers = "; ".join(f"{number.title} {number.text}" for number in row.numbers)
    facts = ", ".join(row.facts)
    about = [f"**{escaped(row.compression)}: {escaped(row.word)}.**", escaped(row.sentence)]
    lines = [
        " ".join([*about, escaped(row.advice)]),
        *(f"- ✗ {escaped(doubt)}" for doubt in row.doubts),
        f"- {escaped(facts)}" if facts else "",
        f"- {escaped(numbers)}" if numbers else "",
        *(f"- {escaped(f'{place.title}: {place.text}')}" for place in row.places),
        *(f"- {escaped(rule)}" for rule in row.rests),
        f"- {escaped(row.more)}" if row.more else "",
    ]
    return "\n".join(filter(None, lines))


@markdown.register
def _(part: Headlines, _: int = 1) -> str:
    told = "\n".join(f"- **{escaped(one.title)}.** {escaped(one.text)}" for one in part.items)
    return f"{told}\n\n{escaped(part.caption)}" if part.caption else told


@markdown.register
def _(part: Matrix, _: int = 1) -> str:
    head = " | ".join(["", *(escaped(title) for title, _ in part.columns)])
    rule = " | ".join(["---", *("---:" for _ in part.columns)])
    rows = (
        " | ".join(
            [escaped(name), *(escaped(f"{cell.text} {cell.interval}".strip()) for cell in cells)]
        )
        for name, _, cells in part.rows
    )
    table = "\n".join(f"| {line} |" for line in (head, rule, *rows))
    return f"{table}\n\n{escaped(part.caption)}" if part.caption else table


@markdown.register
def _(part: Checklist, _: int = 1) -> str:
    return "\n".join(
        f"- {SIGNS[check.passed]} {escaped(check.name)}: {escaped(check.detail)}"
        for check in part.items
    )


@markdown.register
def _(part: Table, _: int = 1) -> str:
    head = " | ".join(escaped(column.title) for column in part.columns)
    rule = " | ".join("---:" if column.numeric else "---" for column in part.columns)
    rows = (" | ".join(escaped(cell) for cell in row) for row in part.rows)
    table = "\n".join(f"| {line} |" for line in (head, rule, *rows))
    return table + (f"\n\n{escaped(part.told)}" if part.told else "")


@markdown.register
def _(part: Ledger, _: int = 1) -> str:
    return f"{count(len(part.rows), 'row')}: in `report.html`."


@markdown.register
def _(part: Figure, _: int = 1) -> str:
    image = f"![{escaped(part.title)}](charts/{part.name}.png)"
    return f"{image}\n\n{escaped(part.key)} {escaped(part.caption)}"


@markdown.register
def _(part: TokenGrid, _: int = 1) -> str:
    return f"{count(len(part.rows), 'position')}: in `report.html`."


@markdown.register
def _(part: SideBySide, _: int = 1) -> str:
    return f"{count(len(part.pairs), 'pair')} of texts: in `report.html`."


@markdown.register
def _(part: HeadPatterns, _: int = 1) -> str:
    told = ", ".join(f"{escaped(twin)} {count(len(heads), 'head')}" for twin, heads in part.twins)
    return f"Patterns of {told}: in `report.html`."


@markdown.register
def _(part: FeatureBrowser, _: int = 1) -> str:
    told = ", ".join(f"{escaped(one.twin)} {count(len(one.rows), 'feature')}" for one in part.twins)
    return f"{told}: in `report.html`."


@markdown.register
def _(part: DocumentBrowser, _: int = 1) -> str:
    told = ", ".join(f"{escaped(twin)} {count(len(of), 'document')}" for twin, of in part.twins)
    return f"{told}, token by token: in `report.html`."


@markdown.register
def _(part: LensBrowser, _: int = 1) -> str:
    told = ", ".join(f"{escaped(twin)} {count(len(of), 'text')}" for twin, of in part.twins)
    return f"{told}, block by block: in `report.html`."


@markdown.register
def _(part: Tabs, level: int = 1) -> str:
    return "\n\n".join(
        f"**{escaped(title)}**\n\n{_all(parts, level)}" for title, parts in part.tabs
    )


@markdown.register
def _(part: Details, level: int = 1) -> str:
    inside = _all(part.parts, level)
    return f"<details><summary>{escaped(part.summary)}</summary>\n\n{inside}\n\n</details>"
