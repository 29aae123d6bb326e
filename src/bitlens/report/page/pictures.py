"""Figures as pictures beside the page: its charts, drawn without a browser."""

import re
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
WIDTHS = {"": 170.0, "-column": 85.0}
"""What a picture's name ends with, and its width in millimetres: a page, and a column of two."""
POINTS_A_PIXEL = 0.62
"""So large is a chart's pixel on paper: its labels of 12 are set in 7.4 points."""
AXIS, NARROWEST = 75, 90
"""Pixels beside a panel for its axis; pixels that a panel has at least."""
SLACK = 0.08
"""A picture that is wider than its room by this share is drawn once more, narrower; one by less is
made smaller as it is."""
STACKED = 3
"""So many panels stand one below the other before more of them stand beside each other."""
SHORT = 22
"""Letters of a name in the legend, so that two stand beside each other in a column."""
DOTS_AN_INCH = 300
_SIZE = re.compile(r'(<svg[^>]*?) width="([\d.]+)" height="([\d.]+)"')


def spec(figure: Figure, across: int, width: int) -> Spec:
    """One Vega-Lite specification for a whole figure: its charts, so many beside each other and
    each so many pixels wide, and no prose."""
    strips = [
        {
            **({"title": {"text": strip.title, "fontSize": 13}} if strip.title else {}),
            "concat": [panel.spec(width) for panel in strip.panels],
            "columns": across,
            "resolve": {"scale": {"color": "shared", "shape": "shared"}} if figure.legend else {},
        }
        for strip in figure.strips
    ]
    names = [name for _, name in figure.legend]
    columns = across if across > 1 else 2 if max(map(len, names), default=0) <= SHORT else 1
    legend = {**CONFIG["legend"], "columns": columns}
    # The titles of charts that show one compression each say more than a legend would.
    config = {
        **CONFIG,
        "axis": {**CONFIG["axis"], "labelFontSize": 12, "titleFontSize": 12},
        "legend": legend if figure.legend else {"disable": True},
    }
    schema = f"https://vega.github.io/schema/vega-lite/v{VEGA_LITE}.json"
    return {"$schema": schema, "vconcat": strips, "config": config}


def pictures(figure: Figure) -> dict[str, bytes]:
    """File name to content: the figure as SVG, PDF and PNG, as wide as a page and as a column;
    what it shows and what to look for as a text beside them."""
    caption = "\n\n".join(filter(None, (figure.title, figure.key, figure.caption)))
    found = {f"{figure.name}.txt": f"{caption}\n".encode()}
    for ending, millimetres in WIDTHS.items():
        svg = _drawn(figure, millimetres)
        points = _sized(svg, millimetres * 72 / 25.4, "")
        found |= {
            f"{figure.name}{ending}.svg": _sized(svg, millimetres, "mm").encode(),
            f"{figure.name}{ending}.pdf": vl_convert.svg_to_pdf(points),
            f"{figure.name}{ending}.png": vl_convert.svg_to_png(points, ppi=DOTS_AN_INCH),
        }
    return found


def _drawn(figure: Figure, millimetres: float) -> str:
    """The charts, about as wide as this where a pixel is `POINTS_A_PIXEL` on paper."""
    room = millimetres * 72 / 25.4 / POINTS_A_PIXEL
    most = max((len(strip.panels) for strip in figure.strips), default=1)
    across = min(figure.across, most)
    if millimetres < max(WIDTHS.values()):
        across = min(across, 1 if most <= STACKED else 2)
    elif sum(-(-len(strip.panels) // across) for strip in figure.strips) > STACKED:
        # So many rows are higher than a page.
        across = min(most, 4)
    width = max(NARROWEST, round(room / across - AXIS))
    svg = vl_convert.vegalite_to_svg(spec(figure, across, width), vl_version=VEGA_LITE)
    over = _size(svg)[0] - room
    if over > SLACK * room and width > NARROWEST:
        # Long labels took more room than is usual: the panels have the rest.
        width = max(NARROWEST, round(width - over / across))
        svg = vl_convert.vegalite_to_svg(spec(figure, across, width), vl_version=VEGA_LITE)
    return str(svg)


def _size(svg: str) -> tuple[float, float]:
    found = _SIZE.search(svg)
    assert found is not None
    return float(found[2]), float(found[3])


def _sized(svg: str, width: float, unit: str) -> str:
    """The same picture at this width."""
    across, down = _size(svg)
    height = width * down / across
    size = rf'\1 width="{width:.2f}{unit}" height="{height:.2f}{unit}"'
    return _SIZE.sub(size, svg, count=1)
