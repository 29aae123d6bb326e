"""A page as one HTML file, which asks nobody for anything and trusts no text.

- Every text is escaped by the templates; data stands in one JSON block that no text can close,
  its entries compressed one by one, each unpacked when something first needs it.
- Scripts and styles are inline and named by their hash in a content policy that forbids the rest:
  no request leaves the page, no inline handler runs, nothing is evaluated (charts go through
  Vega's expression interpreter).
- The chart library is there once, however many charts there are.
"""

import base64
import gzip
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup, escape

from bitlens.report.charts.palette import CERTAINTIES, COLOURS, CONTROL, DARK, INK, PIECES
from bitlens.report.page.browsers import FeatureBrowser
from bitlens.report.page.columns import Value, correlations, numbers, whole
from bitlens.report.page.documents import documents_data
from bitlens.report.page.evidence import evidence_data
from bitlens.report.page.lens_grids import lens_data
from bitlens.report.page.parts import Figure, Ledger, Page, Part, Spec
from bitlens.report.page.patterns import patterns_data
from bitlens.report.page.pictures import CONFIG
from bitlens.report.page.scripts import script
from bitlens.report.text.methods import spelt_out

CORRELATIONS = ("r", "r_low", "r_high", "noise")
"""Columns of features that are compared with a threshold."""
_TEMPLATES = files("bitlens.report") / "templates"


def html(page: Page) -> str:
    """The whole file. The same page gives the same text."""
    own, style = script(), _style()
    policy = (
        f"default-src 'none'; script-src {_hash(own)}; style-src {_hash(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    entries: list[str] = []
    environment = _environment(entries)
    return environment.get_template("page.html").render(
        page=page,
        policy=policy,
        script=Markup(own),
        style=Markup(style),
        config=schemed({**CONFIG, "background": "transparent"}),
        entries=entries,
    )


def _environment(entries: list[str]) -> jinja2.Environment:
    """Templates that put what is data into `entries` and keep its number."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bitlens.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    numbers = itertools.count()
    parts = environment.get_template("parts.html")

    def lower(part: Part, level: int = 2) -> Markup:
        """A part through the macro of its name; `level` is that of the next heading."""
        markup: Markup = getattr(module, type(part).__name__.lower())(part, level)
        return markup

    def entry(value: Any) -> int:
        entries.append(compressed(value))
        return len(entries) - 1

    environment.globals.update(
        lower=lower,
        data=data,
        entry=entry,
        ledger_data=ledger_data,
        figure_data=figure_data,
        evidence_data=evidence_data,
        patterns_data=patterns_data,
        features_data=features_data,
        documents_data=documents_data,
        lens_data=lens_data,
        breakable=breakable,
        spelt_out=spelt_out,
        wrapped=wrapped,
        unique=lambda: next(numbers),
    )
    module: Any = parts.make_module()
    return environment


LEVEL = 6
"""Of compression; the highest is 2 % smaller and takes five times as long."""


def compressed(value: Any) -> str:
    """Strict JSON, compressed, in letters that stand anywhere; the same value, the same letters."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), LEVEL, mtime=0)).decode()


def schemed(value: Any) -> Any:
    """A specification whose colours follow the reader's scheme, dark or light."""
    if isinstance(value, str):
        return f"light-dark({value}, {DARK[value]})" if value in DARK else value
    if isinstance(value, dict):
        return {key: schemed(held) for key, held in value.items()}
    return [schemed(held) for held in value] if isinstance(value, list | tuple) else value


SHORT, LONG = 17, 26
"""A word of so many letters has room in the narrowest column, and is left whole; a piece of a name
that is longer than the second may be broken after every mark in it."""
PARTS = r"(?<=:)(?=\S)|(?<=[,\[])(?=[A-Za-z])|(?<=[A-Za-z]/)(?=\S)|(?<=[a-z]\.)(?=[a-z]{3})"
"""Where settings of a compression, folders of a path and parts of a module's name end."""


def breakable(text: str) -> Markup:
    """Text whose long names may be broken between their parts: after a colon, a comma, a bracket,
    a folder or a point. Short names, intervals and options are whole, a number keeps its per cent
    sign."""
    joined = re.sub(r"(\[[-−\d.,]+,) (?=[-−\d.,]+\])", "\\1\u00a0", text)
    joined = re.sub(r"(?<=\d) %", "\u00a0%", joined)
    return wrapped(joined)


def wrapped(text: str) -> Markup:
    """Text with places to break at, and no other letter than it has: what is copied is what it
    was."""
    return Markup().join(map(_word, re.split(r"([ \n\t]+)", text)))


def _word(word: str) -> Markup:
    if option := re.fullmatch(r"(\W*?)(--[a-z][a-z-]*)(\W*)", word):
        return Markup('{}<span class="whole">{}</span>{}').format(*option.groups())
    if len(word) <= SHORT:
        return escape(word)
    finer = (
        re.split(r"(?<=[_=/])(?=\S)", p) if len(p) > LONG else [p] for p in re.split(PARTS, word)
    )
    return Markup("<wbr>").join(itertools.chain.from_iterable(finer))


def data(value: Any) -> Markup:
    """Strict JSON that can stand inside a script element: no character in it can end one."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def packed(fields: Sequence[str], rows: Iterable[Sequence[Value]]) -> dict[str, Any]:
    """A table for the page by columns: each text once, numbers with seven digits."""
    table = list(rows)
    textual = [any(isinstance(row[i], str) for row in table) for i in range(len(fields))]
    texts: dict[str, int] = {}

    def cell(value: Value) -> float | None:
        if isinstance(value, str):
            return texts.setdefault(value, len(texts))
        return float(f"{value:.7g}") if isinstance(value, float) else value

    columns = [[cell(row[i]) for row in table] for i in range(len(fields))]
    return {"fields": fields, "textual": textual, "texts": list(texts), "columns": columns}


def ledger_data(part: Ledger) -> dict[str, Any]:
    """What the page's script needs to show a ledger."""
    table = packed([column.title for column in part.columns], part.rows)
    return {**table, "numeric": [column.numeric for column in part.columns]}


def features_data(part: FeatureBrowser) -> dict[str, Any]:
    """What the page's script needs to show features: columns of bytes, each once."""
    keys = [key for key, _ in part.columns]
    held: dict[str, int] = {}
    columns: list[dict[str, Any]] = []
    names: dict[str, list[str]] = {}

    def place(key: str, values: Sequence[Any]) -> int:
        if any(isinstance(value, str) for value in values):
            known = names.setdefault(key, [])
            known.extend(dict.fromkeys(v for v in values if v is not None and v not in known))
            values = [None if value is None else known.index(value) for value in values]
            made = whole(values)
        elif key == "latent":
            made = whole(values)
        else:
            made = correlations(values) if key in CORRELATIONS else numbers(values)
        if made["bytes"] not in held:
            held[made["bytes"]] = len(columns)
            columns.append(made)
        return held[made["bytes"]]

    twins = [
        {
            "twin": one.twin,
            "active": one.active,
            "at": [place(key, [row[i] for row in one.rows]) for i, key in enumerate(keys)],
        }
        for one in part.twins
    ]
    titles = [title for _, title in part.columns]
    about = {"keys": keys, "titles": titles, "names": names, "shown": part.shown}
    return {**about, "columns": columns, "twins": twins}


def figure_data(part: Figure) -> dict[str, Any]:
    """What the page's script needs to draw a figure: frames once each, and all points in a table.

    The first field of a point is the number of its panel.
    """
    panels = [panel for strip in part.strips for panel in strip.panels]
    frames: list[Spec] = []
    for panel in panels:
        if panel.frame not in frames:
            frames.append(panel.frame)
    fields = list(dict.fromkeys(name for p in panels for point in p.points for name in point))
    rows = (
        [number, *(point.get(field) for field in fields)]
        for number, panel in enumerate(panels)
        for point in panel.points
    )
    heads = [[frames.index(p.frame), p.title] for p in panels]
    return {"frames": schemed(frames), "panels": heads, **packed(["panel", *fields], rows)}


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _style() -> str:
    own = (_TEMPLATES / "page.css").read_text(encoding="utf-8")
    states = [mark.colour for mark in (*PIECES.values(), *CERTAINTIES.values())]
    colours = dict.fromkeys((*COLOURS, CONTROL, INK, *states))
    return own + "".join(f".c{c[1:]} {{ color: {schemed(c)}; }}\n" for c in colours)
