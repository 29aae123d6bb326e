"""Latents of SAEs on the tasks of circuits: which carry an answer, and do they in the twin?"""

from collections.abc import Iterator, Sequence

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.charts.charts import beside
from bitlens.report.charts.depth import across
from bitlens.report.charts.nodes import against
from bitlens.report.page.parts import Column, Details, Figure, Part, Prose, Strip, Table
from bitlens.report.registration import Marks
from bitlens.report.text.circuits import Task
from bitlens.report.text.numbers import amount, margin
from bitlens.results.counts import count
from bitlens.results.shared_names import PATCHED

NAMED = 8
"""Latents of a table, those that do most in the reference."""


def task_latents(
    results: AuditResults, model: str, tasks: Sequence[Task], marks: Marks
) -> Iterator[Part]:
    """What they do in reference and twin; nothing where no SAE was named."""
    strips, tables, told = [], [], []
    for task in tasks:
        for about in _saes(results, model, task.name):
            shown = {
                twin.compression: rows
                for twin in results.measured(model)
                if (rows := _rows(results, model, twin.compression, about))
            }
            if not shown:
                continue
            told.append(_said(about, shown))
            strips.append(_strip(results, model, about, shown, marks))
            tables.append(_table(about, shown))
    if not told:
        return
    yield Prose(
        "Latents of SAEs are nodes too, beside heads and MLPs, not among the circuit's: what is "
        "put in place is a latent's activation along its decoder direction, what the SAE does "
        f"not describe stays. {' '.join(told)}"
    )
    kept = [strip for strip in strips if strip.panels]
    if kept:
        yield Figure(
            name=f"{results.prefix(model)}circuits-latents",
            title="What latents of SAEs do in the twin against what they do in the reference",
            key=(
                "Each mark is a latent: its share of the reference's gap across, of the twin's own "
                "gap up, with 95 % intervals. Hollow grey: the same under weight noise of the same "
                "size. Dashed: intact."
            ),
            strips=tuple(kept),
            caption=(
                "Of all latents those are put in place of which gradients say most on other "
                "prompts; one that fires alike on both prompts does nothing and is not shown."
            ),
            controls=beside(results, model),
            across=across(max(len(strip.panels) for strip in kept)),
        )
    yield Details("The latents that do most", tuple(tables))


def _saes(results: AuditResults, model: str, task: str) -> list[Row]:
    """The SAEs of which latents were looked for on a task; the same for every twin."""
    for twin in results.measured(model):
        if rows := results.table(model, twin.compression, "causal", "circuit_saes"):
            return [row for row in rows if row["task"] == task]
    return []


def _rows(results: AuditResults, model: str, who: str, about: Row) -> list[Row]:
    """A twin's latents of an SAE on a task, those first that do most in the reference."""
    rows = results.table(model, who, "causal", "circuit_latents")
    mine = [row for row in rows if (row["task"], row["sae"]) == (about["task"], about["sae"])]
    return sorted(mine, key=_size, reverse=True)


def _size(row: Row) -> float:
    return abs(float(row["denoising_reference"] + row["noising_reference"]))


def _said(about: Row, shown: dict[str, list[Row]]) -> str:
    """Which latent does most, in the reference and in every twin."""
    first = next(iter(shown.values()))[0]
    same = {
        who: next(row for row in rows if row["latent"] == first["latent"])
        for who, rows in shown.items()
    }
    share = amount(_part(first, "noising_reference"), "share")
    twins = ", ".join(
        f"{amount(_part(row, 'noising_twin'), 'share')} of its own in {who}"
        for who, row in same.items()
        if row["noising_twin"] is not None
    )
    lost = [
        f"{who} has lost {', '.join(str(row['latent']) for row in rows if row['lost'])}"
        for who, rows in shown.items()
        if any(row["lost"] for row in rows)
    ]
    found = (
        f"{about['task']}: of {about['sae']} {count(about['fired'], 'latent')} fire and "
        f"{about['put']} were put in place; the corrupt value of latent {first['latent']}, which "
        f"does most, takes {share} of the gap in the reference"
    )
    return "; ".join([", ".join(filter(None, (found, twins))), *lost]) + "."


def _strip(
    results: AuditResults, model: str, about: Row, shown: dict[str, list[Row]], marks: Marks
) -> Strip:
    panels = []
    for twin, rows in shown.items():
        noise = results.noise(model, twin)
        other = _rows(results, model, noise, about) if noise else []
        both = {twin: rows} | ({noise: other} if noise and other else {})
        for way in PATCHED:
            panel = against(f"{twin}, {way}", both, way, marks)
            panels += [panel] if panel else []
    ranks = ", ".join(
        f"{way} {amount(row)}" for way in PATCHED if (row := _ceiling(results, model, about, way))
    )
    ceiling = f"; ceiling of the ranks: {ranks}" if ranks else ""
    return Strip(f"{about['task']}, {about['sae']}{ceiling}", tuple(panels))


def _ceiling(results: AuditResults, model: str, about: Row, way: str) -> Row | None:
    first = results.measured(model)[0].compression
    item = f"{about['task']}, latents of {about['sae']}, {way}, reference"
    return results.find(model, first, "causal.ceiling", site="", item=item)


def _table(about: Row, shown: dict[str, list[Row]]) -> Table:
    names = [f"{way}_{side}" for way in PATCHED for side in ("reference", "twin")]
    names += ["repaired", "carried"]
    rows = tuple(
        (
            about["task"],
            about["sae"],
            who,
            str(row["latent"]),
            *(margin(_part(row, name), "share") for name in names),
            "yes" if row["lost"] else "no",
        )
        for who, of in shown.items()
        for row in of[:NAMED]
    )
    columns = (
        *(Column("task"), Column("SAE"), Column("compression"), Column("latent", numeric=True)),
        *(Column(name.replace("_", ", "), numeric=True) for name in names),
        Column("lost"),
    )
    return Table(
        columns,
        rows,
        "denoising: the share of a model's own gap that the latent's clean value brings back on "
        "the corrupt prompt; noising: the share that its corrupt value takes from the clean one. "
        "repaired: the share of the lost gap that comes back where the twin is given the "
        "reference's value, ± for all latents of the SAE at once; carried: what the twin's value "
        "takes from the reference. lost: its effect in the twin is surely less than half, held "
        "against all of them at once.",
    )


def _part(row: Row, name: str) -> Row:
    ends = {end: row[f"{name}_{end}"] for end in ("low", "high")}
    return {"value": row[name], "reason": None, **ends}
