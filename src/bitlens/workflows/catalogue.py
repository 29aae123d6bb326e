"""What there is to choose from, as tables: compressions, analyses, families and metrics."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import MISSING
from itertools import groupby

from bitlens.analyses import ANALYSES
from bitlens.compression.compression import COMPRESSIONS, Compression
from bitlens.compression.spec_settings import settings_of
from bitlens.config.field_docs import meanings
from bitlens.models.families import FAMILIES
from bitlens.report.page.parts import Column, Table


def compressions() -> Table:
    """Every compression with the question it answers."""
    return _table(
        ("compression", "the question it answers"),
        [(name, _question(COMPRESSIONS[name])) for name in COMPRESSIONS],
        "bitlens list compressions NAME shows what one does and its settings.",
    )


def compression(name: str) -> Table:
    """What one of them does, and its settings: defaults, values and meaning."""
    cls = COMPRESSIONS[name]
    texts = meanings(cls)
    rows = [
        (
            setting.name,
            "required" if setting.default is MISSING else _default(setting.default),
            f"{setting.expected[0].upper()}{setting.expected[1:]}. {texts.get(setting.name, '')}",
        )
        for setting in settings_of(cls).values()
    ]
    return _table(
        ("setting", "default", "meaning"),
        rows,
        f"{inspect.getdoc(cls)}\n\nWritten as rtn:bits=4,group=64; lists, nested compressions and"
        " text with commas in brackets.",
    )


def analyses() -> Table:
    """Every analysis with its question and its metrics."""
    rows = [
        (name, _first_line(ANALYSES[name]), _in_short([m.name for m in ANALYSES[name].metrics]))
        for name in ANALYSES
    ]
    return _table(("analysis", "what it looks at", "metrics"), rows)


def families() -> Table:
    """Every family of models that the tests run on."""
    return _table(
        ("family", "model_type", "what sets it apart"),
        [(family.name, family.model_type, family.notes) for family in FAMILIES],
        "Others work where every block adds attention and MLP to the residual stream; this is "
        "checked when a model is loaded.",
    )


def metrics() -> Table:
    """Every metric with its question, unit, direction of damage, intact value and source."""
    rows = [
        (
            f"{name}.{metric.name}",
            metric.question,
            metric.unit,
            metric.worse or "neither",
            "level" if metric.level else "none" if metric.intact is None else f"{metric.intact:g}",
            metric.source,
        )
        for name in ANALYSES
        for metric in ANALYSES[name].metrics
    ]
    return _table(
        ("metric", "question", "unit", "worse", "intact", "source"),
        rows,
        "intact: the value when nothing changed; a level describes one model and has none. "
        "Chance is measured in every run: the same metric with the twin read at another position.",
    )


TABLES: dict[str, Callable[[], Table]] = {
    "compressions": compressions,
    "analyses": analyses,
    "families": families,
    "metrics": metrics,
}


def _in_short(names: Sequence[str]) -> str:
    """`kept_10 … kept_90` for names that differ only in the number they end with."""
    told: list[str] = []
    for _, run in groupby(names, lambda name: name.rstrip("0123456789")):
        found = list(run)
        told += [f"{found[0]} … {found[-1]}"] if len(found) > 2 else found
    return ", ".join(told)


def _default(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value in ((), None) else str(value)


def _question(cls: type[Compression]) -> str:
    """The question it names; of a plug-in that names none, what it does."""
    return cls.question or _first_line(cls)


def _first_line(cls: type) -> str:
    return (inspect.getdoc(cls) or "").partition("\n\n")[0].replace("\n", " ")


def _table(titles: Sequence[str], rows: Sequence[tuple[str, ...]], caption: str = "") -> Table:
    return Table(tuple(Column(title) for title in titles), tuple(rows), caption)
