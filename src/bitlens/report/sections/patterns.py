"""Where heads look on a few short texts: both models' patterns, of the heads that have them."""

from collections.abc import Iterator

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.page.browsers import HeadPattern, HeadPatterns
from bitlens.report.page.parts import Part, Section
from bitlens.report.sections.fitting import pattern_fits, require_fitting
from bitlens.report.text.numbers import running
from bitlens.report.twins import farthest
from bitlens.results.counts import count

BUDGET = 1_500_000
"""Shares of a page at most: a byte each before they are compressed, to a third or so."""


def head_patterns(results: AuditResults, model: str) -> Iterator[Part]:
    """The patterns of every twin that has some; nothing where none are stored."""
    twins = [twin.compression for twin in results.measured(model)]
    rows = {twin: results.table(model, twin, "attention", "patterns") for twin in twins}
    rows = {twin: found for twin, found in rows.items() if found}
    if not rows:
        return
    names = list(rows)
    texts = results.table(model, names[0], "attention", "pattern_texts")
    lengths = {text["text"]: len(text["tokens"]) for text in texts}
    for found in rows.values():
        require_fitting("patterns", (pattern_fits(row, lengths) for row in found))
    kept = _within(rows, BUDGET)
    part = HeadPatterns(
        name=f"{results.prefix(model)}attention-patterns",
        model=model,
        texts=tuple((_where(text), tuple(map(running, text["tokens"]))) for text in texts),
        twins=tuple((twin, tuple(_heads(found))) for twin, found in kept.items()),
        shown=farthest(results, model, names),
        caption=_caption(results, model, kept, len(texts)),
    )
    anchor = f"{results.prefix(model)}attention-patterns"
    yield Section(anchor, "Where does a head look, before and after?", (part,))


def _within(rows: dict[str, list[Row]], budget: int) -> dict[str, list[Row]]:
    """Of every twin as many heads as the budget allows, those that moved most first."""
    texts = 1 + max(row["text"] for found in rows.values() for row in found)
    size = sum(len(row["twin"]) for row in next(iter(rows.values()))[:texts])
    heads = max(1, budget // (size * (len(rows) + 1)))
    return {twin: found[: texts * heads] for twin, found in rows.items()}


def _where(text: Row) -> str:
    return (
        f"{text['document']}, from token {text['offset']}" if text["offset"] else text["document"]
    )


def _heads(rows: list[Row]) -> Iterator[HeadPattern]:
    held: dict[tuple[int, int], list[Row]] = {}
    for row in rows:
        held.setdefault((row["block"], row["head"]), []).append(row)
    for (block, head), of in held.items():
        yield HeadPattern(
            block=block,
            head=head,
            reference=tuple(bytes(row["reference"]) for row in of),
            twin=tuple(bytes(row["twin"]) for row in of),
        )


def _caption(results: AuditResults, model: str, rows: dict[str, list[Row]], texts: int) -> str:
    facts = results.about(model)
    every = facts["blocks"] * facts["heads"]
    most = max(len(found) for found in rows.values()) // texts
    which = (
        "all heads of the model"
        if most == every
        else f"{count(most, 'head')} of {every} in each twin: those that copy on the random "
        "tokens, and those whose attention moved most over all texts"
    )
    return (
        f"Patterns are stored of {which}. They are of these {texts} short texts alone: an example, "
        "not a measurement; how far a head moved is measured on all texts, above."
    )
