"""The section on circuits: do the parts that compute an answer still compute it?"""

from collections.abc import Iterator, Sequence

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.charts.charts import beside
from bitlens.report.charts.depth import across
from bitlens.report.charts.nodes import against, by_block
from bitlens.report.page.parts import (
    Column,
    Details,
    Figure,
    Part,
    Prose,
    Statement,
    Strip,
    Table,
)
from bitlens.report.registration import Framed, Marks, family, section
from bitlens.report.sections.task_latents import task_latents
from bitlens.report.text.circuits import Task, carrier, kept, tasks_of
from bitlens.report.text.differences import surely, way
from bitlens.report.text.numbers import amount, margin, running
from bitlens.report.twins import with_noise
from bitlens.results.records import REFERENCE
from bitlens.results.shared_names import PATCHED

NODES = 12
"""Nodes of a table, those that carry most."""


@section("causal", "Circuits", after="heads", analysis="causal", uses=())
def causal(results: AuditResults, model: str, marks: Marks) -> tuple[Part, ...]:
    """One model's tasks: what is left of each, whose nodes matter, and which of them lose it."""
    tasks = tasks_of(results, model)
    if not tasks:
        return ()
    present = [task for task in tasks if task.reason is None]
    parts: list[Part] = [*_found(results, model, present)]
    parts.append(
        Prose(
            "Every task is pairs of prompts, a clean one and a corrupt one that differs in what "
            "decides the answer. A score is how far the right answer stands above the wrong one; "
            "the gap is the clean prompts' mean score less the corrupt ones'. A node is a head "
            "or an MLP. Its denoising effect is the share of a model's own gap that its value on "
            "the clean prompt brings back on the corrupt one, its noising effect the share that "
            "its value on the corrupt prompt takes from the clean one. Pairs of prompts are the "
            "unit of every interval."
        )
    )
    parts.append(_tasks(tasks))
    if present:
        parts.append(_twins(results, model, present))
        parts += _scatter(results, model, present, marks)
        parts += _blocks(results, model, present)
        parts.append(_faithful(results, model, present))
        parts += _carrying(results, model, present)
        parts += task_latents(results, model, present, marks)
    return tuple(parts)


def _found(results: AuditResults, model: str, tasks: Sequence[Task]) -> Iterator[Statement]:
    """What happens to the task of which a twin surely keeps least."""
    if not tasks:
        yield Statement("The reference does none of the tasks: there is no circuit to lose")
        return
    rows = {
        (twin.compression, task.name): row
        for twin in results.measured(model)
        for task in tasks
        if (row := kept(results, model, twin.compression, task.name))
    }
    if not rows:
        return
    numbers = "; ".join(
        f"{twin}, {task}: {amount(row, 'share')}" for (twin, task), row in rows.items()
    )
    told = f"What is left of the gap between clean and corrupt prompts: {numbers}."
    sure = {at: row for at, row in rows.items() if way(results.contrast(row, REFERENCE)) == "less"}
    if not sure:
        yield Statement("No twin surely does a task less well than the reference", told)
        return
    twin, task = min(sure, key=lambda at: sure[at]["value"])
    least = sure[twin, task]
    noise = results.noise(model, twin)
    other = kept(results, model, noise, task) if noise else None
    if other:
        told += f" Of {task}, weight noise of the size of {twin} leaves {amount(other, 'share')}"
        told += "." if way(results.contrast(least, noise)) else ", not surely another share."
    if node := carrier(results, model, twin, task):
        told += f" Of what {twin} loses of {task}: {node}."
    yield Statement(f"{twin} keeps {amount(least, 'share')} of the gap of {task}", told)


def _tasks(tasks: Sequence[Task]) -> Table:
    rows = tuple(
        (
            task.name,
            running(task.example) or "–",
            str(task.pairs) if task.pairs else "–",
            task.unit if task.pairs else "–",
            task.positions,
            "–" if task.reason is not None else ", ".join(task.circuit),
            task.reason or task.note or "yes",
        )
        for task in tasks
    )
    columns = (
        Column("task"),
        Column("a clean prompt|its answer"),
        Column("pairs", numeric=True),
        Column("score in"),
        Column("positions"),
        Column("circuit of the reference"),
        Column("does the reference do it?"),
    )
    return Table(
        columns,
        rows,
        "The reference does a task where its mean score on clean prompts, and its gap, are surely "
        "above 0; of no other is anything said of twins. Its circuit is the smallest of those that "
        "were tried with 80 % of the gap by itself, chosen on other prompts, or the largest where "
        "none has so much, which is said; 1.2 is head 2 of block 1, both counted from 0.",
    )


def _twins(results: AuditResults, model: str, tasks: Sequence[Task]) -> Table:
    """What is left of every task in every twin, and whether the same nodes matter."""
    rows = []
    for task in tasks:
        for label, who in with_noise(results, model):
            gap = kept(results, model, who, task.name)
            row = [task.name, label, margin(gap, "share")]
            row.append(surely(results.contrast(gap, REFERENCE)) or "–" if gap else "–")
            for patched in PATCHED:
                item = f"{task.name}, {patched}"
                row.append(_number(results, model, who, "agreement", item))
                row.append(_number(results, model, who, "below_ceiling", item))
                row.append(_number(results, model, who, "top_kept", item, "share"))
            rows.append(tuple(row))
    titles = [f"{name}, {way}" for way in PATCHED for name in ("rank", "below ceiling", "top kept")]
    columns = (
        *(Column("task"), Column("compression"), Column("gap kept", numeric=True)),
        *(Column("how sure"), *(Column(title, numeric=True) for title in titles)),
    )
    return Table(
        columns,
        tuple(rows),
        "gap kept: the twin's gap over the reference's, 100 % when intact, 0 when the task is "
        "gone. rank: Spearman correlation of all nodes' effects in reference and twin on the same "
        "prompts, 1 when intact, 0 for permuted nodes. below ceiling: how much less the two agree "
        "across halves of the prompts than the reference agrees with itself, 0 when intact. top "
        "kept: of the tenth of nodes with the largest effect, how many are the twin's too.",
    )


def _number(
    results: AuditResults, model: str, who: str, metric: str, item: str, unit: str = ""
) -> str:
    return margin(results.find(model, who, f"causal.{metric}", site="", item=item), unit)


def _nodes(results: AuditResults, model: str, who: str, task: str) -> list[Row]:
    rows = results.table(model, who, "causal", "circuit_nodes")
    return [row for row in rows if row["task"] == task]


def _scatter(
    results: AuditResults, model: str, tasks: Sequence[Task], marks: Marks
) -> Iterator[Figure]:
    strips = []
    for task in tasks:
        panels = []
        for twin in results.measured(model):
            noise = results.noise(model, twin.compression)
            names = [twin.compression, *([noise] if noise else [])]
            shown = {name: _nodes(results, model, name, task.name) for name in names}
            for patched in PATCHED:
                panel = against(f"{twin.compression}, {patched}", shown, patched, marks)
                panels += [panel] if panel else []
        if panels:
            told = (
                f"ceiling of the ranks: {_ranks(results, model, task.name, 'ceiling')}; "
                f"attribution against them: {_ranks(results, model, task.name, 'first_cut')}"
            )
            strips.append(Strip(f"{task.name}; {told}", tuple(panels)))
    if strips:
        yield Figure(
            name=f"{results.prefix(model)}circuits-effects",
            title="What every node does in the twin against what it does in the reference",
            key=(
                "Each mark is a head or an MLP: its share of the reference's gap across, of the "
                "twin's own gap up, with 95 % intervals. Hollow grey: the same under weight noise "
                "of the same size. Dashed: intact."
            ),
            strips=tuple(strips),
            caption=(
                "Effects are shares of each model's own gap, so that a twin that does the task "
                "less in all parts alike stays on the dashed line. The ceiling is the rank "
                "correlation of the reference's own effects on two halves of the prompts; "
                "attribution is what gradients say of the nodes shown, without a run each."
            ),
            controls=beside(results, model),
            across=across(max(len(strip.panels) for strip in strips)),
        )


def _ranks(results: AuditResults, model: str, task: str, metric: str) -> str:
    """A rank correlation of the reference's, both ways; it is the same for every twin."""
    first = results.measured(model)[0].compression
    items = {way: f"{task}, {way}, reference" for way in PATCHED}
    rows = {
        way: results.find(model, first, f"causal.{metric}", site="", item=item)
        for way, item in items.items()
    }
    return ", ".join(f"{way} {amount(row)}" for way, row in rows.items() if row) or "not measured"


def _blocks(results: AuditResults, model: str, tasks: Sequence[Task]) -> Iterator[Figure]:
    strips = []
    for task in tasks:
        for twin in results.measured(model):
            rows = _nodes(results, model, twin.compression, task.name)
            panels = [
                by_block("noising, reference", rows, "noising_reference", circuit=True),
                by_block("noising, twin", rows, "noising_twin", circuit=True),
                by_block("repaired", rows, "repaired", circuit=False),
            ]
            shown = tuple(panel for panel in panels if panel)
            strips += [Strip(f"{task.name}, {twin.compression}", shown)] if shown else []
    if strips:
        yield Figure(
            name=f"{results.prefix(model)}circuits-blocks",
            title="The circuit block by block, and which node repairs the twin",
            key=(
                "Left and middle: the share of a model's gap that a node's corrupt value takes "
                "away; framed, the reference's circuit; crossed, nodes of it whose effect in the "
                "twin is surely less than half, held against the circuit's nodes at once. Right: "
                "the share of the lost gap that comes back where the twin is given the reference's "
                "value of the node. Teal is above nought, brown below."
            ),
            strips=tuple(strips),
            caption=(
                "Where there is no right chart the twin's gap is not surely another than the "
                "reference's: nothing is lost that a node could carry. A node that is repaired "
                "need not be damaged itself: its value also holds what came before it. What its "
                "own weights lose stands in the table."
            ),
            across=3,
        )


def _faithful(results: AuditResults, model: str, tasks: Sequence[Task]) -> Part:
    """The reference's circuit in both models, beside other circuits of its size."""
    rows = []
    for task in tasks:
        for label, who in with_noise(results, model):
            found = results.everywhere(model, who, "causal.faithfulness")
            start = f"{task.name}, "
            kinds = dict.fromkeys(
                row["item"].removeprefix(start).rpartition(", ")[0]
                for row in found
                if row["item"].startswith(start)
            )
            for kind in kinds:
                by = (f"{task.name}, {kind}, {side}" for side in ("reference", "twin"))
                rows.append(
                    (
                        task.name,
                        label,
                        kind,
                        *(_number(results, model, who, "faithfulness", i, "share") for i in by),
                        *(
                            _number(results, model, who, name, f"{task.name}, {side}")
                            if kind == "own"
                            else ""
                            for name in ("cpr", "cmd")
                            for side in ("reference", "twin")
                        ),
                    )
                )
    titles = [f"in the {side}" for side in ("reference", "twin")]
    titles += [f"{area}, {side}" for area in ("CPR", "CMD") for side in ("reference", "twin")]
    columns = (
        *(Column("task"), Column("compression"), Column("nodes")),
        *(Column(title, numeric=True) for title in titles),
    )
    return Details(
        "The reference's circuit by itself",
        (
            Table(
                columns,
                tuple(rows),
                "Faithfulness: the share of a model's own gap that a circuit gives by itself, "
                "every other node having its value on the corrupt prompt; 0 where all "
                "have. own: the reference's circuit of the task; drawn: as many nodes by chance, "
                "drawn once; of ...: as many of another task's, of that which shares fewest nodes "
                "with it. CPR: the area under faithfulness over circuit sizes; CMD: the area "
                "between it and 1, 0 at best. After MIB (arXiv 2504.13151), but over nodes.",
            ),
        ),
    )


def _carrying(results: AuditResults, model: str, tasks: Sequence[Task]) -> Iterator[Details]:
    """Of every twin and task, the nodes that carry most of what is lost."""
    names = ("repaired", "carried", "made")
    for task in tasks:
        for twin in results.measured(model):
            rows = [
                row
                for row in _nodes(results, model, twin.compression, task.name)
                if row["repaired"] is not None
            ]
            if not rows:
                continue
            order = sorted(rows, key=lambda row: -abs(row["repaired"]))[:NODES]
            other = _of_noise(results, model, twin.compression, task.name)
            told = tuple(
                (
                    row["node"],
                    *(margin(_part(row, name), "share") for name in names),
                    *([other.get(row["node"], "–")] if other else []),
                )
                for row in order
            )
            titles = (*names, *(["repaired, noise"] if other else []))
            columns = (Column("node"), *(Column(name, numeric=True) for name in titles))
            yield Details(
                f"What carries the loss of {task.name} in {twin.compression}",
                (
                    Table(
                        columns,
                        told,
                        "repaired: the share of the lost gap that the reference's value of the "
                        "node brings back in the twin, ± for all nodes at once; noise: the same "
                        "of weight noise of the twin's size, of what that loses. "
                        "carried: what the twin's value takes from "
                        "the reference. made: what the node's own weights take there, on the "
                        "reference's input. Shares of different nodes need not add up.",
                    ),
                ),
            )


def _of_noise(results: AuditResults, model: str, twin: str, task: str) -> dict[str, str]:
    """By node, what it repairs of weight noise of a twin's size; none where nothing is lost."""
    noise = results.noise(model, twin)
    rows = _nodes(results, model, noise, task) if noise else []
    return {
        row["node"]: margin(_part(row, "repaired"), "share")
        for row in rows
        if row["repaired"] is not None
    }


def _part(row: Row, name: str) -> Row:
    return {
        "value": row[name],
        "low": row[f"{name}_low"],
        "high": row[f"{name}_high"],
        "reason": None,
    }


@family("Circuits", section="causal", order=45, told="what is left of the tasks' gaps")
def gaps(results: AuditResults, model: str, who: str) -> Iterator[Framed]:
    """What is left of every task that the reference does; 0 where it is gone."""
    for task in tasks_of(results, model):
        if row := kept(results, model, who, task.name):
            yield Framed(row=row, intact=1.0, chance=0.0, where=f"of {task.name}")
