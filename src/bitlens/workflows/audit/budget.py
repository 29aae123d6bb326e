"""The memory that a sweep takes at its peak, and what is left of it for hidden states.

Added up beforehand from shapes, part by part, each at its largest. What grows with the text is
the hidden states, which waves bound, samples as long as there are fewer positions than they hold,
and the tokens themselves.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bitlens.engine.accumulators import Accumulator
from bitlens.engine.activations import EVERYTHING, ActivationPair, Activations
from bitlens.engine.comparisons import Comparison, forward_runs
from bitlens.engine.plan import Plan, TokenBatch
from bitlens.engine.runs import REFERENCE
from bitlens.engine.sweep import logits_chunk
from bitlens.engine.wave_size import mask_bytes
from bitlens.errors import CapacityError
from bitlens.models.expert_routing import EXPERTS, ROUTER
from bitlens.models.layout import Layout
from bitlens.models.load import WEIGHTS_SHARE
from bitlens.models.paired_block import HALF
from bitlens.models.sites import WRITTEN, site
from bitlens.models.written import written_width
from bitlens.report.text.numbers import size
from bitlens.sae.sae import Sae

FLOAT = 4
"""Bytes of a number that is computed with."""
WORK = 256 << 20
"""Bytes that Python, its libraries and their buffers take besides. With 192 MiB, a run of 257,715
tokens was seen 62 MB above what was said of it."""
WORD = 512
"""Bytes of a token of the vocabulary: its text, in the tokenizer and in Python."""
COPIES = 4
"""Float copies of a group of matrices while it is compressed."""
LOGITS = 8
"""Copies of a chunk of logits where most are alive: of the reference logits, log-probabilities and
probabilities, of the twin the first two; and as many as three under way (a difference of
log-probabilities, a branch's, a softcap, or what chance is beside a lens)."""
ROWS = 3
"""Copies of what is kept of positions: as they came, in order, and as they are written."""
ORDERED = 48
"""Bytes of a position while those that are kept of one comparison are put in order."""
PATTERNS = 8
"""Copies of a batch's attention: scores, masked and softened; of two runs, and what lies between
them."""


@dataclass(frozen=True)
class MemoryBudget:
    """Bytes at the peak of a sweep, by what takes them; hidden states apart."""

    parts: Mapping[str, int]
    smallest: int
    """Bytes of the hidden states of one batch, below which no wave goes."""
    on_disk: int = 0
    """Bytes of weights that lie on disk: they lie in memory where much more of it is allowed."""

    @property
    def taken(self) -> int:
        """All parts together."""
        return sum(self.parts.values())

    @property
    def least(self) -> int:
        """What has to be allowed, with one batch a wave."""
        least = self.taken + self.smallest
        whole = self.parts.get("weights", 0) + self.on_disk
        return least + self.on_disk if whole <= WEIGHTS_SHARE * least else least

    def room(self, memory: int) -> int:
        """Bytes left for the hidden states of a wave."""
        return max(0, memory - self.taken)

    def said(self, hidden: int, already: int) -> str:
        """Expected at the peak: each part, hidden states of a wave with them. `already`: bytes
        that the process held before the model was loaded."""
        parts = {**self.parts, "hidden states": hidden}
        named = ", ".join(f"{name} {size(n)}" for name, n in parts.items() if n >= 5e6)
        return (
            f"Memory, at its peak about {size(self.taken + hidden)} beside the {size(already)} "
            f"that Python and its libraries hold already: {named}."
        )

    def require(self, memory: int, model: str, text: str) -> None:
        """BitlensError where the memory allowed, as `text`, is less than the least that works."""
        if self.taken + self.smallest <= memory:
            return
        largest = sorted(self.parts.items(), key=lambda part: -part[1])[:3]
        raise CapacityError(
            f"--memory {text} is too little to audit {model}: "
            f"{', '.join(f'{name} {size(n)}' for name, n in largest)}.",
            f"{size(self.least)} or more beside what Python and its libraries hold already, with "
            "one batch a wave.",
            f"--memory {-(-self.least // 10**6)}MB, fewer compressions or a shorter --context.",
        )


def budget(
    layout: Layout,
    wanted: Sequence[Comparison],
    plan: Plan,
    saes: Sequence[Sae] = (),
    shells: int = 0,
    on_disk: int = 0,
) -> MemoryBudget:
    """What a sweep for these comparisons takes. `shells`: bytes of embeddings and unembeddings
    that twins have of their own; `on_disk`: of weights that are read from there."""
    read = {c.read for c in wanted}
    batches = [b for b in plan.batches if b.documents in read]
    twins = len({run.model for run in forward_runs(wanted)} - {REFERENCE})
    depths = _held(layout, wanted, plan, batches)
    parts = {
        "weights": _weights(layout) + sum(_bytes(sae) for sae in saes),
        "blocks": _blocks(layout, twins, on_disk > 0),
        "embeddings": layout.shell.parameters.cast_bytes + shells,
        "a batch": max(_batch(layout, wanted, b) for b in batches),
        "logits": _logits(layout, wanted),
        "accumulators": _accumulators(depths),
        "samples": _samples(layout, wanted, plan) + _rows(depths) + _kept(wanted),
        "tokens": sum(b.tokens.numel() for b in plan.batches) * 80,
        "room to work": WORK + WORD * layout.vocabulary,
    }
    return MemoryBudget(parts, max(hidden_bytes(layout, wanted, b) for b in batches), on_disk)


def hidden_bytes(layout: Layout, wanted: Sequence[Comparison], batch: TokenBatch) -> int:
    """Bytes of the hidden states of one batch, counted like `Sweep.hidden_bytes`."""
    running = [run for run in forward_runs(wanted) if batch.subset or not run.subset]
    kept = sum(1 for s in running if s.stop is None or s.stop - s.start > 1)
    states = batch.tokens.numel() * layout.width * FLOAT * (kept + 1)
    return states + mask_bytes(layout, batch)


def _bytes(sae: Sae) -> int:
    tensors = (sae.w_enc, sae.w_dec, sae.w_gate)
    return sum(t.numel() * t.element_size() for t in tensors if t is not None)


def _weights(layout: Layout) -> int:
    """Those that lie in memory."""
    own = {id(p): p for p in layout.model.parameters() if p.device.type != "meta"}
    return sum(p.numel() * p.element_size() for p in own.values())


def _blocks(layout: Layout, twins: int, offloaded: bool) -> int:
    """A block of every twin, the reference's where it is not what lies in memory, and what making
    one takes."""
    block = max(sum(p.numel() for p in b.parameters()) for b in layout.blocks)
    used = layout.compute.itemsize
    own = twins + (offloaded or layout.compute != layout.dtype)
    stored = block * layout.dtype.itemsize * offloaded
    groups = (
        sum(m.weight.numel() for m in group)
        for group in layout.maps(0, {n: p.detach() for n, p in layout.blocks[0].named_parameters()})
    )
    if layout.paired:
        # The reference's as it is, and the twin under way; of each twin what it differs by, and
        # what that is multiplied with.
        halves = block * HALF.itemsize * (twins + (layout.dtype != HALF))
        return halves + 2 * block * used + stored + COPIES * FLOAT * max(groups, default=0)
    return block * used * own + stored + COPIES * FLOAT * max(groups, default=0)


def _batch(layout: Layout, wanted: Sequence[Comparison], batch: TokenBatch) -> int:
    """What a block computes with, what is read of it, and all runs' outputs."""
    rows, length = batch.tokens.shape
    outputs = sum(
        min(p.shape) if p.ndim == 2 else p.shape[-1] for p in layout.blocks[0].parameters()
    )
    wide = max((max(p.shape) for p in layout.blocks[0].parameters()), default=0)
    work = rows * length * FLOAT * (outputs + 4 * wide + 12 * layout.width)
    work += rows * length * FLOAT * layout.width * len(forward_runs(wanted))
    if layout.paired:
        # What the reference multiplied, and what came of it.
        work += rows * length * FLOAT * sum(sum(p.shape) for p in _dense(layout))
    if any(site(name).kind == WRITTEN for c in wanted for name in c.sites):
        # Of the reference, and of one twin as it runs and on the reference's input.
        work += 3 * rows * length * FLOAT * written_width(layout)
    heads = int(getattr(layout.config, "num_attention_heads", 1))
    if layout.config._attn_implementation == "eager":
        return work + PATTERNS * rows * heads * length * length * FLOAT
    # Of a chunk of queries what they attend to.
    return work + rows * length * length


def _dense(layout: Layout) -> list[Tensor]:
    return [p for p in layout.blocks[0].parameters() if p.ndim == 2]


def _logits(layout: Layout, wanted: Sequence[Comparison]) -> int:
    """A few positions at a time; through a lens fewer positions at all sites, with the last
    position of every twin."""
    chunk = logits_chunk(layout.vocabulary, layout.config)
    held = [chunk * LOGITS for c in wanted if "logits" in c.sites]
    lenses = [c for c in wanted if c.request.through_unembedding]
    for sites in {len(c.sites) for c in lenses}:
        held.append(max(1, chunk // sites) * sites * LOGITS + sites * len(lenses))
    return max(held, default=0) * layout.vocabulary * FLOAT


def _kept(wanted: Sequence[Comparison]) -> int:
    """What analyses keep of every position: of every twin, of the reference, and of two once more,
    as one twin's are put in order."""
    sizes = [c.analysis.kept_bytes for c in wanted]
    return sum(sizes) + 3 * max(sizes, default=0)


@dataclass(frozen=True)
class _Held:
    """What the accumulator of one comparison at one site holds."""

    sums: int = 0
    """Bytes, as many for one position as for any number."""
    rows: int = 0
    """Positions that it keeps."""
    row: int = 0
    """Bytes of each."""
    documents: int = 0
    """Bytes of the sums of every document."""


def _held(
    layout: Layout, wanted: Sequence[Comparison], plan: Plan, batches: Sequence[TokenBatch]
) -> dict[int, list[_Held]]:
    """By depth, every accumulator there."""
    depths: dict[int, list[_Held]] = {}
    known: dict[tuple[str, str, str], _Held] = {}
    for c in wanted:
        for name in () if c.request.through_unembedding else c.sites:
            kind = name if c.request.beside_local else site(name).kind
            key = (c.analysis.name, c.documents, kind)
            if key not in known:
                known[key] = _accumulated(layout, c, name, plan=plan, batches=batches)
            depth = layout.depth if name == "logits" else site(name).depth
            depths.setdefault(depth, []).append(known[key])
    return depths


def _accumulators(depths: Mapping[int, Sequence[_Held]]) -> int:
    """Sums of the depth that has most: once of all parts before, once of the part under way, once
    as they are written or finished; and once more those of the comparison under way."""
    most = max((sum(kept.sums for kept in here) for here in depths.values()), default=0)
    return 3 * most + max((kept.sums for here in depths.values() for kept in here), default=0)


def _rows(depths: Mapping[int, Sequence[_Held]]) -> int:
    """Positions whose own numbers are kept, and documents, at the depth that has most."""
    here = (sum(k.rows * k.row + k.documents for k in kept) for kept in depths.values())
    most = max(here, default=0)
    ordered = max((kept.rows for here in depths.values() for kept in here), default=0)
    return ROWS * most + ORDERED * ordered


@torch.no_grad()
def _accumulated(
    layout: Layout, c: Comparison, name: str, *, plan: Plan, batches: Sequence[TokenBatch]
) -> _Held:
    """What the accumulator of one comparison at one site holds, told from a single position."""
    batch = next((b for b in batches if b.documents == c.read and len(b.logits_index)), None)
    if batch is None:
        return _Held()
    at = plan.positions_of(batch, batch.logits_index[:1], c.documents)
    values = _one_position(layout, name).to(layout.device)
    index = torch.zeros(1, dtype=torch.int64, device=layout.device)

    def activations() -> Activations:
        return Activations(values, index if values.ndim == 4 else None)

    sampled: list[int] = []

    def threshold(size: int) -> int:
        sampled.append(size)
        return EVERYTHING

    branches = {
        who: c.of_branches.reduce_branch(activations(), at, activations()) for who in c.branches
    }
    alone = activations() if name in c.alone else None
    pair = ActivationPair(
        site=name,
        item=c.item,
        reference=activations(),
        twin=activations(),
        positions=at,
        threshold=threshold,
        branches=branches,
        alone=alone,
    )
    accumulator = c.analysis.update(pair)
    row = _size(Accumulator(rows=accumulator.rows))
    document = _size(Accumulator(documents=accumulator.documents))
    keys = plan.sets[c.documents].keys
    positions = len(keys.predicting if name == "logits" else keys.counted)
    return _Held(
        sums=_size(accumulator) - row - document,
        rows=min(max(sampled, default=0), positions),
        row=row,
        documents=document * len(plan.sets[c.documents].shard),
    )


def _one_position(layout: Layout, name: str) -> Tensor:
    """Of the shape of what is read at one position of a site."""
    heads = int(getattr(layout.config, "num_attention_heads", 1))
    if name == "logits":
        return torch.zeros(1, layout.vocabulary)
    place = layout.block_layouts[site(name).depth].routing if "." in name else None
    if place and site(name).kind in (ROUTER, EXPERTS):
        return place.blank(site(name).kind, layout.width)
    shapes = {"pattern": (1, heads, 1, 1), WRITTEN: (1, heads, 1)}
    return torch.zeros(shapes.get(site(name).kind, (1, layout.width)))


def _size(accumulator: Accumulator) -> int:
    return sum(t.numel() * t.element_size() for t in accumulator.tensors().values())


def _samples(layout: Layout, wanted: Sequence[Comparison], plan: Plan) -> int:
    """Sampled positions of every run at one depth; of a lens, at all of them."""
    heads = int(getattr(layout.config, "num_attention_heads", 1))
    longest = max(b.tokens.shape[1] for b in plan.batches)
    lens: dict[str, int] = {}
    rows: dict[int, dict[tuple[str, int, str], int]] = {}
    for c in wanted:
        positions = len(plan.sets[c.documents].keys.counted)
        for run in c.runs:
            if c.request.through_unembedding:
                size = min(c.request.sample.of(positions), positions)
                lens[run] = size * layout.width * len(c.sites)
            elif c.request.sample.most:
                size = min(c.request.sample.most, positions)
                wide = heads * longest if c.reads_patterns else layout.width
                if any(site(name).kind == WRITTEN for name in c.sites):
                    wide = written_width(layout)
                key = (run, c.request.sample.most, c.documents)
                depths = Counter(layout.depth if s == "logits" else site(s).depth for s in c.sites)
                for depth, sites in depths.items():
                    here = rows.setdefault(depth, {})
                    here[key] = max(size * wide * sites, here.get(key, 0))
    at_once = max((sum(here.values()) for here in rows.values()), default=0)
    # Of one site, products of every two positions besides.
    most = max(len(of.keys.counted) for of in plan.sets.values())
    largest = min(
        most, max(0 if c.request.through_unembedding else c.request.sample.most for c in wanted)
    )
    return FLOAT * (sum(lens.values()) + at_once + 8 * largest**2)
