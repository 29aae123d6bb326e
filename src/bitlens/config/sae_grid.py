"""A grid of SAEs: lists of settings to training configurations, everything refused before a model
is loaded."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from bitlens.errors import InputError
from bitlens.sae.training.config import SEEDS, WITH_K, Kind, SaeTrainingConfig, Schedule, steps_of

K, RATE, SEED_RATE = 32, 5e-3, 1e-3
PENALTIES: dict[str, float] = {
    "standard": 2.5,
    "gated": 4.0,
    "jumprelu": 0.02,
    "seed-plain": 1e-3,
}
"""Where --l1 does not say. The seed's is its own; the others leave some tens of latents firing
in small models."""
WIDEST, NARROWEST = 256.0, 1 / 64
"""Times the model's width: beyond, a number of latents is taken for a slip."""


@dataclass(frozen=True, kw_only=True)
class SaeGrid:
    """SAEs of one architecture at one place: every width with every penalty (or k) and seed."""

    site: str
    architecture: Kind = "topk"
    widths: tuple[str, ...] = ("8x",)
    penalties: tuple[float, ...] = ()
    ks: tuple[int, ...] = ()
    seeds: tuple[int, ...] = (0,)
    rate: float | None = None
    epochs: int = 5
    schedule: Schedule | None = None
    patience: int = 0
    held_out: float = 0.1

    def __post_init__(self) -> None:
        kind = self.architecture
        if self.ks and kind not in WITH_K:
            raise InputError(
                f"--k says nothing about {kind} SAEs.", f"{' or '.join(WITH_K)}.", "--l1"
            )
        if self.penalties and kind not in PENALTIES:
            raise InputError(
                f"--l1 says nothing about {kind} SAEs.",
                f"one of {', '.join(PENALTIES)}.",
                "--k" if kind in WITH_K else "leave it out: nothing is paid for firing.",
            )
        if self.ks and min(self.ks) < 1:
            raise InputError(f"--k is {min(self.ks)}.", "1 or more.", f"--k {K}")
        if not 0 <= min(self.seeds) <= max(self.seeds) < 2**63:
            raise InputError(
                f"--seed is {max(self.seeds, key=abs)}.", f"0 to {2**63 - 1}.", "--seed 0"
            )
        if self.epochs < 1:
            raise InputError(f"--epochs is {self.epochs}.", "1 or more.", "--epochs 5")
        if self.patience < 0:
            raise InputError(
                f"--patience is {self.patience}.",
                "how many looks without gain end the training; 0: none.",
                "--patience 3",
            )
        for width in self.widths:
            _times(width)
        self.configs(1 << 20, [1])

    def configs(self, width: int, sizes: Sequence[int]) -> list[tuple[str, SaeTrainingConfig]]:
        """Each with a name for its folder, made of what differs; `sizes`: positions to learn from,
        chunk by chunk."""
        kind, plain = self.architecture, self.architecture in SEEDS
        steps = self.epochs * sum(steps_of(sizes, SaeTrainingConfig.batch))
        settings: dict[str, Sequence[Any]] = {
            "width": self.widths,
            "k": self.ks or (K,),
            "l1": self.penalties or (PENALTIES.get(kind, 0.0),),
            "seed": self.seeds,
        }
        rate = (SEED_RATE if plain else RATE) if self.rate is None else self.rate
        schedule = self.schedule or ("constant" if plain else "linear")
        found = []
        for values in product(*settings.values()):
            chosen = dict(zip(settings, values, strict=True))
            varied = [f"{n}{v}" for n, v in chosen.items() if len(settings[n]) > 1]
            config = SaeTrainingConfig(
                architecture=kind,
                latents=latents_of(chosen["width"], width),
                k=chosen["k"],
                penalty=chosen["l1"],
                steps=steps,
                rate=rate,
                schedule=schedule,
                warm_up=0.0 if plain else SaeTrainingConfig.warm_up,
                dead_after=min(
                    SaeTrainingConfig.dead_after, max(1, steps * SaeTrainingConfig.batch // 10)
                ),
                seed=chosen["seed"],
            )
            found.append((".".join(varied), config))
        return found


def latents_of(text: str, width: int) -> int:
    """`8x` and `0.5x` are times the model's width, `4096` latents. InputError for more than the
    widest that is trained."""
    times = _times(text)
    latents = max(1, round(times * width)) if text.endswith("x") else int(times)
    if latents > WIDEST * width:
        raise InputError(
            f"--width {text} is {latents / width:,.0f} times the model's width of {width:,}.",
            f"at most {WIDEST:,.0f} times, {int(WIDEST * width):,} latents.",
            "--width 8x",
        )
    return latents


def _times(text: str) -> float:
    relative = text.endswith("x")
    try:
        value = float(text.removesuffix("x")) if relative else float(int(text))
    except ValueError:
        value = math.nan
    least, most = (NARROWEST, WIDEST) if relative else (1, 1 << 24)
    if least <= value <= most:
        return value
    raise InputError(
        f"--width is {text!r}.",
        "times the model's width, 0.5x to 32x say, or a number of latents.",
        "--width 8x",
    )


def listed(text: str, of: Callable[[str], Any], option: str) -> tuple[Any, ...]:
    """`0.5,1` as values, each once. BitlensError for what is none."""
    return tuple(_values(text, of, option))


def _values(text: str, of: Callable[[str], Any], option: str) -> Iterator[Any]:
    seen = set()
    for part in (part.strip() for part in text.split(",")):
        try:
            value = of(part)
        except ValueError:
            raise InputError(
                f"{option} is {text!r}.", "numbers with commas between.", f"{option} 1,2"
            ) from None
        if value in seen:
            raise InputError(f"{option} names {part} twice.", "every value once.", "leave one out.")
        seen.add(value)
        yield value
