"""The depth sweep: every stream goes through the model once, block by block, side by side.

All documents of a wave stand at the same depth. A block's weights are read once, compressed once
for each twin and dropped; the reference is computed once for all twins; what is asked for at a
block is handed out when the block runs. Streams that fork from another share its prefix.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bitlens.engine.memory import return_memory
from bitlens.engine.plan import TokenBatch
from bitlens.engine.swept_model import SweptModel
from bitlens.errors import BitlensError
from bitlens.models.block_runner import Block, Intervention
from bitlens.models.layout import Layout
from bitlens.models.shell import Call
from bitlens.models.sites import site

REFERENCE = "reference"

Hidden = dict[tuple[str, int], Tensor]
"""States of a stream and batch between blocks."""


@dataclass(frozen=True)
class ForwardRun:
    """Hidden states on their way through depth and the weights each block is to use."""

    name: str
    source: str
    """The twin (or `reference`) whose blocks it takes."""
    parent: str | None = None
    """The stream it forks from; None: it starts at its source's embedding."""
    start: int = 0
    """The first block it runs itself."""
    stop: int | None = None
    """The block before which it ends; None: it goes on to the logits."""
    own: range | None = None
    """The blocks it takes from its source; None: all it runs."""
    base_model: str = REFERENCE
    """Where the other blocks come from."""
    subset: bool = False
    """True: runs on the seeded subset of the documents only."""
    intervention: Intervention | None = None
    """What is put in place of something, at the positions that count: the others, BOS and padding
    among them, are left alone. Of what attention or MLP adds in the first block it runs; of the
    residual stream, in its parent's states before that block (or before the unembedding)."""

    def weights_at(self, depth: int) -> str:
        return self.source if self.own is None or depth in self.own else self.base_model

    def runs(self, depth: int) -> bool:
        return self.start <= depth and (self.stop is None or depth < self.stop)


@dataclass(frozen=True, eq=False)
class Step:
    """What was asked for at one depth of one batch."""

    batch: TokenBatch
    depth: int
    """-1 for the embedding, the number of blocks for logits."""
    activations: Mapping[str, Mapping[str, Tensor]]
    """By stream and site: `[rows, positions, ...]`; logits `[n, vocabulary]`, computed each time
    they are asked for, because those of all streams at once would not fit."""
    index: Tensor
    """`[n]`: flattened positions to look at; for logits, the rows of the reading in order."""
    again: frozenset[str] = frozenset()
    """Streams that an earlier step of this batch and depth held already: the reference's stand
    beside one twin's after another."""
    shared: dict[str, Any] = field(default_factory=dict)
    """What is made of those, for all steps of the batch and depth."""


@dataclass(frozen=True)
class ReadRequest:
    """Which sites are wanted of which stream."""

    stream: str
    sites: frozenset[str]
    documents: str
    """In batches of which documents."""


class Sweep:
    """Streams of a reference and its twins over batches of tokens.

    `hidden_bytes` bounds the hidden states of a wave; `waves` are the batches so divided,
    `next_wave` is one that begins anywhere and may be bounded besides; `run` yields the Steps of
    one.
    """

    def __init__(
        self,
        layout: Layout,
        twins: Mapping[str, SweptModel],
        streams: Sequence[ForwardRun],
        wishes: Sequence[ReadRequest],
        batches: Sequence[TokenBatch],
        hidden_bytes: int,
        progress: Callable[[int], None] = lambda tokens: None,
    ) -> None:
        self.layout = layout
        self.twins = dict(twins)
        self.streams = list(streams)
        self.batches = list(batches)
        self.progress = progress
        self._wanted: dict[tuple[str, str], set[str]] = {}
        for wish in wishes:
            self._wanted.setdefault((wish.stream, wish.documents), set()).update(wish.sites)
        self.failed: dict[str, str] = {}
        """Twins whose weights could not be made, and why; their streams end there."""
        self.overflowed: dict[str, str] = {}
        """Streams that stopped being finite, and after which site."""
        self._needs = {s.name: self._twins_of(s) for s in streams}
        self.chunk = logits_chunk(layout.vocabulary, layout.config)
        self._room = hidden_bytes

    def _twins_of(self, stream: ForwardRun) -> frozenset[str]:
        """The twins without which a stream cannot run: its own and its parent's."""
        own = {stream.source} if stream.own is None else {stream.source, stream.base_model}
        inherited = self._twins_of(self.stream(stream.parent)) if stream.parent else ()
        return frozenset(own).union(inherited)

    def _lost(self, stream: ForwardRun) -> bool:
        return not self._needs[stream.name].isdisjoint(self.failed)

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
        wave: list[TokenBatch] = []
        room, left = self._room, tokens
        for batch in self.batches[first:]:
            room -= self.hidden_bytes(batch)
            left = None if left is None else left - batch.tokens.numel()
            if wave and (room < 0 or (left is not None and left < 0)):
                break
            wave.append(batch)
        return wave

    def hidden_bytes(self, batch: TokenBatch) -> int:
        """Bytes that a batch keeps between blocks: hidden states of all streams, and masks."""
        kept = [s for s in self.streams if s.stop is None or s.stop - s.start > 1]
        streams = sum(1 for s in kept if batch.subset or not s.subset)
        # One more: the outputs of the block under way stand beside its inputs.
        states = batch.tokens.numel() * self.layout.width * 4 * (streams + 1)
        return states + mask_bytes(self.layout, batch)

    def forwards(self) -> float:
        """How many forwards of one block the sweep costs, in units of one pass through the
        model over all tokens: 1 + twins, and what the forks have to go."""
        total = sum(b.tokens.numel() for b in self.batches)
        blocks = sum(
            batch.tokens.numel()
            for batch in self.batches
            for stream in self.streams
            if batch.subset or not stream.subset
            for depth in range(self.layout.depth)
            if stream.runs(depth)
        )
        return blocks / (total * self.layout.depth)

    @torch.no_grad()
    def run(self, wave: Sequence[TokenBatch]) -> Iterator[Step]:
        """All steps of one wave: depth by depth, at each depth batch by batch."""
        hidden: Hidden = {}
        calls: dict[tuple[str, int], tuple[Call, ...]] = {}
        for batch in wave:
            yield from self._enter(batch, hidden, calls)
        self._release()
        for depth in range(self.layout.depth):
            if not any(stream.runs(depth) for stream in self.streams):
                continue
            blocks = self._blocks(depth)
            for batch in wave:
                yield from self._steps(depth, batch, blocks, hidden, calls)
            # Before the next blocks are made: one block a twin is what fits.
            del blocks
            return_memory()
        for batch in wave:
            yield from self._leave(batch, hidden)
        self._release()

    def _release(self) -> None:
        """What was cast of embeddings and unembeddings is needed at one end of depth only."""
        for twin in self.twins.values():
            twin.release()

    def _steps(
        self,
        depth: int,
        batch: TokenBatch,
        blocks: Mapping[str, Block],
        hidden: Hidden,
        calls: Mapping[tuple[str, int], tuple[Call, ...]],
    ) -> Iterator[Step]:
        """Every stream through one block on one batch: those of the reference, then one twin's
        after another's, because what is read of all at once would not fit."""
        outputs: dict[str, Tensor] = {}

        def read(streams: Sequence[ForwardRun]) -> dict[str, dict[str, Tensor]]:
            activations: dict[str, dict[str, Tensor]] = {}
            for stream in streams:
                source = stream.weights_at(depth)
                states = self._before(stream, depth, batch, hidden)
                call = calls[(self.twins[source].entry_key, batch.number)][depth]
                sites = sorted(s for s in self._sites(stream, batch) if site(s).depth == depth)
                interventions = {}
                if (
                    stream.intervention is not None
                    and stream.start == depth
                    and not stream.intervention.between
                ):
                    interventions = {
                        site(stream.intervention.site).kind: partial(
                            stream.intervention.at, batch.index
                        )
                    }
                found, output = blocks[source](states, call, sites, batch.mask, interventions)
                self._look_for_overflow(stream.name, output, depth, batch)
                outputs[stream.name] = output
                # Blocks may live on several devices; what is read of them comes together on one.
                activations[stream.name] = {s: v.to(batch.tokens.device) for s, v in found.items()}
            self.progress(batch.tokens.numel() * len(activations))
            return activations

        active = self._active(depth, batch)
        by_source: dict[str, list[ForwardRun]] = {}
        for stream in active:
            by_source.setdefault(stream.source, []).append(stream)
        reference = read(by_source.pop(REFERENCE, []))
        again: frozenset[str] = frozenset()
        shared: dict[str, Any] = {}
        for streams in by_source.values() or [[]]:
            activations = reference | read(streams)
            yield Step(batch, depth, activations, batch.index, again, shared)
            del activations
            again = frozenset(reference)
        # Only now: a fork reads its parent's states from before this block.
        for stream in active:
            if stream.stop is None or depth + 1 < stream.stop:
                hidden[(stream.name, batch.number)] = outputs[stream.name]
            else:
                hidden.pop((stream.name, batch.number), None)

    def _before(self, stream: ForwardRun, depth: int, batch: TokenBatch, hidden: Hidden) -> Tensor:
        """A stream's states before a block, or before the unembedding."""
        if stream.parent is None or stream.start != depth:
            return hidden[(stream.name, batch.number)]
        states = hidden[(stream.parent, batch.number)]
        if stream.intervention is None or not stream.intervention.between:
            return states
        return stream.intervention.at(batch.index, states)

    def _look_for_overflow(self, name: str, states: Tensor, depth: int, batch: TokenBatch) -> None:
        """Is a stream still finite? A twin's numbers then have a reason instead of a value;
        without a finite reference there is nothing to compare with."""
        if torch.isfinite(states.sum(dtype=torch.float32)):
            return
        if name == REFERENCE:
            raise _not_finite(states, depth, batch)
        self.overflowed.setdefault(name, f"resid.{depth}")

    def _on(self, batch: TokenBatch) -> list[ForwardRun]:
        """The streams that run on a batch and have lost no twin they need."""
        return [s for s in self.streams if (batch.subset or not s.subset) and not self._lost(s)]

    def _sites(self, stream: ForwardRun, batch: TokenBatch) -> set[str]:
        return self._wanted.get((stream.name, batch.documents), set())

    def _active(self, depth: int, batch: TokenBatch) -> list[ForwardRun]:
        return [s for s in self._on(batch) if s.runs(depth)]

    def _enter(
        self,
        batch: TokenBatch,
        hidden: Hidden,
        calls: dict[tuple[str, int], tuple[Call, ...]],
    ) -> Iterator[Step]:
        """The embedding, once for all twins that share it."""
        entries: dict[str, Tensor] = {}
        for name, twin in self.twins.items():
            if name in self.failed or twin.entry_key in entries:
                continue
            try:
                entry = twin.enter(batch.tokens, batch.mask)
            except BitlensError as error:
                self.failed[name] = str(error)
                continue
            entries[twin.entry_key] = entry.hidden
            calls[(twin.entry_key, batch.number)] = entry.calls
        activations: dict[str, dict[str, Tensor]] = {}
        for stream in self._on(batch):
            if stream.parent is None:
                states = entries[self.twins[stream.source].entry_key]
                hidden[(stream.name, batch.number)] = states
                if "embed" in self._sites(stream, batch):
                    activations[stream.name] = {"embed": states}
        if activations:
            yield Step(batch, -1, activations, batch.index)

    def _leave(self, batch: TokenBatch, hidden: Hidden) -> Iterator[Step]:
        """Logits, a few positions at a time: all positions at once would not fit."""
        streams = [
            s for s in self._on(batch) if s.stop is None and "logits" in self._sites(s, batch)
        ]
        if not streams or not len(batch.logits_index):
            return
        chunk = self.chunk
        states = {
            s.name: self._before(s, self.layout.depth, batch, hidden).flatten(0, 1)[
                batch.logits_index
            ]
            for s in streams
        }
        for stream in streams:
            hidden.pop((stream.name, batch.number), None)
        for begin in range(0, len(batch.logits_index), chunk):
            part = slice(begin, begin + chunk)
            activations = {s.name: _Last(self, s, states[s.name][part]) for s in streams}
            yield Step(batch, self.layout.depth, activations, batch.logits_index[part])

    def logits(self, stream: ForwardRun, states: Tensor) -> Tensor:
        """`[n, width]` after the stream's last block to `[n, vocabulary]`, float32."""
        return self.twins[stream.weights_at(self.layout.depth - 1)].leave(states).float()

    def stream(self, name: str) -> ForwardRun:
        return next(s for s in self.streams if s.name == name)

    def _blocks(self, depth: int) -> dict[str, Block]:
        """This block once for every twin that a stream runs here."""
        needed = {s.weights_at(depth) for s in self.streams if s.runs(depth)}
        weights = self.layout.block(depth)
        blocks = {}
        for name in sorted(needed - self.failed.keys()):
            try:
                blocks[name] = self.twins[name].block(depth, weights)
            except BitlensError as error:
                self.failed[name] = str(error)
        return blocks


def _not_finite(states: Tensor, depth: int, batch: TokenBatch) -> BitlensError:
    broken = (~torch.isfinite(states)).flatten(0, 1).any(dim=1).nonzero().flatten()
    place = int(broken[0]) if len(broken) else 0
    return BitlensError(
        f"The reference's activations are not finite at resid.{depth}, first in document "
        f"{int(batch.document[place])} at token {int(batch.tokens.flatten()[place])} (position "
        f"{int(batch.offset[place])}).",
        "a model that computes finite numbers in this dtype.",
        "--compute float32, and weights that are finite in it.",
    )


def logits_chunk(vocabulary: int, config: Any) -> int:
    """Positions of which logits are held at a time: 24 MB a stream, but no more positions than
    the model reads at once. Fewer would read the unembedding from memory too often."""
    longest = getattr(config, "max_position_embeddings", None) or 1 << 30
    return int(max(8, min((24 << 20) // (4 * vocabulary), longest, 1024)))


def mask_bytes(layout: Layout, batch: TokenBatch) -> int:
    """Of the attention masks that the blocks are called with, one for each kind of them: of truth
    values where something is padded; where attention hands out its patterns always, of numbers in
    the reference's dtype and in one of 16 bits."""
    rows, length = batch.tokens.shape
    kinds = len(set(getattr(layout.config, "layer_types", None) or ("full_attention",)))
    if layout.config._attn_implementation == "eager":
        return kinds * rows * length * length * (layout.compute.itemsize + 2)
    return kinds * rows * length * length * (batch.mask is not None)


class _Last(Mapping[str, Tensor]):
    """Some positions of one stream behind the last block: their states, and logits on demand."""

    def __init__(self, sweep: Sweep, stream: ForwardRun, states: Tensor) -> None:
        self._sweep, self._stream, self._states = sweep, stream, states

    def __getitem__(self, name: str) -> Tensor:
        if name == "final":
            return self._states
        if name == "logits":
            return self._sweep.logits(self._stream, self._states)
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        # Mapping would look by computing.
        return name in ("final", "logits")

    def __iter__(self) -> Iterator[str]:
        return iter(("final", "logits"))

    def __len__(self) -> int:
        return 2
