"""A twin's nodes beside the reference's on one task: do the same ones matter, which of them are
lost, and which carry what is lost of the task?"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bitlens.analyses.causal.effects import ModelEffects
from bitlens.analyses.causal.measures import rank_correlation, top_overlap
from bitlens.analyses.causal.nodes import cross_names
from bitlens.results.records import MetricResult
from bitlens.results.shared_names import PATCHED

Array = np.ndarray
Row = dict[str, Any]
TOP_SHARE, TOP_LEAST = 10, 3
"""The nodes of largest effect: a tenth of all, three at least."""
CLOSED = "the twin's gap between clean and corrupt prompts is not surely above 0"
FEW = "there are {} nodes: all of them are those of largest effect"
NOT_LOST = "the gap of the twin is not surely another than the reference's: nothing to carry"
SHARES = ("repaired", "carried", "made")
COLUMNS = (*(f"{way}_{who}" for way in PATCHED for who in ("reference", "twin")), *SHARES)
"""Of the table of nodes, those with an interval."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ComparedNodes:
    """The same nodes of both models: all heads and MLPs, or latents of one SAE."""

    reference: ModelEffects
    twin: ModelEffects
    attributions: Array | None
    """`[nodes]`: what the first cut said of each; None where there was none."""
    crossed: bool
    """Whether the twin's nodes were put into the reference, and the other way round."""
    called: str = ""
    """What they are, where they are not heads and MLPs: `latents of resid.1-topk`."""

    @property
    def task(self) -> str:
        """What numbers on all of them are called: the task, and what they are."""
        return ", ".join(filter(None, (self.reference.task, self.called)))

    def metrics(self) -> Iterator[MetricResult]:
        """Everything that is said in one number, of all of them and of each."""
        yield from self._agreement()
        yield from self._nodes()

    def _agreement(self) -> Iterator[MetricResult]:
        nodes = len(self.reference.nodes)
        top = min(nodes, max(TOP_LEAST, round(nodes / TOP_SHARE)))
        few = FEW.format(nodes) if top == nodes else None
        pairs: dict[str, tuple[Array, Array]] = {
            way: (getattr(self.reference, way), getattr(self.twin, way)) for way in PATCHED
        }
        models = (self.reference, self.twin)
        halved = [of.of_half(first) for of in models for first in (True, False)]
        for n, way in enumerate(PATCHED):
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

    def _nodes(self) -> Iterator[MetricResult]:
        found: dict[str, Array] = {}
        if not self.twin.closed:
            for way in PATCHED:
                found[f"{way}_change"] = getattr(self.twin, way) - getattr(self.reference, way)
        if self.crossed and not self.not_lost:
            found |= self.shares_of_loss
        for metric, values in found.items():
            for n, node in enumerate(self.reference.nodes):
                item = ", ".join(filter(None, (self.reference.task, node.item)))
                yield MetricResult(metric, values[:, n], item=item, site=node.site)
        if self.crossed and self.not_lost:
            for metric in SHARES if self._have_weights else SHARES[:2]:
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
        reference, and what the node's own weights take on the reference's input, where it has
        any."""
        whole, left = self.reference.base.gap, self.twin.base.gap
        found: dict[str, list[Array]] = {name: [] for name in SHARES}
        for node in self.reference.nodes:
            put_in, carried, made = cross_names(self.twin.model, node)
            found["repaired"].append(self.twin.means(put_in).gap - left)
            found["carried"].append(whole - self.reference.means(carried).gap)
            if node.has_weights:
                found["made"].append(whole - self.reference.means(made).gap)
        return {
            name: np.stack(of, axis=1) / (whole - left)[:, None] for name, of in found.items() if of
        }

    def rows(self) -> Iterator[Row]:
        """A row a node: effects in both models and their intervals, and what it carries of the
        loss. The interval of what it repairs is held against all nodes at once."""
        of: dict[str, Array] = {}
        for way in PATCHED:
            of[f"{way}_reference"] = getattr(self.reference, way)
            if not self.twin.closed:
                of[f"{way}_twin"] = getattr(self.twin, way)
        if self.crossed and not self.not_lost:
            of |= self.shares_of_loss
        bounds = {name: self.reference.weights.bounds(values) for name, values in of.items()}
        if "repaired" in of:
            nodes = len(self.reference.nodes)
            bounds["repaired"] = self.reference.weights.bounds(of["repaired"], at_once=nodes)
        for n, node in enumerate(self.reference.nodes):
            row: Row = {"task": self.reference.task, "node": node.name, "block": node.block}
            for name in COLUMNS if self._have_weights else COLUMNS[:-1]:
                known = name in of
                row[name] = float(of[name][0, n]) if known else None
                row[f"{name}_low"] = float(bounds[name][0][n]) if known else None
                row[f"{name}_high"] = float(bounds[name][1][n]) if known else None
            yield row

    def halved(self, at_once: int) -> Array:
        """`[nodes]`: whose effect in the twin, the mean of both ways, is surely less than half of
        what it surely is in the reference, of so many that are looked at."""
        if self.twin.closed:
            return np.zeros(len(self.reference.nodes), dtype=bool)
        weights, before, after = self.reference.weights, self.reference.both, self.twin.both
        sign = np.sign(before[0])
        low, _ = weights.bounds(before * sign, at_once)
        _, high = weights.bounds((after - before / 2) * sign, at_once)
        return np.asarray((low > 0) & (high < 0))

    @property
    def _have_weights(self) -> bool:
        return any(node.has_weights for node in self.reference.nodes)
