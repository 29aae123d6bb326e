"""Lens grids: what both models would say after every block, on a few stretches of text."""

from collections.abc import Iterator, Sequence

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.page.browsers import LensBrowser, LensStretch
from bitlens.report.page.parts import Part, Prose, Section
from bitlens.report.twins import farthest


def lens_grids(results: AuditResults, model: str) -> tuple[Part, ...]:
    """A part with one twin after another; nothing where none were stored."""
    twins: list[tuple[str, tuple[LensStretch, ...]]] = []
    for twin in results.measured(model):
        texts = results.table(model, twin.compression, "attention", "pattern_texts")
        names = {row["text"]: row["document"] for row in texts}
        rows = results.table(model, twin.compression, "attention", "grid")
        if found := tuple(_stretches(rows, names)):
            twins.append((twin.compression, found))
    if not twins:
        return ()
    browser = LensBrowser(
        name="Lens grids",
        model=model,
        twins=tuple(twins),
        shown=farthest(results, model, [name for name, _ in twins]),
        caption=(
            "The last of the tokens on which patterns of heads are shown: an example, not a "
            "measurement. The stronger the red, the farther apart the two are, in steps from 0.01 "
            "to 3 nats of KL. ✓: the text's own token. ≠: what the twin would say. Of many blocks "
            "twelve are shown. Point at a cell for its KL."
        ),
    )
    told = Prose(
        "As if the model stopped after a block: what stands there, handed to the model's own last "
        "norm and unembedding (the logit lens), expects this token where the text has that of the "
        "column's head. The last block's are the predictions themselves."
    )
    title = "What would be said after every block"
    return (Section(f"{results.prefix(model)}lens-grids", title, (told, browser)),)


def _stretches(rows: Sequence[Row], names: dict[int, str]) -> Iterator[LensStretch]:
    """A document's rows stand together, those of a token too."""
    for number in dict.fromkeys(row["text"] for row in rows):
        mine = [row for row in rows if row["text"] == number]
        blocks = sorted({row["block"] for row in mine})
        by_block = [[row for row in mine if row["block"] == block] for block in blocks]
        yield LensStretch(
            document=names.get(number, str(number)),
            tokens=tuple(row["token"] for row in by_block[0]),
            blocks=tuple(blocks),
            tops=tuple(
                tuple((row["top_reference"], row["top_twin"], row["kl"]) for row in of)
                for of in by_block
            ),
        )
