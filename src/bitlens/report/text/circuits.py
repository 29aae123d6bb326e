"""The sentence on circuits: which tasks a twin does less, and which node carries it."""

from collections.abc import Iterator
from dataclasses import dataclass

from bitlens.report.audit_results import AuditResults, Row
from bitlens.report.registration import sentence
from bitlens.report.text.differences import tested, way
from bitlens.report.text.doubts import Claim, claim
from bitlens.report.text.numbers import amount
from bitlens.results.records import REFERENCE


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task as it was asked for."""

    name: str
    pairs: int
    unit: str
    positions: str
    example: str
    circuit: tuple[str, ...]
    """The reference's nodes, those of largest effect first."""
    reason: str | None
    """Why nothing was measured of it."""
    note: str


def tasks_of(results: AuditResults, model: str) -> list[Task]:
    """The tasks of a model, in the order they were asked for; none where none was."""
    for twin in results.measured(model):
        if rows := results.table(model, twin.compression, "causal", "circuit_tasks"):
            return [
                Task(**{**row, "circuit": tuple(row["circuit"])})
                for row in ({"name": row.pop("task"), **row} for row in map(dict, rows))
            ]
    return []


def kept(results: AuditResults, model: str, who: str, task: str) -> Row | None:
    """What share of the reference's gap is left."""
    return results.find(model, who, "causal.gap_kept", site="", item=task)


def carrier(results: AuditResults, model: str, who: str, task: str) -> str:
    """`mlp 3 alone repairs 53 % [40, 66] of it`: the node that repairs most of what is lost, and
    how much, its interval held against all nodes at once because it was picked of them; empty
    where none surely repairs anything."""
    rows = [
        row
        for row in results.table(model, who, "causal", "circuit_nodes")
        if row["task"] == task and (row["repaired_low"] or 0) > 0
    ]
    if not rows:
        return ""
    most = max(rows, key=lambda row: row["repaired"])
    name = f"head {most['node']}" if most["head"] >= 0 else str(most["node"])
    ends = {"low": most["repaired_low"], "high": most["repaired_high"]}
    return f"{name} alone repairs {amount({'value': most['repaired'], **ends}, 'share')} of it"


@sentence(order=95)
def tasks_kept(results: AuditResults, model: str, name: str) -> Iterator[Claim]:
    """Of every task that the twin surely does less than the reference: what is left of it, and
    which node repairs most."""
    noise = results.noise(model, name)
    for task in tasks_of(results, model):
        row = kept(results, model, name, task.name)
        if row is None or way(results.contrast(row, REFERENCE)) != "less":
            continue
        lost = [
            node["node"]
            for node in results.table(model, name, "causal", "circuit_nodes")
            if node["task"] == task.name and node["lost"]
        ]
        nodes = f"; lost from its circuit: {', '.join(lost)}" if lost else ""
        node = carrier(results, model, name, task.name)
        repaired = f"; {node}" if node else ""
        other = kept(results, model, noise, task.name) if noise else None
        beside = f", under noise {amount(other, 'share')}" if other else ""
        contrast = tested(results.contrast(row, noise), "share")
        yield claim(
            f"keeps {amount(row, 'share')} of the gap of {task.name}{beside}{contrast}"
            f"{nodes}{repaired}",
            twins=(noise,),
        )
