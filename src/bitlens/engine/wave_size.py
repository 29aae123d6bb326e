"""How much a wave may hold, so that it fits and a run that is stopped loses little."""

from dataclasses import dataclass

from bitlens.engine.plan import TokenBatch
from bitlens.models.layout import Layout

WAVES = 10
"""A wave of so small a share of a run may take as long as it likes."""
SECONDS = 100.0
"""Any other takes at most two minutes, were the next as slow as the last."""


@dataclass
class Pace:
    """Tokens of a wave: a tenth of the run's, or what passes in two minutes, whichever is more."""

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


def mask_bytes(layout: Layout, batch: TokenBatch) -> int:
    """Bytes of the attention masks that the blocks are called with, one for each kind of them: of
    truth values where something is padded; where attention hands out its patterns always, of
    numbers in the reference's dtype and in one of 16 bits."""
    rows, length = batch.tokens.shape
    kinds = len(set(getattr(layout.config, "layer_types", None) or ("full_attention",)))
    if layout.config._attn_implementation == "eager":
        return kinds * rows * length * length * (layout.compute.itemsize + 2)
    return kinds * rows * length * length * (batch.mask is not None)
