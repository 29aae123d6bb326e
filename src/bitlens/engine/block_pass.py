"""The pass of all runs through one block on one batch, and the steps that come of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bitlens.engine.plan import TokenBatch
from bitlens.engine.runs import REFERENCE, ForwardRun
from bitlens.engine.step import Calls, Hidden, Progress, Step
from bitlens.errors import BitlensError, ModelError
from bitlens.models.block_runner import Block
from bitlens.models.paired_block import PairedBlock, Products, recorded
from bitlens.models.sites import site

if TYPE_CHECKING:
    from bitlens.engine.sweep import Sweep


class BlockPass:
    """All runs through one block on one batch: those of the reference, then one twin's after
    another's, because what is read of all at once would not fit."""

    def __init__(self, sweep: "Sweep", depth: int, batch: TokenBatch, hidden: Hidden) -> None:
        self._sweep, self._depth, self._batch, self._hidden = sweep, depth, batch, hidden
        self._outputs: dict[str, Tensor] = {}
        active = [run for run in sweep.on(batch) if run.covers(depth)]
        self._taken: dict[str, set[str]] = {}
        """By run, the sites inside the block that others take from it."""
        for run in active:
            for intervention in run.inside(depth):
                if intervention.source is not None:
                    self._taken.setdefault(intervention.source, set()).add(intervention.site)
        self._given: dict[tuple[str, str], Tensor] = {}
        """What is taken, by run and site."""
        self._products: Products = {}
        """Those of the reference, where twins multiply only what they differ by."""

    def steps(
        self, blocks: Mapping[str, Block], calls: Calls, progress: Progress
    ) -> Iterator[Step]:
        """A step for every twin, with the reference's runs in each."""
        batch, depth = self._batch, self._depth
        active = {
            group: [run for run in self._sweep.on(batch, group) if run.covers(depth)]
            for group in self._sweep.groups
        }
        twins = [runs for group, runs in active.items() if runs and group != REFERENCE]

        def read(runs: Sequence[ForwardRun]) -> dict[str, dict[str, Tensor]]:
            activations = {run.name: self._through(run, blocks, calls) for run in runs}
            progress(batch.tokens.numel() * len(activations))
            return activations

        reference = read(active[REFERENCE])
        again: frozenset[str] = frozenset()
        shared: dict[str, Any] = {}
        for runs in twins or [[]]:
            activations = reference | read(runs)
            yield Step(
                batch=batch,
                depth=depth,
                activations=activations,
                index=batch.index,
                again=again,
                shared=shared,
            )
            del activations
            again = frozenset(reference)
        # Only now: a branch reads its parent's states from before this block.
        for run in (run for runs in active.values() for run in runs):
            if run.stop is None or depth + 1 < run.stop:
                self._hidden[(run.name, batch.number)] = self._outputs[run.name]
            else:
                self._hidden.pop((run.name, batch.number), None)

    def _through(
        self, run: ForwardRun, blocks: Mapping[str, Block], calls: Calls
    ) -> dict[str, Tensor]:
        """What is asked for of one run here; its output is kept."""
        batch, depth = self._batch, self._depth
        model = run.model_at(depth)
        states = self._sweep.before(run, depth, batch, self._hidden)
        call = calls[(self._sweep.models[model].entry_key, batch.number)][depth]
        wanted = {s for s in self._sweep.sites(run, batch) if site(s).depth == depth}
        taken = self._taken.get(run.name, set())
        changes = self._inside(run)
        block = blocks[model]
        if isinstance(block, PairedBlock):
            block.products = self._products
        with self._recording(run, blocks):
            found, output = block(states, call, sorted(wanted | taken), batch.mask, changes)
        for intervention in run.after(depth):
            given = self._outputs[intervention.source] if intervention.source else None
            output = intervention.on_batch(batch, given, output)
            if intervention.site in found:
                found[intervention.site] = output
        self._given |= {(run.name, name): found[name] for name in taken}
        self._look_for_overflow(run.name, output)
        self._outputs[run.name] = output
        # Blocks may live on several devices; what is read of them comes together on one.
        return {name: found[name].to(batch.tokens.device) for name in sorted(wanted)}

    def _recording(self, run: ForwardRun, blocks: Mapping[str, Block]) -> Any:
        """Keeps what the reference multiplies, if a twin's block is to be set beside it."""
        if run.name != REFERENCE or not any(isinstance(b, PairedBlock) for b in blocks.values()):
            return nullcontext()
        return self._record(blocks[REFERENCE])

    @contextmanager
    def _record(self, block: Block) -> Iterator[None]:
        with recorded(block, self._batch.tokens.numel()) as self._products:
            yield

    def _inside(self, run: ForwardRun) -> dict[str, Callable[[Tensor], Tensor]]:
        """By kind of site, what becomes of it in this block: interventions one after another."""
        changes: dict[str, list[Callable[[Tensor], Tensor]]] = {}
        for intervention in run.inside(self._depth):
            given = None
            if intervention.source is not None:
                given = self._given[(intervention.source, intervention.site)]
            change = partial(intervention.on_batch, self._batch, given)
            changes.setdefault(site(intervention.site).kind, []).append(change)
        return {kind: partial(_in_turn, of_kind) for kind, of_kind in changes.items()}

    def _look_for_overflow(self, name: str, states: Tensor) -> None:
        """Is a run still finite? A twin's numbers then have a reason instead of a value;
        without a finite reference there is nothing to compare with."""
        if torch.isfinite(states.sum(dtype=torch.float32)):
            return
        if name == REFERENCE:
            raise _not_finite(states, self._depth, self._batch)
        known = self._sweep.overflowed.get(name)
        # Waves, and parts summed up elsewhere, come in no order of depth.
        if known is None or site(known).depth > self._depth:
            self._sweep.overflowed[name] = f"resid.{self._depth}"


def _in_turn(changes: Sequence[Callable[[Tensor], Tensor]], value: Tensor) -> Tensor:
    for change in changes:
        value = change(value)
    return value


def _not_finite(states: Tensor, depth: int, batch: TokenBatch) -> BitlensError:
    broken = (~torch.isfinite(states)).flatten(0, 1).any(dim=1).nonzero().flatten()
    place = int(broken[0]) if len(broken) else 0
    return ModelError(
        f"The reference's activations are not finite at resid.{depth}, first in document "
        f"{int(batch.document[place])} at token {int(batch.tokens.flatten()[place])} (position "
        f"{int(batch.offset[place])}).",
        "a model that computes finite numbers in this dtype.",
        "--compute float32, and weights that are finite in it.",
    )
