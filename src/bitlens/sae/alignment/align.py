"""Alignment of SAEs that were trained on two precisions: do they find the same directions? No
tokens are read.

Every number stands beside what it is by chance and, where the first precision was trained again
from other seeds, beside what that alone changes: two SAEs of one model may share as little as 30 %
of their latents (Paulo and Belrose 2025, arXiv 2501.16615).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from bitlens.errors import SaeError
from bitlens.sae.alignment.chance import random_like
from bitlens.sae.alignment.compare import MEASURES, DirectionMeasures, compare, of_uniform
from bitlens.sae.alignment.dictionary import SIDES, ComparedSae, Dictionary, dictionary
from bitlens.sae.alignment.matching import CANDIDATES, FULL, LEAST
from bitlens.sae.alignment.over_pairs import Apart, OverPairs, mean, normalised
from bitlens.sae.sae import Sae
from bitlens.seeds import derive

_FULL = "all latents of the smaller dictionary, by the largest sum of cosines"
_SPARSE = (
    f"by the largest sum of cosines among each latent's {CANDIDATES} nearest with a cosine of at "
    f"least {LEAST}, because there are more than {FULL:,} latents"
)

_ALIKE = (
    "SAEs of one seed began with the same weights, which the seed ceiling's did not; take a "
    "second one of another seed"
)


@dataclass(frozen=True, kw_only=True)
class AlignedPair:
    """A first SAE, a second one, the first trained again, and what was found."""

    first: ComparedSae
    second: ComparedSae
    ceiling: ComparedSae | None
    began_alike: bool
    """Trained from one seed, and so from the same weights in the same order."""
    uniform: dict[str, float]
    """By measure: chance for directions uniform on the sphere, where there is an answer."""
    found: dict[str, dict[str, DirectionMeasures]]
    """By side (`decoder`, `encoder`), then by role: `value`, first against second; `random`,
    first against random directions like those of the second; `ceiling`, first against itself
    trained again."""


@dataclass(frozen=True, kw_only=True)
class AlignedMeasure:
    """One measure of one side, over all pairs."""

    side: str
    measure: str
    value: OverPairs
    random: OverPairs
    """Chance: the second is replaced by random directions with its mean and covariance."""
    uniform: float | None
    """Chance: directions uniform on the sphere; None where there is no analytic answer."""
    ceiling: OverPairs
    normalised: OverPairs
    """(value - random) / (ceiling - random): 0 is chance, 1 as alike as another seed."""


@dataclass(frozen=True)
class Alignment:
    """Everything that was found."""

    pairs: tuple[AlignedPair, ...]
    measures: tuple[AlignedMeasure, ...]
    matching: str
    """How latents were matched one to one."""


def align(
    first: Sequence[Sae],
    second: Sequence[Sae],
    ceiling: Sequence[Sae] = (),
    alive: Mapping[Sae, Tensor] | None = None,
    seed: int = 0,
) -> Alignment:
    """How alike are SAEs of one precision (`first`) and of another (`second`), between chance and
    what another seed changes?

    The n-th first is compared with the n-th second and with the n-th of `ceiling`, SAEs of the
    first precision from other seeds. The unit is the pair: numbers have intervals if there are at
    least two and none share an SAE. Two SAEs from one seed start from the same weights and are
    more alike than any two seeds: they are compared, but not with the ceiling.
    `alive`: for an SAE `[latents]` bool, what fired on some documents; only those are compared,
    and of an SAE without it all whose directions are not zero. `seed` draws the random directions.
    Raises BitlensError for numbers of SAEs or widths that do not go together.
    """
    _require_pairs(first, second, ceiling)
    read = {sae: dictionary(sae, (alive or {}).get(sae)) for sae in (*first, *second, *ceiling)}
    ones, others, again = ([read[sae] for sae in saes] for saes in (first, second, ceiling))
    pairs = [
        _pair(one, others[n], again[n] if again else None, derive(seed, "alignment", n))
        for n, one in enumerate(ones)
    ]
    apart = {
        "value": _members(ones, others),
        "random": _members(ones, others),
        "ceiling": _members(ones, again),
        "all": _members(ones, others, again),
    }
    largest = max(found.about.compared for found in read.values())
    return Alignment(
        tuple(pairs),
        tuple(_aligned(side, name, pairs, apart) for side in SIDES for name in MEASURES),
        _FULL if largest <= FULL else _SPARSE,
    )


def _pair(
    first: Dictionary, second: Dictionary, again: Dictionary | None, seed: int
) -> AlignedPair:
    found = {}
    for side in SIDES:
        one, other = first.directions(side), second.directions(side)
        found[side] = {
            "value": compare(one, other, seed),
            "random": compare(one, random_like(other, derive(seed, side)), seed),
        }
        if again is not None:
            found[side]["ceiling"] = compare(one, again.directions(side), seed)
    a, b = first.about, second.about
    uniform = of_uniform(a.compared, b.compared, first.sae.width)
    alike = first.sae.trained_on.seed is not None and a.latents == b.latents
    alike = alike and first.sae.trained_on.seed == second.sae.trained_on.seed
    return AlignedPair(
        first=a,
        second=b,
        ceiling=again.about if again else None,
        began_alike=alike,
        uniform=uniform,
        found=found,
    )


def _aligned(
    side: str, name: str, pairs: Sequence[AlignedPair], apart: Mapping[str, Apart]
) -> AlignedMeasure:
    numbers: dict[str, list[float]] = {}
    over: dict[str, OverPairs] = {}
    for role in ("value", "random", "ceiling"):
        found = _numbers(pairs, side, role, name)
        if isinstance(found, str):
            over[role] = OverPairs(value=None, reason=found)
        else:
            numbers[role], over[role] = found, mean(found, apart[role])
    lacking = next((part.reason for role, part in over.items() if role not in numbers), None)
    if any(pair.began_alike for pair in pairs):
        lacking = lacking or _ALIKE
    between = (
        OverPairs(value=None, reason=lacking)
        if lacking
        else normalised(np.array(list(numbers.values())), apart["all"])
    )
    uniform = [pair.uniform[name] for pair in pairs if name in pair.uniform]
    chance = sum(uniform) / len(uniform) if uniform else None
    return AlignedMeasure(
        side=side,
        measure=name,
        value=over["value"],
        random=over["random"],
        uniform=chance,
        ceiling=over["ceiling"],
        normalised=between,
    )


def _numbers(pairs: Sequence[AlignedPair], side: str, role: str, name: str) -> list[float] | str:
    """What each pair says, or why one of them says nothing."""
    numbers = []
    for pair in pairs:
        found = pair.found[side].get(role)
        if found is None:
            return "no SAE of the first precision from another seed was given"
        if name in found.absent:
            return found.absent[name]
        numbers.append(found.values[name])
    return numbers


def _members(*columns: Sequence[Dictionary]) -> Apart:
    """What goes into each pair; nothing where there are no ceilings."""
    return [frozenset(one.identity for one in row) for row in zip(*columns, strict=False)]


def _require_pairs(first: Sequence[Sae], second: Sequence[Sae], ceiling: Sequence[Sae]) -> None:
    if not first or len(first) != len(second) or len(ceiling) not in (0, len(first)):
        raise SaeError(
            f"{len(first)} first, {len(second)} second and {len(ceiling)} ceiling SAEs.",
            "as many second as first ones, which are compared in their order, and as many "
            "ceilings or none.",
            "one --second, and one --ceiling if there is any, for each --first.",
        )
    for one, again in zip(first, ceiling, strict=False):
        if one is again or (one.fingerprint and one.fingerprint == again.fingerprint):
            raise SaeError(
                f"The ceiling of {one.label} is that SAE itself.",
                "the same precision trained again from another seed.",
                "another --ceiling.",
            )
    width = first[0].width
    for sae in (*first, *second, *ceiling):
        if sae.width != width:
            raise SaeError(
                f"The SAE {first[0].label} reads {width} dimensions, {sae.label} {sae.width}.",
                "SAEs of models of one width: directions of different spaces have no angle.",
                "SAEs of one site of a model and of its twins.",
            )
