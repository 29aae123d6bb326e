"""An audit as a terminal and a notebook show it: failed checks first, then a row a twin.

The HTML stands alone, its styles inline.
"""

from html import escape

from bitlens.report.audit_results import AuditResults
from bitlens.report.hero import Hero, heroes
from bitlens.report.text.doubts import SIGNS
from bitlens.report.text.verdict import doubtful
from bitlens.results.records import Check

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
_DOUBT = "border-left:4px solid #8c1d18;padding:.25em .8em;margin:.3em 0"
_CELL = "text-align:left;padding:.25em .8em;border-bottom:1px solid #8886"


def word_of(hero: Hero) -> str:
    """The word for a twin; `failed` where it has none."""
    return hero.status.word if hero.status else "failed"


def lines(results: AuditResults, model: str) -> list[str]:
    """What a terminal shows of a model."""
    failed = [_check(check) for check in _failed(results, model)]
    return [*failed, *(_line(hero) for hero in heroes(results, model))]


def html(results: AuditResults, model: str) -> str:
    """What a notebook shows of a model: a table. All names and sentences are text, whatever they
    hold."""
    failed = "".join(
        f'<div style="{_DOUBT}">{escape(_check(check))}</div>' for check in _failed(results, model)
    )
    titles = ("verdict", "twin", "95 % intervals", "size")
    head = "".join(f'<th style="{_CELL}">{title}</th>' for title in titles)
    rows = "".join(_row(hero) for hero in heroes(results, model))
    return (
        f'{failed}<table style="border-collapse:collapse"><caption style="{_CELL}">'
        f"{escape(model)}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )


def _failed(results: AuditResults, model: str) -> list[Check]:
    return [check for check in doubtful(results, model) if check.passed is False]


def _check(check: Check) -> str:
    return f"{SIGNS[check.passed]} {check.name}: {check.detail}"


def _line(hero: Hero) -> str:
    numbers = "; ".join(f"{number.title} {number.text}" for number in hero.numbers)
    return f"  {word_of(hero):<9}  {hero.twin.compression}: {numbers or hero.sentence}"


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
    facts = "<br>".join(escape(fact) for fact in (hero.size, bits, hero.kept) if fact)
    name = f"<code>{escape(hero.twin.compression)}</code><br>{escape(hero.sentence)}"
    cells = "".join(f'<td style="{_CELL}">{cell}</td>' for cell in (badge, name, numbers, facts))
    return f"<tr>{cells}</tr>"


def _rests(hero: Hero) -> str:
    if hero.status is None:
        return ""
    return "; ".join((*hero.status.because, *hero.status.maybe)) or "every rule is refuted"
