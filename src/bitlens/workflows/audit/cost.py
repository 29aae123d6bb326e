"""What a sweep will cost: its work in forwards, operations and time, told before it starts."""

from dataclasses import dataclass
from typing import Self

from bitlens.engine.sweep import Sweep
from bitlens.models.layout import Layout

MEASURING = 1.5
"""A forward and all that is measured of it, in forwards: `benchmarks/sweep.py`."""


@dataclass(frozen=True, kw_only=True)
class SweepCost:
    """The work of a sweep, all models and branches together."""

    parameters: int
    """How many the reference has."""
    tokens: int
    """Padding included; after a kill, of the batches that are left."""
    forwards: float
    """How often a token passes as many blocks as the reference has."""
    seconds_per_token: float | None
    """What one forward takes; None: not known."""

    @classmethod
    def of(cls, sweep: Sweep, layout: Layout, seconds_per_token: float | None) -> Self:
        """The cost of a sweep that has not begun."""
        return cls(
            parameters=sum(p.numel() for p in layout.model.parameters()),
            tokens=sum(batch.tokens.numel() for batch in sweep.batches),
            forwards=sweep.forwards(),
            seconds_per_token=seconds_per_token,
        )

    @property
    def seconds(self) -> float | None:
        """What a token takes through everything that is run and measured; None: not known."""
        if self.seconds_per_token is None:
            return None
        return MEASURING * self.forwards * self.seconds_per_token

    @property
    def said(self) -> str:
        """The work in words, with about how long it takes where that is known."""
        work = 2 * self.parameters * self.tokens * self.forwards
        return (
            f"{self._about}{self.forwards:.1f} forwards' worth of work ({work / 1e12:,.1f} TFLOP)"
        )

    @property
    def _about(self) -> str:
        if self.seconds_per_token is None:
            return ""
        seconds = 1.3 * self.tokens * self.forwards * self.seconds_per_token
        about = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
        return f"about {about}: "
