"""The section on the logit lens: at which depth the predictions of two models part."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.charts.axes import words
from bitlens.report.charts.depth import Course, along
from bitlens.report.page.parts import (
    Column,
    Details,
    Figure,
    Part,
    Prose,
    Section,
    Statement,
    Table,
    Tabs,
    TokenGrid,
    TokenRow,
)
from bitlens.report.registration import Framed, Marks, family, section
from bitlens.report.sections.lens_grids import lens_grids
from bitlens.report.text.extremes import most_and_least
from bitlens.report.text.numbers import margin, plain, running, token
from bitlens.report.twins import farthest, with_noise
from bitlens.results.counts import count

CURVES = {
    "lens_kl": "KL(reference ‖ twin) of the two lenses",
    "lens_same_top": "Same token first",
    "lens_top5": "Common tokens among the first five",
    "target": "Probability of the true next token",
    "final_rank": "Rank of the model's final choice",
}
DEPTHS = {
    "first correct at, reference": ("lens.first_correct", "reference"),
    "first correct at, twin": ("lens.first_correct", "twin"),
    "change": ("lens.first_correct_shift", ""),
    "first differ at": ("lens.divergence", ""),
}


@section("lens", "Logit lens", after="heads", analysis="lens")
def lens(results: AuditResults, model: str, marks: Marks) -> tuple[Part, ...]:
    """One model's lens curves, where the lenses part, and some positions token by token."""
    tabs = tuple(
        (words(name), (drawn,))
        for name in CURVES
        if f"lens.{name}" in results.metrics
        and (drawn := _curves(results, model, name, marks)) is not None
    )
    if not tabs:
        return (Prose("No lens was used: the analysis `lens` was not run."),)
    parts: list[Part] = [
        *_found(results, model),
        Prose(
            "The logit lens hands what stands in the residual stream after a block to the "
            "model's own last norm and unembedding, as if the model stopped there. It shows how "
            "a prediction forms with depth; early blocks speak badly through it in any model, so "
            "compare twin with reference, not block with block."
        ),
        Tabs(tabs),
        _depths(results, model),
        Details("As an earlier tool counts it", (_earlier(results, model),)),
    ]
    parts += lens_grids(results, model)
    if grids := _grids(results, model):
        parts.append(Section(f"{results.prefix(model)}trajectories", "Position by position", grids))
    return tuple(parts)


def _found(results: AuditResults, model: str) -> tuple[Statement, ...]:
    """By the block at which each twin's lens agrees least."""
    least = {}
    for twin in results.measured(model):
        name = twin.compression
        along = results.depth(model, name, "lens.lens_same_top", kind="resid", item="")
        if along:
            least[name] = min((row for _, row in along), key=lambda row: row["value"])
    found = most_and_least(least, "what the model is about to say")
    told = "Same token first at the block where it is so least"
    return tuple(replace(one, numbers=f"{told}: {one.numbers}") for one in found)


def _curves(results: AuditResults, model: str, name: str, marks: Marks) -> Figure | None:
    metric = results.metrics[f"lens.{name}"]
    way = {"higher": " Higher is worse.", "lower": " Lower is worse.", None: ""}[metric.worse]
    dashed = " Dashed grey: the reference." if metric.level else ""
    course = Course(
        metric=f"lens.{name}",
        kinds={"resid": ""},
        charts={"twin" if metric.level else "": "after each block"},
        reference="reference" if metric.level else "",
        name=f"lens-{name}",
        title=f"{CURVES[name]}, by block",
        key=(
            f"{metric.question}{way} A line a twin; bars: 95 % intervals. Pale and wide, in a "
            f"twin's colour: weight noise of the same size. Dotted: the cast to 16 bits.{dashed}"
        ),
    )
    return along(results, model, course, marks)


def _depths(results: AuditResults, model: str) -> Table:
    rows = tuple(
        (
            label,
            *(
                margin(results.find(model, who, name, site="resid", item=item), "share")
                for name, item in DEPTHS.values()
            ),
        )
        for label, who in with_noise(results, model)
    )
    return Table(
        (Column("compression"), *(Column(title, numeric=True) for title in DEPTHS)),
        rows,
        "How deep, as a share of the blocks passed. First correct at: where the true next token "
        "first comes first (100 %: it never does); change: twin minus reference, 0 when intact. "
        "First differ at: where reference and twin first put different tokens first (100 %: they "
        "never do, which is intact).",
    )


def _earlier(results: AuditResults, model: str) -> Table:
    rows = tuple(
        (label, "–" if row is None else plain(row["value"], 0))
        for label, who in with_noise(results, model)
        for row in (results.find(model, who, "lens.divergence_seed", "resid"),)
    )
    return Table(
        (Column("compression"), Column("first bad block", numeric=True)),
        rows,
        "The first block whose mean KL(reference ‖ twin) exceeds the mean over blocks.",
    )


def _grids(results: AuditResults, model: str) -> tuple[Part, ...]:
    tabs = tuple(
        (twin.compression, (_grid(rows),))
        for twin in results.measured(model)
        if (rows := results.table(model, twin.compression, "lens", "trajectories"))
    )
    return (Tabs(tabs, farthest(results, model, [name for name, _ in tabs])),) if tabs else ()


def _grid(rows: list[Row]) -> TokenGrid:
    blocks = sorted({row["block"] for row in rows})
    by_place: dict[int, dict[int, Row]] = {}
    for row in rows:
        by_place.setdefault(row["place"], {})[row["block"]] = row
    places = tuple(_place(found, blocks) for _, found in sorted(by_place.items()))
    return TokenGrid(
        tuple(map(str, blocks)),
        places,
        f"{count(len(places), 'position')}. Each cell: the token that the lens puts first at "
        "that block, in the reference; where the twin's differs it stands below, marked ≠. "
        "✓: it is the true next token. ␣ is a space, ↵ a line break. The last block's are the "
        "models' predictions.",
    )


def _place(found: Mapping[int, Row], blocks: list[int]) -> TokenRow:
    first = next(iter(found.values()))
    tops = tuple(
        (token(found[b]["top_reference"]), token(found[b]["top_twin"]))
        if b in found
        else ("–", "–")
        for b in blocks
    )
    return TokenRow(
        before=running("".join(first["before"])).lstrip(" "),
        target=token(first["target"]),
        where=f"{first['document']}, token {first['offset']}",
        tops=tops,
    )


@family("Logit lens", section="lens", order=50, told="same token first, read off a block")
def readable(results: AuditResults, model: str, who: str) -> Iterator[Framed]:
    """How often the same token is first, read off each block."""
    for block, row in results.depth(model, who, "lens.lens_same_top", kind="resid", item=""):
        yield Framed(row=row, intact=1.0, chance=row["chance"] or 0.0, where=f"after block {block}")
