"""How much a wave may hold, so that it fits and a run that is stopped loses little."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bitlens.engine.plan import TokenBatch
from bitlens.engine.runs import ForwardRun
from bitlens.models.layout import Layout

WAVES = 10
"""A wave of so small a share of a run may take as long as it likes."""
SECONDS = 300.0
"""Any other takes at most five minutes, were the next as slow as the last. Shorter ones would make
the twins' weights too often, and write down too often what they have."""
BATCH_TOKENS = {"cpu": 1024, "cuda": 16384}


@dataclass
class Pace:
    """Tokens of a wave: a tenth of the run's, or what passes in five minutes, whichever is more."""

    tokens: int
    """Of the whole run."""
    seconds: float | None
    """What a token takes in all: estimated until a wave was timed; None: not known."""

    @property
    def most(self) -> int:
        """Tokens that the next wave may hold."""
        tenth = self.tokens // WAVES
        return max(tenth, int(SECONDS / self.seconds)) if self.seconds else tenth

    def took(self, tokens: int, seconds: float) -> None:
        """A wave of so many tokens took so long."""
        self.seconds = max(seconds, 1e-9) / tokens


def batch_tokens(device: str) -> int:
    """Tokens that run together on a kind of device, `cpu` or `cuda`."""
    return BATCH_TOKENS.get(device, BATCH_TOKENS["cpu"])


def mask_bytes(layout: Layout, batch: TokenBatch) -> int:
    """Bytes of the attention masks that the blocks are called with, one for each kind of them: of
    truth values where something is padded; where attention hands out its patterns always, of
    numbers in the reference's dtype and in one of 16 bits."""
    rows, length = batch.tokens.shape
    kinds = len(set(getattr(layout.config, "layer_types", None) or ("full_attention",)))
    if layout.config._attn_implementation == "eager":
        return kinds * rows * length * length * (layout.compute.itemsize + 2)
    return kinds * rows * length * length * (batch.mask is not None)


def kept_bytes(layout: Layout, batch: TokenBatch, runs: Sequence[ForwardRun]) -> int:
    """Bytes that a batch keeps between blocks: hidden states of these runs, and masks."""
    kept = [run for run in runs if run.stop is None or run.stop - run.start > 1]
    count = sum(1 for run in kept if batch.subset or not run.subset)
    # One more: the outputs of the block under way stand beside its inputs.
    states = batch.tokens.numel() * layout.width * 4 * (count + 1)
    return states + mask_bytes(layout, batch)


def next_wave(
    batches: Sequence[TokenBatch],
    bytes_of: Callable[[TokenBatch], int],
    *,
    room: int,
    tokens: int | None,
) -> list[TokenBatch]:
    """The first batches whose `bytes_of` fit into `room`, of at most so many tokens; at least
    one."""
    wave: list[TokenBatch] = []
    left = tokens
    for batch in batches:
        room -= bytes_of(batch)
        left = None if left is None else left - batch.tokens.numel()
        if wave and (room < 0 or (left is not None and left < 0)):
            break
        wave.append(batch)
    return wave


def block_tokens(batches: Sequence[TokenBatch], runs: Sequence[ForwardRun], depth: int) -> int:
    """How many tokens pass a block, over all batches, runs and the `depth` blocks."""
    return sum(
        batch.tokens.numel()
        for batch in batches
        for run in runs
        if batch.subset or not run.subset
        for block in range(depth)
        if run.covers(block)
    )
