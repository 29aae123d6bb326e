"""A precision that is asked for: which number, and within what share of itself."""

from dataclasses import dataclass
from re import fullmatch
from typing import Self

from bitlens.errors import InputError

HEADLINES = ("kl", "same_top", "perplexity_ratio")
"""Numbers of `behaviour` that a run can wait for."""


@dataclass(frozen=True)
class Precision:
    """Read documents until a number of every twin is this sure."""

    metric: str
    share: float
    """The longer half of its interval, as a share of the number."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of `kl:5%`. InputError for anything else."""
        match = fullmatch(r"([a-z_]+):(\d+(?:\.\d+)?)%", text.strip())
        if match is None or match[1] not in HEADLINES or not 0 < float(match[2]) < 100:
            raise InputError(
                f"The precision is {text!r}.",
                f"one of {', '.join(HEADLINES)}, a colon, and half of its interval as a share of "
                "it, above 0 and below 100 %.",
                "kl:5%",
            )
        return cls(match[1], float(match[2]) / 100)
