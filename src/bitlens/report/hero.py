"""The hero row of a twin: its word, one plain sentence, three numbers, its size and what to do."""

from collections.abc import Iterator
from dataclasses import dataclass

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.status import WORST_FIRST, Status, Word, status
from bitlens.report.text.kept import beside_reference
from bitlens.report.text.lesions import brief
from bitlens.report.text.losses import sound, survivals
from bitlens.report.text.numbers import amount, figure, plain, size
from bitlens.results.benchmarks.estimates import ANALYSIS as BENCHMARKS
from bitlens.results.records import TwinRecord

RECOVERY = f"{BENCHMARKS}.recovery"
ASPECTS: dict[str, dict[Word, str]] = {
    "behaviour": {
        "intact": "predicts what the reference predicts",
        "changed": "predicts nearly what the reference predicts",
        "damaged": "predicts something else {often}",
        "broken": "predicts something else {often}",
        "undecided": "may predict something else",
    },
    "features": {
        "intact": "keeps its features",
        "changed": "keeps most of its features",
        "damaged": "loses many features",
        "broken": "loses most features",
        "undecided": "may lose features",
    },
    "heads": {
        "intact": "has heads that do their jobs",
        "changed": "has heads that do their jobs a little worse",
        "damaged": "has heads that do their jobs worse",
        "broken": "has heads that no longer do their jobs",
        "undecided": "has heads that may do their jobs worse",
    },
}
"""What a sentence says of the outputs, the features and the heads, by the word of their rules."""


@dataclass(frozen=True, kw_only=True)
class Number:
    """One of the numbers of a hero row."""

    title: str
    text: str
    """With its interval and unit, or why there is none."""
    word: Word | None
    """What the rules about it say; None where there is none."""
    row: Row
    """The estimate itself."""


@dataclass(frozen=True, kw_only=True)
class Hero:
    """What one sees of a twin first."""

    twin: TwinRecord
    status: Status | None
    """None of a twin that failed."""
    sentence: str
    numbers: tuple[Number, ...]
    size: str
    bits: str
    kept: str
    """What a token's keys and values take; empty where they are not rounded."""


def heroes(results: AuditResults, model: str) -> list[Hero]:
    """One for every compression that was asked for, in their order."""
    return [hero(results, model, twin) for twin in results.twins(model)]


def hero(results: AuditResults, model: str, twin: TwinRecord) -> Hero:
    """What one sees first of a twin, failed or not."""
    kept = beside_reference(results, model, twin)
    facts = {
        # Where nothing but keys and values is rounded, its size is the reference's.
        "size": size(twin.bytes) if twin.bytes and not (kept and twin.bits is None) else "",
        "bits": figure(twin.bits) if twin.bits is not None else "",
        "kept": kept,
    }
    if twin.status == "failed":
        told = f"It could not be measured: {twin.reason}"
        return Hero(twin=twin, status=None, sentence=told, numbers=(), **facts)
    found = status(results, model, twin)
    numbers = tuple(_numbers(results, model, twin.compression, found))
    often = _often(results.find(model, twin.compression, "behaviour.same_top"))
    told = " ".join(filter(None, (sentence(found, often), brief(results, model, twin.compression))))
    return Hero(twin=twin, status=found, sentence=told, numbers=numbers, **facts)


def _often(same_top: Row | None) -> str:
    """`at 16 of 100 places`; `often` where nothing was counted, or so few that it says nothing."""
    places = 0 if same_top is None else round(100 * (1 - same_top["value"]))
    return f"at {places} of 100 places" if places else "often"


def sentence(found: Status, often: str) -> str:
    """`It predicts something else at 16 of 100 places and loses many features.`"""
    told = [
        said[word].format(often=often)
        for aspect, said in ASPECTS.items()
        if (word := _aspect(found, aspect + "."))
    ]
    if not told:
        return f"It is {found.word}: {'; '.join(found.because)}."
    *most, last = told
    return f"It {', '.join(most)}{' and ' if most else ''}{last}."


def _aspect(found: Status, prefix: str) -> Word | None:
    """The word by the rules about one analysis alone; None where it was not measured."""
    mine = [one for one in found.judged if one.rule.metric.startswith(prefix)]
    if not mine:
        return None
    for word in WORST_FIRST:
        if any(one.rule.word == word and one.outcome == "holds" for one in mine):
            return word
    return "undecided" if any(one.outcome == "open" for one in mine) else "intact"


def _numbers(results: AuditResults, model: str, name: str, found: Status) -> Iterator[Number]:
    rows: list[tuple[str, str, Row | None]] = [
        ("same top token", "behaviour.", results.find(model, name, "behaviour.same_top"))
    ]
    read = sound(results, model, survivals(results, model, name))
    if read:
        sae, worst = min(read, key=lambda pair: pair[1]["value"])
        rows.append((f"features that survive, {sae.where}", "features.", worst))
    kept = results.find(model, name, "heads.induction_score_kept", site="pattern")
    rows.append(("induction score kept", "heads.", kept))
    # Of several benchmarks the one of which least is left.
    asked = [r for r in results.everywhere(model, name, RECOVERY) if r["value"] is not None]
    if asked:
        least = min(asked, key=lambda row: row["value"])
        rows.append((f"benchmark recovery, {least['item']}", f"{BENCHMARKS}.", least))
    for title, prefix, row in rows:
        if row is not None:
            yield Number(title=title, text=short(row), word=_aspect(found, prefix), row=row)


def short(row: Row) -> str:
    """A share at one decimal at most, as nobody needs more of it at a glance: `98.4 % [98.0,
    98.8]`. Why there is no interval stands in its place."""
    value, low, high = (_percent(row[end]) for end in ("value", "low", "high"))
    if low is None or high is None:
        return amount({**row, "value": round(row["value"], 3)}, "share")
    return f"{value} % [{low}, {high}]"


def _percent(share: float | None) -> str | None:
    return None if share is None else plain(100 * share, 1)
