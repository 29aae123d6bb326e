"""The summary of an audit: a page of Markdown that a comment on a pull request has room for."""

from bitlens.report.audit_results import AuditResults
from bitlens.report.hero import Hero, Number, heroes
from bitlens.report.page.markdown import escaped
from bitlens.report.tables import origin
from bitlens.report.text.doubts import checks, titled
from bitlens.report.text.kept import token
from bitlens.results.counts import count

ROWS, TOLD, CHECKS, ORIGINS = 20, 12, 6, 4
"""So many twins have a row, a sentence; so many checks and models are named."""


def summary(results: AuditResults) -> str:
    """A row, a word and a sentence a twin, what failed, and what it rests on: 60 lines at most."""
    found = [(model, hero) for model in results.models for hero in heroes(results, model)]
    blocks = [
        [f"# What compression changed in {escaped(', '.join(results.models))}"],
        _failed(results),
        [*table_of_twins(results, found[:ROWS]), *_more(len(found) - ROWS, "twin")],
        [*map(_sentence, found[:TOLD]), *_more(len(found) - TOLD, "twin")],
        [
            *(f"- {escaped(origin(results, model))}" for model in results.models[:ORIGINS]),
            *_more(len(results.models) - ORIGINS, "model"),
            "- Numbers with 95 % intervals over documents; charts and method: `report.html`.",
        ],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _more(left: int, noun: str) -> list[str]:
    return [f"\n{count(left, noun)} more: in `report.html`."] if left > 0 else []


def _failed(results: AuditResults) -> list[str]:
    failed = [titled(results, check) for check in checks(results) if check.passed is False]
    told = [f"- ✗ {escaped(check.name)}: {escaped(check.detail)}" for check in failed[:CHECKS]]
    return told + _more(len(failed) - CHECKS, "failed check")


def table_of_twins(results: AuditResults, found: list[tuple[str, Hero]]) -> list[str]:
    """The lines of a table: each twin of a model with its word, its size and its three numbers."""
    titles = list(dict.fromkeys(_title(n) for _, hero in found for n in hero.numbers))
    many = len(results.models) > 1
    kept = ["bytes a token"] if any(hero.kept for _, hero in found) else []
    head = [*(["model"] if many else []), "twin", "word", "bits", "size", *kept, *titles]
    rule = ["---:" if title in ("bits", "size", *kept, *titles) else "---" for title in head]
    lines = [head, rule]
    for model, hero in found:
        numbers = {_title(number): _placed(number) for number in hero.numbers}
        word = hero.status.word if hero.status else "failed"
        row = [hero.twin.compression, word, hero.bits or "–", hero.size or "–"]
        row += [token(results, model, hero.twin)] if kept else []
        lines.append(
            [
                escaped(cell)
                for cell in (
                    *([model] if many else []),
                    *row,
                    *(numbers.get(title, "–") for title in titles),
                )
            ]
        )
    return [f"| {' | '.join(line)} |" for line in lines]


def _title(number: Number) -> str:
    """What a number is, without the place, which differs from twin to twin: of several SAEs the
    worst is shown."""
    return number.title.partition(", ")[0]


def _placed(number: Number) -> str:
    place = number.title.partition(", ")[2]
    return f"{number.text} {place}".rstrip()


def _sentence(entry: tuple[str, Hero]) -> str:
    _, hero = entry
    word = hero.status.word if hero.status else "failed"
    advice = hero.status.advice if hero.status else ""
    told = f"{hero.sentence} {advice}".strip()
    return f"- **{escaped(hero.twin.compression)}: {word}.** {escaped(told)}"
