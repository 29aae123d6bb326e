"""The finding on which compression to take: the smallest that is still close to the reference."""

from collections.abc import Iterator

from bitlens.report.audit_results import AuditResults
from bitlens.report.registration import Finding, finding
from bitlens.report.status import Word, status
from bitlens.report.text.methods import smaller
from bitlens.report.text.numbers import figure, size
from bitlens.results.records import TEXT, TwinRecord

WEIGHT = 0.95
"""After what is broken in one place, before everything else."""
CLOSE: tuple[Word, ...] = ("intact", "changed")


@finding
def smallest(results: AuditResults, model: str) -> Iterator[Finding]:
    """The smallest twin that is intact, and the smallest that is only changed, where smaller."""
    words = {twin.compression: status(results, model, twin) for twin in results.measured(model)}
    sized = [twin for twin in results.measured(model) if twin.bits is not None]
    sized.sort(key=lambda twin: twin.bytes or 0)
    if not sized:
        return
    told: list[TwinRecord] = []
    for word in CLOSE:
        best = next((t for t in sized if words[t.compression].word == word), None)
        if best is not None and (not told or (best.bytes or 0) < (told[0].bytes or 0)):
            told.append(best)
            yield _finding(results, model, best, f"{best.compression} is the smallest that is {{}}",
                           word)  # fmt: skip
    if not told:
        least = words[sized[-1].compression].word
        yield _finding(
            results,
            model,
            sized[-1],
            f"None is close to the reference; the largest, {sized[-1].compression}, is {{}}",
            least,
        )


def _finding(
    results: AuditResults, model: str, twin: TwinRecord, title: str, word: Word
) -> Finding:
    whole = results.about(model)["bytes"]
    less = smaller(whole, twin.bytes)
    return Finding(
        title=title.format(word),
        text=(
            f"{figure(twin.bits or 0)} bits per weight, {size(twin.bytes or 0)} instead of "
            f"{size(whole)}{f', {less}' if less else ''}. {status(results, model, twin).advice}"
        ),
        anchor="quality",
        weight=WEIGHT,
        twins=(twin.compression,),
        uses=frozenset({TEXT}),
        target="",
    )
