"""What is written down: metrics, values with their replicates, estimates; strict JSON. No torch."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

SCHEMA = 2
"""Version of every file of a store; a reader refuses what it does not know."""

Scale = Literal["linear", "log", "log1m", "atanh", "logit"]
"""Where an interval is built: x, ln x, ln(1 - x), artanh x, ln(x / (1 - x))."""


@dataclass(frozen=True)
class Metric:
    """A number an analysis reports."""

    name: str
    """Unique within its analysis; `analysis.name` is unique everywhere."""
    question: str
    """The question it answers, as one sentence a reader of the page understands."""
    _: KW_ONLY
    unit: str
    """`nats`, `dB`, `share`, `tokens`, ... or empty for a pure number."""
    worse: Literal["higher", "lower"] | None
    """Which way is damage; None where neither is."""
    intact: float | None
    """Its value when nothing changed; None for a level (the reference's own perplexity)
    and where an unchanged twin has none (SQNR is infinite)."""
    scale: Scale = "linear"
    interval: bool = True
    """False for extremes, which have none."""
    quantile: float | None = None
    """Set for percentiles (0.99 for the 99th): whether they get an interval depends on it."""
    level: bool = False
    """True where the number describes one model and not a change."""
    source: str = ""
    """Where the definition comes from."""


@dataclass(frozen=True, eq=False)
class MetricResult:
    """One metric at one site under every replicate's weights."""

    metric: str
    values: np.ndarray | None
    """`[replicates + 1]`, the value itself first; None with a reason."""
    _: KW_ONLY
    item: str = ""
    """Only where it differs from the pair's (perplexity of the reference and of the twin)."""
    chance: float | None = None
    """Only where chance is known; else it is measured on mismatched positions."""
    reason: str | None = None
    site: str = ""
    """Only where it differs from the pair's (what is said of all blocks together)."""


@dataclass(frozen=True, eq=False)
class DetailTable:
    """A table of what an analysis shows besides values, by column."""

    name: str
    columns: Mapping[str, Any]
    """Arrays or lists of one length."""


@dataclass(frozen=True, kw_only=True)
class Value:
    """A metric at a site, with its leave-one-shard-out replicates: all that statistics need."""

    metric: str
    site: str
    item: str
    """What within the site: `cumulative` or `local`, `reference` or `twin`, later a head or a
    feature; empty where there is one number."""
    value: float | None
    replicates: tuple[float, ...] = ()
    """One value per shard left out; empty where the value is None."""
    chance: float | None = None
    """What unrelated models would give, measured on the same tokens or known."""
    documents: int = 0
    reason: str | None = None
    """Why there is no value."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value with its interval and number of documents, or a reason why there is none."""

    value: float | None
    low: float | None
    high: float | None
    documents: int
    reason: str | None = None
    """Why there is no value, or no interval."""


REFERENCE = "reference"
"""In the place of a control: what a twin is contrasted with is the reference, which is intact."""

FEWEST = 20
"""Documents below which an interval does not cover what it says: there are 20 shards to leave out,
and each should hold a whole document."""
TOO_FEW = "too few documents to say"
"""What stands in the place of such an interval."""

TEXT, CALIBRATION = "text", "calibration"
"""What a check may bear on: what was measured on the text, and twins that were calibrated."""


_OVERFLOW = "the twin overflows at {}: its activations are not finite from there on"


def overflow(site: str) -> str:
    """Why a number of a twin that overflows does not exist."""
    return _OVERFLOW.format(site)


def overflowed(reason: str) -> str | None:
    """The site of such a reason; None of any other."""
    found = re.fullmatch(re.escape(_OVERFLOW).replace(r"\{\}", "(.+)"), reason)
    return found[1] if found else None


@dataclass(frozen=True)
class Check:
    """Something that a run checked about itself, and what rests on it."""

    name: str
    passed: bool | None
    """None: could not be decided."""
    detail: str
    _: KW_ONLY
    bears_on: str = ""
    """What rests on it: `text`, what was measured on the text; `calibration`, twins that were
    calibrated; the label of an SAE, what was read through it; empty: everything."""
    model: str = ""
    """The one model it is about; empty: all."""
    twins: tuple[str, ...] = ()
    """The twins it is about; empty: all."""

    def __post_init__(self) -> None:
        # As JSON gives it back.
        object.__setattr__(self, "twins", tuple(self.twins))


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """Where a run stopped that reads documents until a number is as sure as was asked."""

    asked: str
    """`kl:5%`"""
    documents: int
    """How many are measured on, copies counted once."""
    of: int
    """How many there were."""
    looks: int
    seen: int
    """Documents at the last look."""
    twin: str
    """Whose number was least sure then; empty where no twin had one."""
    share: float | None
    """The longer half of its interval then, as a share of the number; None: it had none."""
    needed: int | None
    """Documents that the precision takes, as it looked then; None: not known."""
    reached: bool
    """Whether the precision was reached, and the reading ended there."""
    token_hash: str
    """Of all documents there were."""
    others: tuple[str, ...] = ()
    """Twins that it says nothing about: those without a number at a look, or asked for later."""


@dataclass(frozen=True, kw_only=True)
class TwinRecord:
    """A twin as the store knows it."""

    compression: str
    """Its text form."""
    control: bool
    like: str | None = None
    """For a noise control: the compression it is matched to."""
    bits: float | None = None
    """Bits per weight over the compressed matrices, scales and zeros included."""
    bytes: int | None = None
    """Bytes the whole model would take, compressed matrices at `bits`."""
    token_bytes: float | None = None
    """Bytes that the keys and values of a token take where they are rounded, scales included."""
    dtype: str = ""
    """Compute dtype."""
    floor: bool = False
    """True: the reference computed in another dtype, which measures the compute floor."""
    rounded_inputs: int = 0
    """Matrices whose inputs are rounded too."""
    calibrated: bool = False
    """Whether documents decided how it was made."""
    status: Literal["done", "failed"] = "done"
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One point of a study: a model, a compression, an analysis, a seed and the texts."""

    model: str
    compression: str
    analysis: str
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)
    """Everything else its values depend on (corpus hash, dtype, sites, shards, ...)."""

    @property
    def id(self) -> str:
        """Sixteen hex digits that change when, and only when, the settings change."""
        return hashlib.sha256(to_json(asdict(self)).encode()).hexdigest()[:16]


def to_json(value: Any, indent: int | None = None) -> str:
    """Strict JSON with sorted keys: NaN and infinities are refused, not written. What UTF-8 cannot
    hold, half a surrogate pair or a byte of a file's name, is written by its number."""
    text = json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False, indent=indent)
    return text.encode("utf-8", "backslashreplace").decode()
