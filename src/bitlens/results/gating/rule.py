"""A rule of a gate: a bound, and patterns that say which numbers it is on."""

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

Side = Literal["at_most", "at_least"]
Against = Literal["reference", "noise", "cast", "baseline"]
"""What a twin's number may be set beside; the bound is then on the difference."""
ANY = "*"


@dataclass(frozen=True, kw_only=True)
class GateRule:
    """A bound on every number that the patterns name. In a pattern `*` is anything and `?` one
    character; all else, brackets too, is itself."""

    metric: str
    """A pattern of `analysis.metric`."""
    side: Side
    """On which side of the bound the whole interval has to lie."""
    bound: float
    twin: str | None = None
    """A pattern of compressions; None: every twin that is no control."""
    model: str = ANY
    site: str = ANY
    item: str = ANY
    """A pattern of what stands within the site: an SAE, `head 3`, `cumulative`, `twin`."""
    against: Against | None = None
    """What is subtracted first; None: nothing."""
    place: str = field(default="", compare=False)
    """Where the rule is written down."""

    @property
    def named(self) -> str:
        """What it is on: `features.survived of rtn:* at resid.2 minus noise`."""
        parts = [self.metric]
        parts += [f"of {self.twin}"] if self.twin else []
        parts += [f"in {self.model}"] if self.model != ANY else []
        parts += [f"at {self.site}"] if self.site != ANY else []
        parts += [f"({self.item})"] if self.item != ANY else []
        parts += [f"minus {self.against}"] if self.against else []
        return " ".join(parts)

    def is_on_twin(self, compression: str, control: bool) -> bool:
        """Is it about this twin? About a control only where the pattern begins with its method, as
        `noise:*` does: `*bits=4*` is not meant for the noise of that size."""
        if self.twin is None:
            return not control
        own = self.twin.partition(":")[0] == compression.partition(":")[0]
        return (own or not control) and matches(self.twin, compression)


@cache
def matches(pattern: str, name: str) -> bool:
    """Does a pattern name this?"""
    return bool(_compiled(pattern).fullmatch(name))


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    first, *others = (
        "".join("." if sign == "?" else re.escape(sign) for sign in part)
        for part in pattern.split("*")
    )
    # What follows a star is taken where it stands first and never looked for again: another place
    # could only leave less for the rest, and trying them all takes for ever with many stars.
    middle = "".join(f"(?>.*?{part})" for part in others[:-1])
    return re.compile(first + middle + "".join(f".*{part}" for part in others[-1:]), re.DOTALL)
