"""The section that shows texts: what each twin predicts differently, token by token."""

from collections.abc import Iterator, Sequence

import numpy as np

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.page.browsers import DocumentBrowser, DocumentReading, Predicted, ReadDocument
from bitlens.report.page.parts import Column, Part, Prose, Statement, Table
from bitlens.report.registration import Marks, section
from bitlens.report.text.numbers import figure
from bitlens.report.twins import farthest
from bitlens.results.counts import count

KINDS = ("worst", "median", "random")
FEWEST_DRAWN = 3
"""Documents drawn at random below which nothing is said of their tokens in a heading."""
EACH, READINGS = 20, 300
"""Documents of each kind that a store has of a twin at most; and how many a page has of a model,
all its twins together: some 8 kB each."""


@section("documents", "Token by token", after="benchmarks")
def documents(results: AuditResults, model: str, marks: Marks) -> tuple[Part, ...]:  # noqa: ARG001
    """One model's documents to read; nothing where none were kept."""
    texts: dict[int, ReadDocument] = {}
    measured = results.measured(model)
    most = max(1, min(EACH, READINGS // (len(KINDS) * max(1, len(measured)))))
    twins: list[tuple[str, tuple[DocumentReading, ...]]] = []
    for twin in measured:
        rows = results.table(model, twin.compression, "behaviour", "documents")
        tokens = results.table(model, twin.compression, "behaviour", "tokens")
        if found := tuple(_readings(thinned(rows, most), tokens, texts)):
            twins.append((twin.compression, found))
    if not twins:
        return ()
    shown = farthest(results, model, [name for name, _ in twins])
    every = {name: results.table(model, name, "behaviour", "documents") for name, _ in twins}
    browser = DocumentBrowser(
        name="Documents to read",
        model=model,
        twins=tuple(twins),
        total=len(every[twins[0][0]]),
        shown=shown,
        caption=_caption(twins, most),
    )
    told = Prose(
        "Texts as they were read. The stronger a token's red, the farther apart the two models' "
        "predictions of it are; it is underlined where another token comes first in the twin. "
        "Point at a token, or go from one underlined token to the next with the arrow keys, to "
        "see what both models expected there."
    )
    stated = _finding(twins[shown], every[twins[shown][0]])
    return (stated, told, _table(twins, every), browser)


def thinned(rows: list[Row], most: int) -> list[Row]:
    """The table of documents where no more than so many of each kind are shown: those that are
    farthest, those nearest to the middle, and the first of those drawn, the same for every twin."""
    order = sorted(rows, key=lambda row: (-row["kl"], row["number"]))
    middle = {row["number"]: abs(2 * place + 1 - len(order)) for place, row in enumerate(order)}
    by: dict[str, list[Row]] = {
        "worst": order,
        "median": sorted(order, key=lambda row: middle[row["number"]]),
        "random": sorted(order, key=lambda row: row["number"]),
    }
    kept = {
        kind: {row["number"] for row in [r for r in of if kind in r["shown"]][:most]}
        for kind, of in by.items()
    }
    return [
        {**row, "shown": [kind for kind in row["shown"] if row["number"] in kept[kind]]}
        for row in rows
    ]


def _readings(
    rows: list[Row], tokens: list[Row], texts: dict[int, ReadDocument]
) -> Iterator[DocumentReading]:
    """The documents that are shown of a twin. `texts`: those of other twins, to which these are
    added: all of them read the same."""
    ranks = {
        row["number"]: rank
        for rank, row in enumerate(sorted(rows, key=lambda r: (-r["kl"], r["number"])), 1)
    }
    about = {row["number"]: row for row in rows}
    by_document: dict[int, list[Row]] = {}
    for token in tokens:
        by_document.setdefault(token["number"], []).append(token)
    for number, of in by_document.items():
        row = about[number]
        if not row["shown"]:
            continue
        if number not in texts:
            texts[number] = ReadDocument(
                number=number,
                name=row["document"],
                tokens=tuple(one["token"] for one in of),
                offsets=tuple(one["offset"] for one in of),
                counts=tuple(one["counts"] for one in of),
                reference=_predicted(of, "reference"),
            )
        yield DocumentReading(
            document=texts[number],
            kinds=tuple(row["shown"]),
            rank=ranks[number],
            kl=row["kl"],
            positions=row["positions"],
            changed=row["changed"],
            by_token=tuple(one["kl"] for one in of),
            twin=_predicted(of, "twin"),
        )


def _predicted(rows: list[Row], who: str) -> Predicted:
    return Predicted(
        ids=tuple(tuple(row[f"ids_{who}"]) for row in rows),
        texts=tuple(tuple(row[f"top_{who}"]) for row in rows),
        shares=tuple(tuple(row[f"shares_{who}"]) for row in rows),
        target=tuple(row[f"target_{who}"] for row in rows),
    )


def _counted(readings: Sequence[DocumentReading]) -> np.ndarray:
    """KL of every token whose prediction counts, in the documents drawn at random."""
    found = [
        kl
        for one in readings
        if "random" in one.kinds
        for kl, counts in zip(one.by_token, one.document.counts, strict=True)
        if counts and kl is not None
    ]
    return np.array(found)


def half(values: np.ndarray) -> float | None:
    """The share of the numbers, the largest first, that makes up half of their sum; None where
    there is nothing to share."""
    total = values.sum()
    if not len(values) or not total > 0:
        return None
    reached = np.cumsum(np.sort(values)[::-1])
    # The tolerance keeps half of a sum from being missed by rounding.
    return float((np.searchsorted(reached, total / 2 * (1 - 1e-12)) + 1) / len(values))


def _finding(twin: tuple[str, tuple[DocumentReading, ...]], every: list[Row]) -> Statement:
    """How few tokens carry half of what a twin loses; where too few documents were drawn to say
    so, how often another token comes first, which is of all."""
    name, readings = twin
    share, drawn = half(_counted(readings)), sum("random" in one.kinds for one in readings)
    if share is None or drawn < FEWEST_DRAWN:
        often = figure(_changed(every), "share")
        return Statement(f"Under {name} another token comes first at {often} of the positions")
    return Statement(
        f"Half of what {name} loses lies on {figure(share, 'share')} of the tokens",
        f"In {count(drawn, 'document')} drawn at random.",
    )


def _changed(rows: list[Row]) -> float:
    return float(sum(row["changed"] for row in rows) / sum(row["positions"] for row in rows))


def _table(
    twins: Sequence[tuple[str, Sequence[DocumentReading]]], every: dict[str, list[Row]]
) -> Table:
    """Of each twin how uneven its damage is, over documents and over tokens."""
    rows = []
    for name, readings in twins:
        kl = np.array([row["kl"] for row in every[name]])
        share = half(_counted(readings))
        rows.append(
            (
                name,
                figure(float(kl.max())),
                figure(float(np.median(kl))),
                figure(float(kl.min())),
                figure(_changed(every[name]), "share"),
                "–" if share is None else figure(share, "share"),
            )
        )
    titles = ("worst document", "median", "best", "other token first", "tokens with half the KL")
    return Table(
        (Column("compression"), *(Column(title, numeric=True) for title in titles)),
        tuple(rows),
        "Mean KL of a document, in nats: the largest, the middle and the smallest of all. Other "
        "token first: of all positions that count. Tokens with half the KL: the smallest share of "
        "the tokens that carries half of the sum, in the documents drawn at random; these are a "
        "description of the texts shown, without an interval.",
    )


def _caption(twins: Sequence[tuple[str, Sequence[DocumentReading]]], most: int) -> str:
    longest = max(len(one.document.tokens) for _, of in twins for one in of)
    cut = any(one.positions > len(one.document.tokens) for _, of in twins for one in of)
    told = (
        "Of each twin the documents whose predictions are farthest from the reference's, those in "
        f"the middle and some drawn at random (the same for every twin): {most} of each at most, "
        "and one in twenty of all. Copies are shown once. "
    )
    if cut:
        told += f"Of longer documents the first {longest} tokens are shown; means are of all. "
    return told + (
        "KL is of the reference's prediction from the twin's, in nats, on one scale for all twins "
        "and documents. Probabilities are rounded to a tenth of a per cent; a token that is not "
        "among a model's first five is less likely there than the fifth. Dotted: the prediction "
        "does not count in the mean."
    )
