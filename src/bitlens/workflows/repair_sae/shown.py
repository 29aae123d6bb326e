"""A repair as a table, and the record that is kept of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated, Any, Literal

from pydantic import Field

from bitlens.analyses.features.survival import SURVIVED
from bitlens.report.page.parts import Column, Table
from bitlens.report.text.few import sayable
from bitlens.report.text.numbers import amount, figure, margin
from bitlens.results.counts import count
from bitlens.results.manifest_schema import Content
from bitlens.results.records import Estimate
from bitlens.sae.repair.repair import STEPS, UNREPAIRED, Repaired
from bitlens.workflows.repair_sae.measured import LOSS_CHANGE, Numbers

SHOWN = {
    "survived": ("features", "survived", ""),
    "recovered": ("", "recovered", ""),
    "median r": ("features", "r", ""),
    "concordance": ("features", "concordance", ""),
    "F1": ("features", "firing_f1", ""),
    "FVU": ("features", "fvu", ", twin"),
    "loss recovered": ("transfer", "loss_recovered", ", twin"),
}
"""Columns: title to analysis, metric and the end of the item."""
Name = Literal["as it is", "gain and offset", "linear map", "fine-tuned"]
"""A step of the repair: one of `STEPS`."""
_SHARES = {"survived", "recovered", "fvu", "loss_recovered"}


class RepairDocuments(Content):
    """Documents that were learnt from or measured on."""

    name: str
    documents: int
    tokens: int
    sha256: str


class Read(Content):
    """The SAE as it was."""

    label: str
    fingerprint: str


class StepRecord(Content):
    """What a step of the repair is worth."""

    error: Annotated[float, Field(alias="calibration error")]
    evaluation: dict[str, Estimate]


class Lost(Content):
    """Latents of features that were lost, and what became of them."""

    repaired: tuple[int, ...]
    left: Annotated[tuple[int, ...], Field(alias="not repaired")]
    by_it: Annotated[tuple[int, ...], Field(alias="lost by the repair")]


class RepairRecord(Content):
    """What is written beside the SAE."""

    bitlens: str
    model: str
    reference: str
    twin: str
    origin: dict[str, str]
    sae: Read
    site: str
    seed: int
    finetune: bool
    calibration: RepairDocuments
    evaluation: RepairDocuments
    chosen: Name
    steps: dict[Name, StepRecord]
    latents: Lost
    readable: dict[str, float | None]


@dataclass(frozen=True, eq=False, kw_only=True)
class Repair:
    """What is to be written and shown."""

    made: Repaired
    numbers: dict[str, Numbers]
    """By step."""
    lost: dict[str, list[int]]
    """Latents that were lost and are back, that are lost all the same, and that were not lost
    before."""
    readable: dict[str, float | None]
    """By what became of lost latents, repaired or not: the median of how well a linear reading of
    the twin tells them."""
    facts: dict[str, Any]


def record(found: Repair) -> dict[str, Any]:
    """What is written beside the SAE."""
    steps = {
        step.name: {"calibration error": step.error, "evaluation": found.numbers[step.name]}
        for step in found.made.steps
    }
    return {
        "bitlens": version("bitlens"),
        **found.facts,
        "chosen": found.made.best.name,
        "steps": steps,
        "latents": found.lost,
        "readable": found.readable,
    }


def table(found: Mapping[str, Any]) -> Table:
    """What the record of a repair says: a row a step; what was repaired and what was not below."""
    rows = []
    for name in sorted(found["steps"], key=STEPS.index):
        step = found["steps"][name]
        numbers = step["evaluation"]
        cells = []
        for analysis, metric, who in SHOWN.values():
            full = f"{analysis}.{metric}{who}" if analysis else metric
            unit = "share" if metric in _SHARES else ""
            row = numbers.get(full)
            cells.append(margin(row and sayable(row), unit))
        chosen = " (chosen)" if name == found["chosen"] else ""
        rows.append((f"{name}{chosen}", figure(step["calibration error"]), *cells))
    titles = ("calibration error", *SHOWN)
    columns = (Column("step"), *(Column(title, numeric=True) for title in titles))
    return Table(columns, tuple(rows), "\n".join(_said(found)))


def _said(found: Mapping[str, Any]) -> list[str]:
    lost, best = found["latents"], found["chosen"]
    back, left = len(lost["repaired"]), len(lost["not repaired"])
    lines = [
        f"On {count(found['evaluation']['documents'], 'document')} that nothing was learnt from or "
        "chosen by; ± is the longer half of the 95 % interval over documents. recovered: share of "
        f"the lost survival (r > {SURVIVED:g}) had back. FVU and loss recovered are the twin's."
    ]
    if best == UNREPAIRED:
        lines.append("No step makes the codes more alike: the SAE is written as it is.")
    else:
        lines.append(
            f"Of {count(back + left, 'lost feature')}, {back:,} are back by the {best}; "
            f"{left:,} are not, {len(lost['lost by the repair']):,} were lost by it."
        )
    lines += _lowered(found)
    for name, r in found["readable"].items():
        if r is not None:
            lines.append(
                f"{name}: the best linear reading of the twin tells these features' pre-activation "
                f"with a median r of {r:.2f} on held-out calibration documents."
            )
    lines.append(
        "A gain and an offset change a feature's strength and when it fires, not how it orders "
        "positions: they mend concordance and F1, and r only as far as firings decide it."
    )
    return lines


def _lowered(found: Mapping[str, Any]) -> list[str]:
    """The steps after which less of the twin's loss is recovered, whatever became of survival."""
    lowered = []
    for step in sorted(found["steps"], key=STEPS.index):
        change = found["steps"][step]["evaluation"].get(LOSS_CHANGE.name)
        if change is not None and (change["value"] or 0) < 0:
            points = {k: 100 * v if isinstance(v, float) else v for k, v in sayable(change).items()}
            lowered.append(f"{amount(points, 'points')} by the {step}")
    if not lowered:
        return []
    return [
        f"Loss recovered changes from the SAE as it is: {', '.join(lowered)}. Codes more like the "
        "reference's need not be those that serve the twin best."
    ]
