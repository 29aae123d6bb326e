"""The depth sweep: every run goes through the model once, block by block, side by side.

All documents of a wave stand at the same depth. A block's weights are read once, compressed once
for each twin and dropped; the reference is computed once for all twins; what is asked for at a
block is handed out when the block runs. Runs that branch off from another share its prefix.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bitlens.engine.block_pass import BlockPass
from bitlens.engine.depth_blocks import blocks_at, let_be_written
from bitlens.engine.expert_weights import ExpertErrors, expert_errors
from bitlens.engine.interventions import Intervention
from bitlens.engine.memory import return_memory
from bitlens.engine.plan import TokenBatch
from bitlens.engine.runs import ForwardRun, SiteRequest, in_groups, models_of
from bitlens.engine.step import Calls, Hidden, Progress, Step, silent
from bitlens.engine.swept_model import SweptModel
from bitlens.engine.wave_size import block_tokens, kept_bytes, next_wave
from bitlens.errors import BitlensError
from bitlens.models.expert_routing import EXPERTS
from bitlens.models.layout import Layout
from bitlens.models.sites import WRITTEN


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
        self._group_of = {run.name: name for name, of in self._groups.items() for run in of}
        self._wanted: dict[tuple[str, str], set[str]] = {}
        for request in requests:
            wanted = self._wanted.setdefault((request.run, request.documents), set())
            wanted.update(request.sites)
        self.failed: dict[str, str] = {}
        """Twins whose weights could not be made, and why; their runs end there."""
        self.overflowed: dict[str, str] = {}
        """Runs that stopped being finite, and after which site."""
        self.expert_errors: ExpertErrors = {}  # where what experts add is read
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
            needed = {run.model_at(depth) for run in self.runs if run.covers(depth)}
            models = {name: self.models[name] for name in sorted(needed - self.failed.keys())}
            blocks = blocks_at(self.layout, depth, models, self.failed)
            if any(f"{WRITTEN}.{depth}" in sites for sites in self._wanted.values()):
                let_be_written(blocks, self.layout)
            if any(f"{EXPERTS}.{depth}" in sites for sites in self._wanted.values()):
                self.expert_errors |= expert_errors(blocks, depth)
            for batch in wave:
                yield from BlockPass(self, depth, batch, hidden).steps(blocks, calls, progress)
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
            states = intervention.on_batch(batch, given, states)
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

    def group(self, run: str) -> str:
        """The group of a run, by name."""
        return self._group_of[run]

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
                        states = intervention.on_batch(batch, given, states)
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
