"""The contents of the file of results of a study of SAEs: every key and its type.

It is data that somebody sends, as a store is: held against this when it is read, and written.
"""

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from bitlens.results.manifest_schema import Content, Versioned
from bitlens.workflows.sae_study.measures import ALIGNED, FROZEN, ROLES

FROZEN_MODE, RETRAINED = "frozen", "retrained"

Seed = Annotated[str, Field(pattern=r"^[0-9]{1,19}$")]
Seeds = Annotated[str, Field(pattern=r"^[0-9]{1,19}( [0-9]{1,19})?$")]
"""One, or two with a space between."""
BySeeds = Annotated[dict[Seeds, float], Field(min_length=1)]
Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]


def _among(names: Collection[str]) -> AfterValidator:
    def check(name: str) -> str:
        if name not in names:
            raise ValueError(f"{name!r} is none of {', '.join(names)}")
        return name

    return AfterValidator(check)


# What there was nothing to measure of has no key.
Numbers = dict[Annotated[str, _among(FROZEN)], float]
"""What is measured of the reference's SAE on both models."""
Measure = Annotated[str, _among(ALIGNED)]
"""What is measured of SAEs that were trained on each."""
Roles = dict[Annotated[str, _among(ROLES)], BySeeds]


class HeldOut(Content):
    """Documents that no SAE learns from."""

    documents: AtLeastOne
    sha256: str


class About(Content):
    """What all SAEs of a folder have in common."""

    model: str
    weights: str
    text: str
    held_out: Annotated[HeldOut, Field(alias="held out")]
    width: AtLeastOne
    site: str
    penalty: Literal["k", "l1"]
    architecture: str
    rate: float | None
    schedule: str | None
    positions: str


class Cka(Content):
    """Debiased CKA of the activations themselves; None where there is too little for it."""

    value: float | None
    low: float | None
    high: float | None
    chance: float | None


class ConfigurationPlace(Content):
    """A configuration, and the twin it was compared on."""

    twin: str
    width: str
    penalty: float
    """Or k."""
    epochs: AtLeastOne
    tokens: AtLeastOne
    latents: AtLeastOne


class FrozenRecord(Content):
    """`measures.Frozen`, as it is written down."""

    values: Numbers
    chance: Numbers
    flow: tuple[tuple[Count, Count, Count, Count], ...] = Field(min_length=4, max_length=4)


class Aligned(Content):
    """`measures.Aligned`, as it is written down."""

    found: dict[Measure, Roles]
    absent: dict[Measure, str]


class TrainedSae(Content):
    """How well an SAE does on the held-out documents, and what it learnt from."""

    positions: Count
    fvu: float | None
    l0: float
    alive: float
    steps: Count
    learnt_from: Annotated[Count, Field(alias="learnt from")]


class ComparedConfiguration(ConfigurationPlace):
    """What was measured of a configuration and a twin, by seed."""

    fingerprints: tuple[tuple[str, ...], tuple[str, ...]]
    """Those of the reference's SAEs and of the twin's."""
    saes: dict[str, dict[Seed, TrainedSae]]
    """By model: `reference`, or a twin's text."""
    frozen: Annotated[dict[Seed, FrozenRecord], Field(min_length=1)]
    aligned: Aligned


class SeedEstimate(ConfigurationPlace):
    """A number over seeds."""

    mode: Literal["frozen", "retrained"]
    measure: str
    column: str
    value: float | None
    low: float | None
    high: float | None
    seeds: Count
    reason: str | None


class Ratio(SeedEstimate):
    """A number of one width over that of another."""

    over: str


class ResultsFile(Versioned):
    """Everything that a study of SAEs found."""

    about: About
    cka: dict[str, Cka]
    """By twin."""
    configurations: tuple[ComparedConfiguration, ...]
    estimates: tuple[SeedEstimate, ...] | None
    """None, like `ratios`, until everything that was asked for is measured."""
    ratios: tuple[Ratio, ...] | None
