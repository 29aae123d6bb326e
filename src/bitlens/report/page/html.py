"""A page as one HTML file, which asks nobody for anything and trusts no text.

- Every text is escaped by the templates; data stands in JSON blocks that no text can close.
- Scripts and styles are inline and named by their hash in a content policy that forbids the rest:
  no request leaves the page, no inline handler runs, nothing is evaluated (charts go through
  Vega's expression interpreter).
- The chart library is there once, however many charts there are.
"""

import base64
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from bitlens.report.charts.palette import CERTAINTIES, COLOURS, CONTROL, INK, PIECES
from bitlens.report.page.parts import Contexts, Figure, Ledger, Page, Part, Spec, Value
from bitlens.report.page.pictures import CONFIG, VEGA_LITE

_TEMPLATES = files("bitlens.report") / "templates"


def html(page: Page) -> str:
    """The whole file. The same page gives the same text."""
    script, style = _script(), _style()
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    environment = _environment()
    return environment.get_template("page.html").render(
        page=page, policy=policy, script=Markup(script), style=Markup(style), config=CONFIG
    )


def _environment() -> jinja2.Environment:
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
        return getattr(module, type(part).__name__.lower())(part, level)

    environment.globals.update(
        lower=lower,
        data=data,
        ledger_data=ledger_data,
        figure_data=figure_data,
        contexts_data=contexts_data,
        breakable=breakable,
        unique=lambda: next(numbers),
    )
    module: Any = parts.make_module()
    return environment


def breakable(text: str) -> Markup:
    """Text that may be broken after marks within a name, and nowhere else within a word."""
    pieces = re.split(r"(?<=[_:=/\[])(?=\S)|(?<=,)(?=[A-Za-z])", text)
    return Markup("<wbr>").join(pieces)


def data(value: Any) -> Markup:
    """Strict JSON that can stand inside a script element: no character in it can end one."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def packed(fields: Sequence[str], rows: Iterable[Sequence[Value]]) -> dict[str, Any]:
    """A table for the page: each text once, numbers with seven digits."""
    table = list(rows)
    textual = [any(isinstance(row[i], str) for row in table) for i in range(len(fields))]
    texts: dict[str, int] = {}

    def cell(value: Value) -> float | None:
        if isinstance(value, str):
            return texts.setdefault(value, len(texts))
        return float(f"{value:.7g}") if isinstance(value, float) else value

    encoded = [[cell(value) for value in row] for row in table]
    return {"fields": fields, "textual": textual, "texts": list(texts), "rows": encoded}


def ledger_data(part: Ledger) -> dict[str, Any]:
    """What the page's script needs to show a ledger."""
    table = packed([column.title for column in part.columns], part.rows)
    return {**table, "numeric": [column.numeric for column in part.columns]}


def contexts_data(part: Contexts) -> dict[str, Any]:
    """What the page's script needs to show contexts: each token's text once."""
    texts: dict[str, int] = {}

    def short(values: Sequence[float]) -> list[float]:
        return [float(f"{value:.3g}") for value in values]

    features = [
        {
            "title": feature.title,
            "facts": feature.facts,
            "excerpts": [
                [
                    excerpt.found,
                    excerpt.where,
                    excerpt.peak,
                    [texts.setdefault(token, len(texts)) for token in excerpt.tokens],
                    short(excerpt.reference),
                    short(excerpt.twin),
                ]
                for excerpt in feature.excerpts
            ],
        }
        for feature in part.features
    ]
    return {"features": features, "texts": list(texts)}


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
    return {"frames": frames, "panels": heads, **packed(["panel", *fields], rows)}


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


@cache
def _script() -> str:
    """The page's own script, with Vega, Vega-Lite and Vega-Embed bundled in."""
    own = (_TEMPLATES / "page.js").read_text(encoding="utf-8")
    bundle = vl_convert.javascript_bundle(own, vl_version=VEGA_LITE)
    assert "</script" not in bundle.lower()
    assert "<!--" not in bundle
    return bundle


def _style() -> str:
    own = (_TEMPLATES / "page.css").read_text(encoding="utf-8")
    states = [mark.colour for mark in (*PIECES.values(), *CERTAINTIES.values())]
    colours = dict.fromkeys((*COLOURS, CONTROL, INK, *states))
    return own + "".join(f".c{colour[1:]} {{ color: {colour}; }}\n" for colour in colours)
