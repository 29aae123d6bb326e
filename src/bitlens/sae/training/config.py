"""Settings of the training of an SAE: what decides about it besides the activations."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bitlens.errors import InputError

Kind = Literal[
    "standard", "topk", "batchtopk", "gated", "jumprelu", "seed-plain", "seed-gated"
]  # fmt: skip
"""How it is trained: a BatchTopK one is a JumpReLU one afterwards."""
Schedule = Literal["constant", "cosine", "linear"]
"""The rate after its warm-up. linear: constant, and down to zero over the last part."""
SEEDS = ("seed-plain", "seed-gated")
"""Those of earlier studies as they were, faults included; see `losses`."""
WITH_K = ("topk", "batchtopk")


@dataclass(frozen=True, kw_only=True)
class SaeTrainingConfig:
    """Everything the result depends on besides the activations."""

    architecture: Kind
    latents: int
    k: int = 32
    """topk: latents kept at a position; batchtopk: on average over a batch."""
    penalty: float = 0.0
    """standard and gated: of the sum of codes, beside the squared error of activations scaled to
    a mean square of 1 a dimension. jumprelu: of the number of latents that fire, beside the share
    of the mean square left. seed-plain: of the mean code, beside the mean squared error."""
    steps: int = 3000
    batch: int = 2048
    rate: float = 3e-3
    schedule: Schedule = "linear"
    warm_up: float = 0.05
    """Share of the steps in which the rate, and the penalty twice as slowly, rise."""
    decay: float = 0.3
    """linear: share of the steps at the end in which the rate falls to zero."""
    dead_after: int = 200_000
    """Positions without firing after which a latent counts as dead."""
    auxiliary: float = 1 / 32
    """topk and batchtopk: weight of the dead latents' own loss."""
    resamplings: tuple[float, ...] = (0.2, 0.35, 0.5)
    """standard, gated and jumprelu: when dead latents are begun anew, as shares of the steps."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.latents < 1:
            raise InputError(
                f"An SAE is to have {self.latents} latents.", "at least one latent.", "--width 8x"
            )
        if self.architecture in WITH_K and not 1 <= self.k <= self.latents:
            raise InputError(
                f"k is {self.k}, of {self.latents:,} latents.",
                f"from 1 to {self.latents:,}.",
                "another --k, or a larger --width.",
            )
        for name, value, option in (
            ("learning rate", self.rate, "--lr 0.001"),
            ("number of steps", self.steps, "--epochs 1"),
            ("batch", self.batch, "2048 positions"),
        ):
            if not 0 < value < math.inf:
                raise InputError(f"The {name} is {value}.", "more than 0.", option)
        if not 0 <= self.penalty < math.inf:
            raise InputError(f"The penalty is {self.penalty}.", "0 or more.", "--l1 1")

    def rate_at(self, step: int) -> float:
        """Up to the full rate, and on by the schedule."""
        done = step / self.steps
        rising = (step + 1) / max(1.0, self.warm_up * self.steps)
        if self.schedule == "cosine":
            return self.rate * min(1.0, rising) * (1 + math.cos(math.pi * done)) / 2
        falling = (self.steps - step) / max(1.0, self.decay * self.steps)
        return self.rate * min(1.0, rising, falling if self.schedule == "linear" else 1.0)

    def penalty_at(self, step: int) -> float:
        """Up to the full penalty, twice as slowly as the rate."""
        return self.penalty * min(1.0, (step + 1) / max(1.0, 2 * self.warm_up * self.steps))


def steps_of(sizes: Sequence[int], batch: int) -> list[int]:
    """By chunk of so many positions, the steps in which each of them is learnt from once."""
    return [max(1, size // batch) for size in sizes]
