"""Figures as pictures beside the page: its charts, drawn without a browser."""

import textwrap
from typing import Any

import vl_convert

from bitlens.report.page.parts import Figure, Spec

VEGA_LITE = "6.4"
"""The Vega-Lite that Altair writes for, of those vl-convert carries."""
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', 'DejaVu Sans', sans-serif"
CONFIG: dict[str, Any] = {
    "font": FONT,
    "background": "white",
    "view": {"stroke": "#d9d9d9"},
    "title": {"fontSize": 13, "fontWeight": 600, "anchor": "start", "color": "#222"},
    "axis": {
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": 400,
        "titleColor": "#444",
        "labelColor": "#444",
        "gridColor": "#eeeeee",
        "domainColor": "#bbbbbb",
        "tickColor": "#bbbbbb",
        "labelFlush": False,
    },
    "legend": {
        "labelFontSize": 12,
        "symbolSize": 90,
        "symbolOpacity": 1,
        "orient": "bottom",
        "columns": 3,
        "labelLimit": 400,
    },
}
"""How every chart looks, on the page and as a picture."""
WIDTH = 330
"""The width of one chart in a picture, in pixels; on the page the reader's window decides."""


def spec(figure: Figure) -> Spec:
    """One Vega-Lite specification for a whole figure, its key and caption included."""
    strips = [
        {
            **({"title": {"text": strip.title, "fontSize": 13}} if strip.title else {}),
            "concat": [panel.spec(WIDTH) for panel in strip.panels],
            "columns": figure.across,
            "resolve": {"scale": {"color": "shared", "shape": "shared"}} if figure.legend else {},
        }
        for strip in figure.strips
    ]
    notes = wrapped(figure.key, figure.across) + wrapped(figure.caption, figure.across)
    title = {
        "text": figure.title,
        "subtitle": notes,
        "fontSize": 16,
        "subtitleColor": "#555",
        "offset": 12,
    }
    # The titles of charts that show one compression each say more than a legend would.
    config = CONFIG if figure.legend else {**CONFIG, "legend": {"disable": True}}
    schema = f"https://vega.github.io/schema/vega-lite/v{VEGA_LITE}.json"
    return {"$schema": schema, "title": title, "vconcat": strips, "config": config}


def wrapped(text: str, across: int) -> list[str]:
    """Lines as wide as so many charts."""
    return textwrap.wrap(text, 62 * across)


def pictures(figure: Figure) -> dict[str, bytes]:
    """File name to content: the figure as SVG and as PNG at twice the size of the screen's."""
    svg = vl_convert.vegalite_to_svg(spec(figure), vl_version=VEGA_LITE)
    png = vl_convert.svg_to_png(svg, scale=2)
    return {f"{figure.name}.svg": svg.encode(), f"{figure.name}.png": png}
