"""The page of a steering run: dose and response, what a twin needs, and what that costs."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bitlens.report.charts.palette import marks
from bitlens.report.page.html import html
from bitlens.report.page.parts import (
    Column,
    Command,
    Ledger,
    Page,
    Part,
    Prose,
    Section,
    Statement,
    Table,
)
from bitlens.report.steering.curves import responses
from bitlens.report.text.differences import above, below
from bitlens.report.text.few import sayable
from bitlens.report.text.numbers import amount, margin, plain
from bitlens.results.counts import count
from bitlens.results.files.names import inside
from bitlens.results.files.writing import write
from bitlens.results.records import REFERENCE
from bitlens.results.steering.file import REPORT, read_steering

TITLES = (
    "slope",
    "over the reference's",
    "wrong way",
    "multiplier needed",
    "KL there, nats",
    "slope of random ones",
)
CANDIDATES = 12
"""Directions of a search that are shown."""


def build(folder: Path) -> Path:
    """Write the page of a run; its path. BitlensError for what is damaged."""
    path = inside(folder, REPORT)
    write(path, html(page(read_steering(folder))).encode())
    return path


def told(folder: Path) -> Table:
    """What a vector does in each model, a row a model. BitlensError for what is damaged."""
    return _table(read_steering(folder))


def page(run: Mapping[str, Any]) -> Page:
    """Everything, as parts."""
    known = marks(run["twins"])
    figures = [f for m in ("effect", "side_effect") if (f := responses(run, m, known)) is not None]
    sections = (
        Section.stating("response", "Dose and response", (*_found(run), _asked(run), *figures)),
        Section("models", "What each model needs", (_table(run),)),
        Section("ablation", "Without the direction", tuple(_ablation(run))),
        *_searched(run),
        Section("numbers", "All numbers", (_ledger(run),)),
        Section("reproduce", "Again", (Command(run["command"]), *map(Prose, run["notes"]))),
    )
    subtitle = (
        f"{run['vector']}, added at {run['site']}, on {count(run['prompts'], 'text')} that it was "
        f"not made of. bitlens {run['tool']['version']}."
    )
    title = f"A steering vector in {run['name']} and its twins"
    return Page(title, subtitle, sections, tuple(known.items()))


def find(
    run: Mapping[str, Any],
    model: str,
    metric: str,
    direction: str = "vector",
    multiplier: float | None = None,
) -> dict[str, Any] | None:
    """A number of a model as it may be shown, if it is there. That of random directions counts
    these, not texts."""
    wanted = (model, direction, metric, multiplier)
    return next(
        (
            row if direction == "random" else sayable(row)
            for row in run["rows"]
            if (row["model"], row["direction"], row["metric"], row["multiplier"]) == wanted
        ),
        None,
    )


def _asked(run: Mapping[str, Any]) -> Prose:
    tokens = ", ".join(repr(token) for token in run["answers"][:8])
    more = ", ..." if len(run["answers"]) > 8 else ""
    random = find(run, REFERENCE, "slope", "random")
    drawn = random["documents"] if random else 0
    return Prose(
        f"The vector points from {run['negative']} to {run['positive']}. It is "
        f"{plain(run['norm'], 2)} long, {plain(100 * run['norm_share'], 0)} % of what it is added "
        "to, and is added at every position that counts. The effect: the log-odds of these tokens "
        f"next, {tokens}{more}, after texts labelled {run['negative']}. The same vector goes into "
        f"every model; {count(drawn, 'random direction')} of its length are chance. Side effect: "
        "the mean KL "
        f"divergence of a model's predictions on {run['neutral']} from its own without the vector."
    )


def _found(run: Mapping[str, Any]) -> Iterator[Statement]:
    """Whether the vector steers the reference, and which twin answers least to it."""
    own, random = find(run, REFERENCE, "slope"), find(run, REFERENCE, "slope", "random")
    ratios = {twin: find(run, twin, "slope_ratio") for twin in run["twins"]}
    known = {twin: row for twin, row in ratios.items() if row and row["value"] is not None}
    numbers = f"Reference {_amount(own)} a multiplier, random {_amount(random)}."
    if not above(own, 0) or own is None or (random and not _exceeds(own, random)):
        yield Statement("The vector does not surely steer the reference", numbers)
        return
    numbers += f" Twin over reference: {'; '.join(f'{t} {amount(r)}' for t, r in known.items())}."
    together = {twin: find(run, twin, "slope_ratio_together") for twin in known}
    surely = [twin for twin, row in together.items() if below(row, 1)]
    more = [twin for twin, row in together.items() if above(row, 1)]
    if surely:
        twin = min(surely, key=lambda name: known[name]["value"])
        share = plain(100 * known[twin]["value"], 0)
        text = f"{twin} answers to the vector with {share} % of the reference's slope"
        yield Statement(text + _beside_noise(run, twin), numbers)
    elif more:
        twin = max(more, key=lambda name: known[name]["value"])
        times = plain(known[twin]["value"], 2)
        text = f"{twin} answers to the vector {times} times as strongly"
        yield Statement(text + _beside_noise(run, twin), numbers)
    else:
        yield Statement("No twin surely answers to the vector less than the reference", numbers)


def _exceeds(own: Mapping[str, Any], random: Mapping[str, Any]) -> bool:
    """Does the vector surely do more than one more random direction would, 95 times of 100? Without
    intervals nobody can say."""
    return random["high"] is not None and bool(own["low"] > random["high"])


def _beside_noise(run: Mapping[str, Any], twin: str) -> str:
    """What weight noise of the twin's size does to the slope, and whether the twin is surely apart
    from it; nothing where it was not run."""
    noise, less = (find(run, twin, f"slope_ratio_{name}") for name in ("of_noise", "less_noise"))
    if noise is None or noise["value"] is None:
        return ""
    share = f"{plain(100 * noise['value'], 0)} %"
    if above(less, 0) or below(less, 0):
        return f", noise of its size with {share}"
    return f", not surely otherwise than noise of its size ({share})"


def _amount(row: Mapping[str, Any] | None) -> str:
    return "–" if row is None else amount(row)


def _table(run: Mapping[str, Any]) -> Table:
    rows = []
    for model in (REFERENCE, *run["twins"], *run["controls"]):
        cells = {metric: find(run, model, metric) for metric in ("slope", "slope_ratio", "needed")}
        rows.append(
            (
                model,
                margin(cells["slope"]),
                "–" if model == REFERENCE else margin(cells["slope_ratio"]),
                margin(find(run, model, "wrong_way"), "share"),
                _or_reason(cells["needed"]),
                margin(find(run, model, "side_effect_at_needed")),
                margin(find(run, model, "slope", "random")),
            )
        )
    return Table(
        (Column("model"), *(Column(title, numeric=True) for title in TITLES)),
        tuple(rows),
        "slope: of the log-odds over the multiplier, from −2 to 2, a text's own, their mean. "
        "wrong way: texts with a negative slope. multiplier needed: where the model's effect is as "
        "large as the reference's at 1; KL there: what exactly that multiplier does to other "
        "texts: its interval leaves out that of the multiplier. ± is the longer half of a 95 % "
        "interval over texts, of random ones that within which one more such direction would "
        "lie 95 times of 100. The heading tests all twins together (Bonferroni).",
    )


def _or_reason(row: Mapping[str, Any] | None) -> str:
    return row["reason"] or "–" if row and row["value"] is None else margin(row)


def _ablation(run: Mapping[str, Any]) -> Iterator[Part]:
    yield Prose(
        "What every block adds and hands on, and the embedding, lose what of them points along "
        "the vector, at every position that counts; the log-odds of the same tokens after texts "
        f"labelled {run['positive']}."
    )
    rows = tuple(
        (
            model,
            *(
                margin(find(run, model, metric, "ablation"))
                for metric in ("effect_before", "effect_without", "effect_removed")
            ),
        )
        for model in (REFERENCE, *run["twins"], *run["controls"])
    )
    titles = ("as it is", "without the direction", "less")
    columns = (Column("model"), *(Column(title, numeric=True) for title in titles))
    yield Table(columns, rows, "Log-odds. ± is the longer half of a 95 % interval over texts.")


def _searched(run: Mapping[str, Any]) -> Iterator[Section]:
    """The directions that were looked at, the best ones; nothing where none was looked for."""
    every = run.get("candidates", ())
    if not every:
        return
    allowed = sum(not one["against"] for one in every)
    rows = tuple(
        (
            one["site"],
            f"−{-one['token']}",
            *(_plain(one[name]) for name in ("bypass", "induced", "kl")),
            one["against"] or ("chosen" if n == 0 else "yes"),
        )
        for n, one in enumerate(every[:CANDIDATES])
    )
    columns = (
        *(Column("after block"), Column("token", numeric=True)),
        *(Column(title, numeric=True) for title in ("taken out", "added", "KL, nats")),
        Column("may be chosen"),
    )
    yield Section(
        "search",
        "Which direction",
        (
            Prose(
                f"{count(len(every), 'direction')} were looked at, differences of means at the "
                "last tokens after all but the last fifth of the blocks, and "
                f"{allowed} may be chosen. "
                "All numbers are means over texts that no direction was made of and that nothing "
                "else on this page is measured on; only the reference was looked at."
            ),
            Table(
                columns,
                rows,
                "token: from the end, −1 the last. taken out: log-odds of the answers after texts "
                f"labelled {run['positive']} without the direction; the lowest is chosen. added: "
                f"after texts labelled {run['negative']} with it, to be above 0. KL: how far "
                "predictions after those move where it is taken out, to be at most 0.1. After "
                "Arditi et al. 2024, arXiv 2406.11717.",
            ),
        ),
    )


def _plain(value: float | None) -> str:
    return "–" if value is None else plain(value, 2)


def _ledger(run: Mapping[str, Any]) -> Ledger:
    names = ("model", "direction", "metric", "multiplier", "value", "low", "high", "reason")
    columns = tuple(Column(name, numeric=name in names[3:7]) for name in names)
    rows = tuple(tuple(row[name] for name in names) for row in run["rows"])
    return Ledger("steering", columns, rows)
