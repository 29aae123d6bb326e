"""Figures as pictures beside the page: its charts, drawn without a browser."""

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
    "title": {"fontSize": 13, "fontWeight": 600, "anchor": "start", "color": "#222222"},
    "axis": {
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": 400,
        "titleColor": "#444444",
        "labelColor": "#444444",
        "gridColor": "#eeeeee",
        "domainColor": "#bbbbbb",
        "tickColor": "#bbbbbb",
        "labelFlush": False,
    },
    "legend": {
        "labelColor": "#444444",
        "titleColor": "#222222",
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
    """One Vega-Lite specification for a whole figure: its title and charts, no prose."""
    strips = [
        {
            **({"title": {"text": strip.title, "fontSize": 13}} if strip.title else {}),
            "concat": [panel.spec(WIDTH) for panel in strip.panels],
            "columns": figure.across,
            "resolve": {"scale": {"color": "shared", "shape": "shared"}} if figure.legend else {},
        }
        for strip in figure.strips
    ]
    title = {"text": figure.title, "fontSize": 16, "offset": 12}
    # The titles of charts that show one compression each say more than a legend would.
    config = CONFIG if figure.legend else {**CONFIG, "legend": {"disable": True}}
    schema = f"https://vega.github.io/schema/vega-lite/v{VEGA_LITE}.json"
    return {"$schema": schema, "title": title, "vconcat": strips, "config": config}


def pictures(figure: Figure) -> dict[str, bytes]:
    """File name to content: the figure as SVG, as PDF, and as PNG at twice the size of the
    screen's; what it shows and what to look for as a text beside it."""
    svg = vl_convert.vegalite_to_svg(spec(figure), vl_version=VEGA_LITE)
    caption = "\n\n".join(filter(None, (figure.title, figure.key, figure.caption)))
    return {
        f"{figure.name}.svg": svg.encode(),
        f"{figure.name}.pdf": vl_convert.svg_to_pdf(svg),
        f"{figure.name}.png": vl_convert.svg_to_png(svg, scale=2),
        f"{figure.name}.txt": f"{caption}\n".encode(),
    }
