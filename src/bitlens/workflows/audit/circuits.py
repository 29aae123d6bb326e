"""The cells of the causal analysis: prompts of tasks, read by sweeps of their own.

Which runs are made is known only when the reference's circuits are chosen, so that they cannot ride
in the sweep of the texts.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bitlens.analyses.causal.analysis import Causal
from bitlens.analyses.causal.compared_nodes import ComparedNodes
from bitlens.analyses.causal.experiment import Experiment, PatchedOutcome
from bitlens.analyses.causal.findings import TwinFindings, absent, columns
from bitlens.analyses.causal.nodes import Node
from bitlens.analyses.causal.scores import Room
from bitlens.data.circuit_tasks.prompts import TaskPrompts, Vocabulary
from bitlens.data.circuit_tasks.tasks import NAMES, asked, made
from bitlens.engine.runs import REFERENCE
from bitlens.engine.swept_model import SweptModel
from bitlens.results.counts import count
from bitlens.results.records import DetailTable, MetricResult, Value, overflow
from bitlens.workflows.session import Session

TABLES = ("circuit_nodes", "circuit_sizes", "circuit_latents", "circuit_saes")
NOT_ENOUGH = "yes, but no circuit that was tried gives 80 % by itself: the largest is named"


def prompts_of(session: Session) -> tuple[TaskPrompts, ...]:
    """The prompts of the tasks that a study names, or of all that are known; what a tokenizer has
    no prompts of is there with its reason. BitlensError for a file that does not fit."""
    vocabulary = Vocabulary(
        session.loaded.tokenizer, session.study.bos, session.context, session.layout.vocabulary
    )
    names = session.study.tasks or NAMES
    found = tuple(made(asked(text), vocabulary, session.seed) for text in names)
    for task in found:
        if task.reason is not None:
            session.log(f"Task {task.task}: left out, {task.reason}.")
        elif task.note:
            session.log(f"Task {task.task}: {task.note}.")
    return found


@dataclass(frozen=True, eq=False, kw_only=True)
class CircuitCells:
    """What was found of every twin."""

    values: Mapping[str, list[Value]]
    tables: Mapping[str, list[DetailTable]]
    failed: Mapping[str, str]
    """Twins whose weights could not be made, and why."""


def circuits(
    session: Session,
    analysis: Causal,
    twins: Mapping[str, SweptModel],
    crossed: Collection[str],
    room: Room,
) -> CircuitCells:
    """Measure every twin on every task that the reference does. `crossed`: those whose nodes are
    put into the reference, and the other way round."""
    experiment = Experiment(
        layout=session.layout,
        twins=twins,
        crossed=crossed,
        saes=analysis.saes,
        room=room,
        method=session.study.interval,
        seed=session.seed,
    )
    outcome = experiment.outcome(analysis.tasks)
    present = [task.task for task in analysis.tasks if task.task in outcome.circuits]
    patched, total = len(outcome.nodes), count(outcome.total, "node")
    session.log(
        f"Circuits: {patched} of {total} put in place, on the tasks that the reference does: "
        f"{', '.join(present) or 'none'}."
    )
    if analysis.saes and present:
        session.log(_about_latents(outcome))
    found = {
        twin: _of_twin(analysis.tasks, outcome, twin, crossed=twin in crossed)
        for twin in twins
        if twin not in outcome.failed
    }
    return CircuitCells(
        values={twin: values for twin, (values, _) in found.items()},
        tables={twin: tables for twin, (_, tables) in found.items()},
        failed=outcome.failed,
    )


def _of_twin(
    tasks: Sequence[TaskPrompts], outcome: PatchedOutcome, twin: str, *, crossed: bool
) -> tuple[list[Value], list[DetailTable]]:
    values: list[Value] = []
    rows: dict[str, list[dict[str, object]]] = {name: [] for name in TABLES}
    told: list[dict[str, object]] = []
    broken = outcome.overflowed.get(twin)
    for task in tasks:
        findings = None
        undone = task.reason or _absent(outcome, task.task)
        reason = undone
        if reason is None and broken is not None:
            reason = overflow(broken)
        if reason is None:
            findings = _findings(outcome, task.task, twin, crossed=crossed)
            rows["circuit_nodes"] += findings.node_rows()
            rows["circuit_sizes"] += findings.curve_rows()
            rows["circuit_latents"] += findings.latent_rows()
            rows["circuit_saes"] += _about_saes(outcome, task.task)
        results = findings.metrics() if findings else iter([absent(task.task, reason or "")])
        values += _values(results, len(task.scoring))
        # Of the reference alone: that this twin overflows leaves the task to the others.
        told.append(_about(task, outcome, undone))
    tables = [DetailTable("circuit_tasks", columns(told))]
    tables += [DetailTable(name, columns(of)) for name, of in rows.items() if of]
    return values, tables


def _findings(outcome: PatchedOutcome, task: str, twin: str, *, crossed: bool) -> TwinFindings:
    """Of one twin, on a task that the reference does."""
    first = outcome.attributions.get(task)

    def nodes(of: Sequence[Node], said: np.ndarray | None, called: str = "") -> ComparedNodes:
        return ComparedNodes(
            reference=outcome.effects(task, REFERENCE, of),
            twin=outcome.effects(task, twin, of),
            attributions=said,
            crossed=crossed,
            called=called,
        )

    return TwinFindings(
        nodes=nodes(outcome.nodes, first.nodes if first else None),
        latents={
            label: nodes(
                of,
                first.latents[label][[latent.number for latent in of]] if first else None,
                f"latents of {label}",
            )
            for label, of in outcome.latents.items()
        },
        circuits=outcome.circuits,
        total=outcome.total,
    )


def _about_saes(outcome: PatchedOutcome, task: str) -> Iterator[dict[str, object]]:
    """A row an SAE: how many of its latents fire on a task's prompts, and how many were put in
    place."""
    for label, fired in outcome.attributions[task].fired.items() if outcome.attributions else ():
        put = len(outcome.latents.get(label, ()))
        yield {"task": task, "sae": label, "fired": fired, "put": put}


def _about_latents(outcome: PatchedOutcome) -> str:
    """The line of the log on latents."""
    if not outcome.attributions:
        return (
            "Latents of SAEs: left out. Which to put in place is chosen by gradients, which take "
            "the weights of all blocks in memory: a larger --memory."
        )
    told = ", ".join(f"{len(of)} of {label}" for label, of in outcome.latents.items())
    return (
        f"Latents of SAEs put in place: {told or 'none, none fires otherwise on the two prompts'}."
    )


def _absent(outcome: PatchedOutcome, task: str) -> str | None:
    why = outcome.absent.get(task)
    return None if why is None else f"not present in the reference: {why}"


def _about(task: TaskPrompts, outcome: PatchedOutcome, reason: str | None) -> dict[str, object]:
    """A row of the table of tasks."""
    circuit = outcome.circuits.get(task.task)
    short = "" if circuit is None or circuit.enough else NOT_ENOUGH
    example = task.scoring[0].shown if task.scoring else ""
    return {
        "task": task.task,
        "pairs": len(task.scoring),
        "unit": task.unit,
        "positions": task.at,
        "example": example,
        "circuit": [node.name for node in circuit.nodes] if circuit else [],
        "reason": reason,
        "note": "; ".join(filter(None, (task.note, short))),
    }


def _values(found: Iterator[MetricResult], pairs: int) -> Iterator[Value]:
    for one in found:
        values, reason = one.values, one.reason
        if values is not None and not np.isfinite(values).all():
            values, reason = None, "not finite for every replicate"
        yield Value(
            metric=one.metric,
            site=one.site,
            item=one.item,
            value=None if values is None else float(values[0]),
            replicates=() if values is None else tuple(values[1:].tolist()),
            chance=one.chance if values is not None else None,
            documents=pairs,
            reason=reason if values is None else None,
        )
