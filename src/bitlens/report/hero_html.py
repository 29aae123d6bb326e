"""The hero row as a piece of HTML that stands alone: in a notebook, with its styles inline."""

from collections.abc import Sequence
from html import escape

from bitlens.report.hero import Hero

SHAPES = {"intact": "○", "changed": "◔", "damaged": "◑", "broken": "●"}
"""The shape of each word, as on the page: they differ without colour too."""
COLOURS = {
    "intact": ("#ffffff", "#1d1d1f"),
    "changed": ("#f1c8be", "#3b0d0b"),
    "damaged": ("#df9686", "#3b0d0b"),
    "broken": ("#8c1d18", "#ffffff"),
}
"""Ground and ink of each word: both are set, so that it reads on a light page and on a dark one."""
PLAIN = ("#f6f7f9", "#55585e")
_CELL = "text-align:left;padding:.25em .8em;border-bottom:1px solid #8886"


def word_of(hero: Hero) -> str:
    """The word for a twin; `failed` where it has none."""
    return hero.status.word if hero.status else "failed"


def hero_html(model: str, found: Sequence[Hero]) -> str:
    """A table, a row a twin. All names and sentences are text, whatever they hold."""
    titles = ("verdict", "twin", "95 % intervals", "size")
    head = "".join(f'<th style="{_CELL}">{title}</th>' for title in titles)
    rows = "".join(_row(hero) for hero in found)
    return (
        f'<table style="border-collapse:collapse"><caption style="{_CELL}">'
        f"{escape(model)}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )


def _row(hero: Hero) -> str:
    word = word_of(hero)
    ground, ink = COLOURS.get(word, PLAIN)
    badge = (
        f'<span title="{escape(_rests(hero))}" style="background:{ground};color:{ink};'
        "border:1px solid #8c1d18;border-radius:99px;padding:.1em .6em;font-weight:700;"
        f'white-space:nowrap">{SHAPES.get(word, "?")} {escape(word)}</span>'
    )
    numbers = "<br>".join(
        f'{escape(number.title)} <b style="white-space:nowrap">{escape(number.text)}</b>'
        for number in hero.numbers
    )
    bits = f"{hero.bits} bits per weight" if hero.bits else ""
    facts = "<br>".join(escape(fact) for fact in (hero.size, bits) if fact)
    name = f"<code>{escape(hero.twin.compression)}</code><br>{escape(hero.sentence)}"
    cells = "".join(f'<td style="{_CELL}">{cell}</td>' for cell in (badge, name, numbers, facts))
    return f"<tr>{cells}</tr>"


def _rests(hero: Hero) -> str:
    if hero.status is None:
        return ""
    return "; ".join((*hero.status.because, *hero.status.maybe)) or "every rule is refuted"
