"""What is said of one twin on one task: metrics, and the rows of the tables that are shown."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bitlens.analyses.causal.circuits import ChosenCircuit, compared
from bitlens.analyses.causal.effects import ModelEffects
from bitlens.analyses.causal.measures import (
    areas,
    faithfulness,
    rank_correlation,
    sizes_of,
    top_overlap,
)
from bitlens.analyses.causal.nodes import circuit_name, cross_names
from bitlens.results.records import MetricResult

Array = np.ndarray
Row = dict[str, Any]
WAYS = ("denoising", "noising")
TOP_SHARE, TOP_LEAST = 10, 3
"""The nodes of largest effect: a tenth of all, three at least."""
CLOSED = "the twin's gap between clean and corrupt prompts is not surely above 0"
FEW = "there are {} nodes: all of them are those of largest effect"
UNMOVED = (
    "the corrupt values of all nodes together, at these positions, do not surely lower the clean "
    "prompts' score: no circuit can be told from another"
)
NOT_LOST = "the gap of the twin is not surely another than the reference's: nothing to carry"


@dataclass(frozen=True, eq=False, kw_only=True)
class TwinFindings:
    """A twin beside its reference on one task that the reference does."""

    reference: ModelEffects
    twin: ModelEffects
    circuits: Mapping[str, ChosenCircuit]
    """Of this task and of the others that the reference does."""
    total: int
    """Nodes of the model, of which circuits have shares."""
    attributions: Array | None
    """`[nodes]`: what the first cut said of each; None where there was none."""
    crossed: bool
    """Whether the twin's nodes were put into the reference, and the other way round."""

    @property
    def task(self) -> str:
        """Which task."""
        return self.reference.task

    @property
    def circuit(self) -> ChosenCircuit:
        """The reference's, of this task."""
        return self.circuits[self.task]

    def metrics(self) -> Iterator[MetricResult]:
        """Everything that is said in one number."""
        yield from self._levels()
        yield from self._agreement()
        yield from self._faithfulness()
        yield from self._nodes()

    def _sides(self) -> Iterator[tuple[str, ModelEffects]]:
        yield "reference", self.reference
        yield "twin", self.twin

    def _levels(self) -> Iterator[MetricResult]:
        weights = self.reference.weights.pairs
        for who, of in self._sides():
            right = (of.scores[self.task, of.model].clean > 0) * 1.0
            share = weights @ right / weights.sum(axis=1)
            for metric, values in (("score", of.base.clean), ("gap", of.base.gap)):
                yield MetricResult(metric, values, item=f"{self.task}, {who}")
            yield MetricResult("right", share, item=f"{self.task}, {who}", chance=0.5)
        kept = self.twin.base.gap / self.reference.base.gap
        yield MetricResult("gap_kept", kept, item=self.task, chance=0.0)

    def _agreement(self) -> Iterator[MetricResult]:
        nodes = len(self.reference.nodes)
        top = min(nodes, max(TOP_LEAST, round(nodes / TOP_SHARE)))
        few = FEW.format(nodes) if top == nodes else None
        pairs: dict[str, tuple[Array, Array]] = {
            way: (getattr(self.reference, way), getattr(self.twin, way)) for way in WAYS
        }
        halved = [of.of_half(first) for _, of in self._sides() for first in (True, False)]
        for n, way in enumerate(WAYS):
            item = f"{self.task}, {way}"
            one, other, twin_one, twin_other = (of[n] for of in halved)
            ceiling = rank_correlation(one, other)
            yield MetricResult("ceiling", ceiling, item=f"{item}, reference")
            overlap = None if few else top_overlap(one, other, top)
            yield MetricResult("top_ceiling", overlap, item=f"{item}, reference", reason=few)
            if self.attributions is not None:
                cut = rank_correlation(self.attributions[None], pairs[way][0])
                yield MetricResult("first_cut", cut, item=f"{item}, reference", chance=0.0)
            if self.twin.closed:
                for metric in ("agreement", "below_ceiling", "top_kept"):
                    yield MetricResult(metric, None, item=item, reason=CLOSED)
                continue
            across = (rank_correlation(one, twin_other) + rank_correlation(other, twin_one)) / 2
            yield MetricResult("agreement", rank_correlation(*pairs[way]), item=item, chance=0.0)
            chance = float(ceiling[0]) if np.isfinite(ceiling[0]) else None
            yield MetricResult("below_ceiling", ceiling - across, item=item, chance=chance)
            kept = None if few else top_overlap(*pairs[way], top)
            yield MetricResult("top_kept", kept, item=item, chance=top / nodes, reason=few)

    @cached_property
    def curves(self) -> dict[str, Array]:
        """By model, the faithfulness of the reference's circuits of all sizes in it, `[sizes,
        replicates]`; of a twin without a gap none."""
        names = [self.circuit.named(size) for size in sizes_of(self.total)]
        return {
            who: np.stack([self._faithful(of, name) for name in names])
            for who, of in self._sides()
            if _unjudged(of) is None
        }

    def _faithful(self, of: ModelEffects, name: str) -> Array:
        return faithfulness(of.base, of.means(circuit_name(of.model, name)), of.none)

    def _faithfulness(self) -> Iterator[MetricResult]:
        why = {who: _unjudged(of) for who, of in self._sides()}
        unknown = why["reference"] or why["twin"]
        for which, name in compared(self.task, self.circuits).items():
            told: dict[str, Array] = {}
            for who, of in self._sides():
                item = f"{self.task}, {which}, {who}"
                if why[who] is not None:
                    yield MetricResult("faithfulness", None, item=item, reason=why[who])
                    continue
                told[who] = self._faithful(of, name)
                yield MetricResult("faithfulness", told[who], item=item)
            item = f"{self.task}, {which}"
            if len(told) == 2:
                change = told["twin"] - told["reference"]
                yield MetricResult("faithfulness_change", change, item=item)
            else:
                yield MetricResult("faithfulness_change", None, item=item, reason=unknown)
        shares = [size / self.total for size in sizes_of(self.total)]
        both = {who: areas(shares, curve) for who, curve in self.curves.items()}
        for n, metric in enumerate(("cpr", "cmd")):
            for who, values in both.items():
                yield MetricResult(metric, values[n], item=f"{self.task}, {who}")
            if unknown is None:
                change = both["twin"][n] - both["reference"][n]
                yield MetricResult(f"{metric}_change", change, item=self.task)
            else:
                yield MetricResult(f"{metric}_change", None, item=self.task, reason=unknown)

    def _nodes(self) -> Iterator[MetricResult]:
        found: dict[str, Array] = {}
        if not self.twin.closed:
            for way in WAYS:
                found[f"{way}_change"] = getattr(self.twin, way) - getattr(self.reference, way)
        if self.crossed and not self.not_lost:
            found |= self.shares_of_loss
        for metric, values in found.items():
            for n, node in enumerate(self.reference.nodes):
                item = ", ".join(filter(None, (self.task, node.item)))
                yield MetricResult(metric, values[:, n], item=item, site=node.site)
        if self.crossed and self.not_lost:
            for metric in ("repaired", "carried", "made"):
                yield MetricResult(metric, None, item=self.task, reason=NOT_LOST)

    @cached_property
    def not_lost(self) -> bool:
        """Whether the two gaps are not surely different, so that no node carries what is lost."""
        loss = self.reference.base.gap - self.twin.base.gap
        low, high = self.reference.weights.bounds(loss[:, None])
        return not (low[0] > 0 or high[0] < 0)

    @cached_property
    def shares_of_loss(self) -> dict[str, Array]:
        """`[replicates, nodes]` each, shares of the reference's gap less the twin's: what the
        reference's value of a node brings back in the twin, what the twin's takes from the
        reference, and what the node's own weights take on the reference's input."""
        whole, left = self.reference.base.gap, self.twin.base.gap
        found: dict[str, list[Array]] = {"repaired": [], "carried": [], "made": []}
        for node in self.reference.nodes:
            put_in, carried, made = cross_names(self.twin.model, node)
            found["repaired"].append(self.twin.means(put_in).gap - left)
            found["carried"].append(whole - self.reference.means(carried).gap)
            found["made"].append(whole - self.reference.means(made).gap)
        return {name: np.stack(of, axis=1) / (whole - left)[:, None] for name, of in found.items()}

    def node_rows(self) -> Iterator[Row]:
        """A row a node: effects in both models and their intervals, what it carries of the loss,
        and whether it is the circuit's and lost. The interval of what it repairs is held against
        all nodes at once."""
        of: dict[str, Array] = {}
        for way in WAYS:
            of[f"{way}_reference"] = getattr(self.reference, way)
            if not self.twin.closed:
                of[f"{way}_twin"] = getattr(self.twin, way)
        if self.crossed and not self.not_lost:
            of |= self.shares_of_loss
        bounds = {name: self.reference.weights.bounds(values) for name, values in of.items()}
        if "repaired" in of:
            nodes = len(self.reference.nodes)
            bounds["repaired"] = self.reference.weights.bounds(of["repaired"], at_once=nodes)
        inside, lost = set(self.circuit.nodes), self.lost
        for n, node in enumerate(self.reference.nodes):
            row: Row = {"task": self.task, "node": node.name, "block": node.block}
            row |= {"head": -1 if node.head is None else node.head}
            row |= {"circuit": node in inside, "lost": bool(lost[n])}
            for name in COLUMNS:
                known = name in of
                row[name] = float(of[name][0, n]) if known else None
                row[f"{name}_low"] = float(bounds[name][0][n]) if known else None
                row[f"{name}_high"] = float(bounds[name][1][n]) if known else None
            yield row

    @cached_property
    def lost(self) -> Array:
        """`[nodes]`: which nodes of the circuit are lost in the twin."""
        inside = set(self.circuit.nodes)
        mine = np.array([node in inside for node in self.reference.nodes])
        halved = _halved(self.reference, self.twin, len(inside))
        return np.asarray(mine & (not self.twin.closed) & halved)

    def curve_rows(self) -> Iterator[Row]:
        """A row a size of the circuit."""
        for n, size in enumerate(sizes_of(self.total)):
            row: Row = {"task": self.task, "nodes": size}
            for who in ("reference", "twin"):
                curve = self.curves.get(who)
                row[who] = None if curve is None else float(curve[n, 0])
            yield row


COLUMNS = (
    *(f"{way}_{who}" for way in WAYS for who in ("reference", "twin")),
    *("repaired", "carried", "made"),
)
"""Of the table of nodes, those with an interval."""


def _unjudged(of: ModelEffects) -> str | None:
    """Why nothing can be said of circuits in a model; None where it can."""
    if of.closed:
        return CLOSED
    return UNMOVED if of.unmoved else None


def _halved(reference: ModelEffects, twin: ModelEffects, at_once: int) -> Array:
    """`[nodes]`: whose effect in the twin, the mean of both ways, is surely less than half of what
    it surely is in the reference, of so many that are looked at."""
    before, after = reference.both, twin.both
    sign = np.sign(before[0])
    low, _ = reference.weights.bounds(before * sign, at_once)
    _, high = reference.weights.bounds((after - before / 2) * sign, at_once)
    return np.asarray((low > 0) & (high < 0))


def absent(task: str, reason: str) -> MetricResult:
    """Of a task that there are no prompts of, or that the reference does not do."""
    return MetricResult("gap_kept", None, item=task, reason=reason)


def columns(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """Rows as columns."""
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}
