"""What is there to choose from? Compressions, analyses, families and metrics as tables."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, fields
from itertools import groupby

from bitlens.analyses import ANALYSES
from bitlens.compress.compression import COMPRESSIONS, Compression
from bitlens.compress.settings import Setting, settings_of
from bitlens.meanings import meanings
from bitlens.models.families import FAMILIES
from bitlens.report.parts import Column, Table


def compressions() -> Table:
    """Every compression with its settings: defaults, values and meaning."""
    shared = {field.name for field in fields(Compression)}
    rows: list[tuple[str, ...]] = []
    for name in COMPRESSIONS:
        cls = COMPRESSIONS[name]
        rows.append((name, "", "", _first_line(cls)))
        settings = settings_of(cls).values()
        rows += _settings(cls, [setting for setting in settings if setting.name not in shared])
    rows.append(
        (
            "(all)",
            "",
            "",
            "What every compression takes too but noise, mixed, folded and checkpoint.",
        )
    )
    rows += _settings(Compression, settings_of(COMPRESSIONS["nothing"]).values())
    return _table(
        ("compression", "setting", "default", "meaning"),
        rows,
        "Written as rtn:bits=4,group=64; lists and nested compressions in brackets.",
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


def _settings(cls: type, settings: Iterable[Setting]) -> list[tuple[str, ...]]:
    texts = meanings(cls)
    return [
        (
            "",
            setting.name,
            "required" if setting.default is MISSING else _default(setting.default),
            f"{setting.expected[0].upper()}{setting.expected[1:]}. {texts.get(setting.name, '')}",
        )
        for setting in settings
    ]


def _default(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value in ((), None) else str(value)


def _first_line(cls: type) -> str:
    return (inspect.getdoc(cls) or "").partition("\n\n")[0].replace("\n", " ")


def _table(titles: Sequence[str], rows: Sequence[tuple[str, ...]], caption: str = "") -> Table:
    return Table(tuple(Column(title) for title in titles), tuple(rows), caption)
