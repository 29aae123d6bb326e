"""The depth sweep: every run goes through the model once, block by block, side by side.

All documents of a wave stand at the same depth. A block's weights are read once, compressed once
for each twin and dropped; the reference is computed once for all twins; what is asked for at a
block is handed out when the block runs. Runs that branch off from another share its prefix.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bitlens.engine.interventions import Intervention, positions_of
from bitlens.engine.memory import return_memory
from bitlens.engine.plan import TokenBatch
from bitlens.engine.runs import REFERENCE, ForwardRun, SiteRequest, in_groups, models_of
from bitlens.engine.swept_model import SweptModel
from bitlens.engine.wave_size import block_tokens, kept_bytes, next_wave
from bitlens.errors import BitlensError, ModelError
from bitlens.models.block_runner import Block
from bitlens.models.layout import Layout
from bitlens.models.shell import Call
from bitlens.models.sites import site

Hidden = dict[tuple[str, int], Tensor]
"""States between blocks, by run and batch."""
Calls = dict[tuple[str, int], tuple[Call, ...]]
"""What every block is called with besides, by entry key and batch."""
Progress = Callable[[int], None]
"""Is told how many tokens have passed another block."""


def silent(tokens: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Step:
    """What was asked for at one depth of one batch."""

    batch: TokenBatch
    depth: int
    """-1 for the embedding, the number of blocks for logits."""
    activations: Mapping[str, Mapping[str, Tensor]]
    """By run and site: `[rows, positions, ...]`; logits `[n, vocabulary]`, computed each time
    they are asked for, because those of all runs at once would not fit."""
    index: Tensor
    """`[n]`: flattened positions to look at; for logits, the rows in order."""
    again: frozenset[str] = frozenset()
    """Runs that an earlier step of this batch and depth held already: the reference's stand
    beside one twin's after another."""
    shared: dict[str, Any] = field(default_factory=dict)
    """What is made of those, for all steps of the batch and depth."""


class Sweep:
    """Runs of a reference and its twins over batches of tokens.

    `hidden_bytes` bounds the hidden states of a wave; `waves` are the batches so divided,
    `next_wave` is one that begins anywhere and may be bounded besides; `run` yields the Steps of
    one. BitlensError for runs that cannot stand side by side (`in_groups`).
    """

    def __init__(
        self,
        layout: Layout,
        models: Mapping[str, SweptModel],
        runs: Sequence[ForwardRun],
        requests: Sequence[SiteRequest],
        batches: Sequence[TokenBatch],
        hidden_bytes: int,
    ) -> None:
        self.layout = layout
        self.models = dict(models)
        self.runs = list(runs)
        self.batches = list(batches)
        self._by_name = {run.name: run for run in runs}
        self._groups = in_groups(runs, layout.depth)
        self._wanted: dict[tuple[str, str], set[str]] = {}
        for request in requests:
            wanted = self._wanted.setdefault((request.run, request.documents), set())
            wanted.update(request.sites)
        self.failed: dict[str, str] = {}
        """Twins whose weights could not be made, and why; their runs end there."""
        self.overflowed: dict[str, str] = {}
        """Runs that stopped being finite, and after which site."""
        self._needs = {run.name: models_of(run, self._by_name) for run in runs}
        self.chunk = logits_chunk(layout.vocabulary, layout.config)
        self._room = hidden_bytes

    @property
    def waves(self) -> list[list[TokenBatch]]:
        """All batches, in waves that are bounded by memory alone."""
        return self.split()

    def split(self, tokens: int | None = None) -> list[list[TokenBatch]]:
        """All batches, in waves of at most so many tokens."""
        waves: list[list[TokenBatch]] = []
        done = 0
        while done < len(self.batches):
            waves.append(self.next_wave(done, tokens))
            done += len(waves[-1])
        return waves

    def next_wave(self, first: int, tokens: int | None = None) -> list[TokenBatch]:
        """Batches from the one at `first` on whose hidden states fit the budget, of at most so
        many tokens; at least one."""
        return next_wave(self.batches[first:], self.hidden_bytes, room=self._room, tokens=tokens)

    def hidden_bytes(self, batch: TokenBatch) -> int:
        """Bytes that a batch keeps between blocks: hidden states of all runs, and masks."""
        return kept_bytes(self.layout, batch, self.runs)

    def forwards(self) -> float:
        """How many forwards of one block the sweep costs, in units of one pass through the
        model over all tokens: 1 + twins, and what the branches have to go."""
        total = sum(b.tokens.numel() for b in self.batches)
        return block_tokens(self.batches, self.runs, self.layout.depth) / (
            total * self.layout.depth
        )

    @torch.no_grad()
    def run(self, wave: Sequence[TokenBatch], progress: Progress = silent) -> Iterator[Step]:
        """All steps of one wave: depth by depth, at each depth batch by batch."""
        hidden: Hidden = {}
        calls: Calls = {}
        for batch in wave:
            yield from self._enter(batch, hidden, calls)
        self._release()
        for depth in range(self.layout.depth):
            if not any(run.covers(depth) for run in self.runs):
                continue
            blocks = self._blocks(depth)
            for batch in wave:
                yield from _BlockPass(self, depth, batch, hidden).steps(blocks, calls, progress)
            # Before the next blocks are made: one block a twin is what fits.
            del blocks
            return_memory()
        for batch in wave:
            yield from self._leave(batch, hidden)
        self._release()

    def _release(self) -> None:
        """What was cast of embeddings and unembeddings is needed at one end of depth only."""
        for model in self.models.values():
            model.release()

    def before(self, run: ForwardRun, depth: int, batch: TokenBatch, hidden: Hidden) -> Tensor:
        """A run's states before a block, or before the unembedding."""
        if run.parent is None or run.start != depth:
            return hidden[(run.name, batch.number)]
        states = hidden[(run.parent, batch.number)]
        for intervention in run.on_entry():
            given = self._given(intervention, depth, batch, hidden)
            states = _changed(intervention, batch, given, states)
        return states

    def _given(
        self, intervention: Intervention, depth: int, batch: TokenBatch, hidden: Hidden
    ) -> Tensor | None:
        """The states before a block of the run that an intervention takes from."""
        if intervention.source is None:
            return None
        return self.before(self.named(intervention.source), depth, batch, hidden)

    def on(self, batch: TokenBatch, group: str | None = None) -> list[ForwardRun]:
        """The runs, of one group or of all, that read a batch and have lost no twin they need."""
        runs = self.runs if group is None else self._groups[group]
        return [
            run
            for run in runs
            if (batch.subset or not run.subset) and self._needs[run.name].isdisjoint(self.failed)
        ]

    @property
    def groups(self) -> list[str]:
        """Models whose runs go through a block together, the reference first."""
        return list(self._groups)

    def sites(self, run: ForwardRun, batch: TokenBatch) -> set[str]:
        """What is wanted of a run on a batch."""
        return self._wanted.get((run.name, batch.documents), set())

    def _enter(self, batch: TokenBatch, hidden: Hidden, calls: Calls) -> Iterator[Step]:
        """The embedding, once for all twins that share it."""
        entries: dict[str, Tensor] = {}
        for name, model in self.models.items():
            if name in self.failed or model.entry_key in entries:
                continue
            try:
                entry = model.enter(batch.tokens, batch.mask)
            except BitlensError as error:
                self.failed[name] = str(error)
                continue
            entries[model.entry_key] = entry.hidden
            calls[(model.entry_key, batch.number)] = entry.calls
        for group in self.groups:
            for run in self.on(batch, group):
                if run.parent is None:
                    states = entries[self.models[run.model].entry_key]
                    for intervention in run.on_entry():
                        given = self._given(intervention, 0, batch, hidden)
                        states = _changed(intervention, batch, given, states)
                    hidden[(run.name, batch.number)] = states
        activations = {
            run.name: {"embed": hidden[(run.name, batch.number)]}
            for run in self.on(batch)
            if run.parent is None and "embed" in self.sites(run, batch)
        }
        if activations:
            yield Step(batch=batch, depth=-1, activations=activations, index=batch.index)

    def _leave(self, batch: TokenBatch, hidden: Hidden) -> Iterator[Step]:
        """Logits, a few positions at a time: all positions at once would not fit."""
        runs = [r for r in self.on(batch) if r.stop is None and "logits" in self.sites(r, batch)]
        if not runs or not len(batch.logits_index):
            return
        states = {
            run.name: self.before(run, self.layout.depth, batch, hidden).flatten(0, 1)[
                batch.logits_index
            ]
            for run in runs
        }
        for run in runs:
            hidden.pop((run.name, batch.number), None)
        for begin in range(0, len(batch.logits_index), self.chunk):
            part = slice(begin, begin + self.chunk)
            activations = {r.name: _Last(self, r.name, states[r.name][part]) for r in runs}
            yield Step(
                batch=batch,
                depth=self.layout.depth,
                activations=activations,
                index=batch.logits_index[part],
            )

    def logits(self, run: str, states: Tensor) -> Tensor:
        """`[n, width]` after the last block of a run, by name, to `[n, vocabulary]`, float32."""
        last = self.named(run).model_at(self.layout.depth - 1)
        return self.models[last].leave(states).float()

    def named(self, name: str) -> ForwardRun:
        """The run of this name."""
        return self._by_name[name]

    def _blocks(self, depth: int) -> dict[str, Block]:
        """This block once for every model that a run uses here."""
        needed = {run.model_at(depth) for run in self.runs if run.covers(depth)}
        weights = self.layout.block(depth)
        blocks = {}
        for name in sorted(needed - self.failed.keys()):
            try:
                blocks[name] = self.models[name].block(depth, weights)
            except BitlensError as error:
                self.failed[name] = str(error)
        return blocks


class _BlockPass:
    """All runs through one block on one batch: those of the reference, then one twin's after
    another's, because what is read of all at once would not fit."""

    def __init__(self, sweep: Sweep, depth: int, batch: TokenBatch, hidden: Hidden) -> None:
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
        found, output = blocks[model](states, call, sorted(wanted | taken), batch.mask, changes)
        for intervention in run.after(depth):
            given = self._outputs[intervention.source] if intervention.source else None
            output = _changed(intervention, batch, given, output)
            if intervention.site in found:
                found[intervention.site] = output
        self._given |= {(run.name, name): found[name] for name in taken}
        self._look_for_overflow(run.name, output)
        self._outputs[run.name] = output
        # Blocks may live on several devices; what is read of them comes together on one.
        return {name: found[name].to(batch.tokens.device) for name in sorted(wanted)}

    def _inside(self, run: ForwardRun) -> dict[str, Callable[[Tensor], Tensor]]:
        """By kind of site, what becomes of it in this block: interventions one after another."""
        changes: dict[str, list[Callable[[Tensor], Tensor]]] = {}
        for intervention in run.inside(self._depth):
            given = None
            if intervention.source is not None:
                given = self._given[(intervention.source, intervention.site)]
            change = partial(_changed, intervention, self._batch, given)
            changes.setdefault(site(intervention.site).kind, []).append(change)
        return {kind: partial(_in_turn, of_kind) for kind, of_kind in changes.items()}

    def _look_for_overflow(self, name: str, states: Tensor) -> None:
        """Is a run still finite? A twin's numbers then have a reason instead of a value;
        without a finite reference there is nothing to compare with."""
        if torch.isfinite(states.sum(dtype=torch.float32)):
            return
        if name == REFERENCE:
            raise _not_finite(states, self._depth, self._batch)
        self._sweep.overflowed.setdefault(name, f"resid.{self._depth}")


def _changed(
    intervention: Intervention, batch: TokenBatch, given: Tensor | None, value: Tensor
) -> Tensor:
    return intervention.at(positions_of(batch, intervention.positions), value, given)


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


def logits_chunk(vocabulary: int, config: Any) -> int:
    """Positions of which logits are held at a time: 24 MB a run, but no more positions than
    the model reads at once. Fewer would read the unembedding from memory too often."""
    longest = getattr(config, "max_position_embeddings", None) or 1 << 30
    return int(max(8, min((24 << 20) // (4 * vocabulary), longest, 1024)))


class _Last(Mapping[str, Tensor]):
    """Some positions of one run behind the last block: their states, and logits on demand."""

    def __init__(self, sweep: Sweep, run: str, states: Tensor) -> None:
        self._sweep, self._run, self._states = sweep, run, states

    def __getitem__(self, name: str) -> Tensor:
        if name == "final":
            return self._states
        if name == "logits":
            return self._sweep.logits(self._run, self._states)
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        # Mapping would look by computing.
        return name in ("final", "logits")

    def __iter__(self) -> Iterator[str]:
        return iter(("final", "logits"))

    def __len__(self) -> int:
        return 2
