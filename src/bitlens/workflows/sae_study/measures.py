"""What is measured of SAEs of one configuration: one read on two models, and many compared by
their directions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations, permutations
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bitlens.analyses.correlation import normalised
from bitlens.analyses.features.survival import SURVIVED
from bitlens.results.stats.firings import active
from bitlens.sae.alignment.chance import random_like
from bitlens.sae.alignment.compare import BEST, MUTUAL, ROTATED, SHARED, compare
from bitlens.sae.alignment.dictionary import dictionary
from bitlens.sae.alignment.published import procrustes_alignment
from bitlens.sae.firing_categories import flow
from bitlens.sae.fit import FitAccumulator
from bitlens.sae.sae import Sae
from bitlens.seeds import derive

SURVIVAL, R = "survived", "r"
FROZEN = (SURVIVAL, R, "fvu_reference", "fvu_twin", "l0_reference", "l0_twin")
"""What is measured of the reference's SAE on both models."""
IN_SAMPLE = "in-sample Procrustes"
"""`published.procrustes_alignment`: of encoders with all their latents, as it was defined."""
ALIGNED = (BEST, MUTUAL, SHARED, ROTATED, IN_SAMPLE)
"""What is measured of SAEs trained on each model: decoder directions of living latents, but for the
last."""
ROLES = ("value", "same", "random", "ceiling")
"""Reference against twin, of different seeds and of the same one; reference against random
directions like the twin's; reference against reference, of different seeds."""
SHORT = {
    BEST: "best match",
    MUTUAL: "mutual nearest",
    SHARED: "matched at 0.7",
    ROTATED: "held-out Procrustes",
    IN_SAMPLE: "in-sample Procrustes",
    SURVIVAL: "survived",
    R: "median r",
    "fvu_reference": "FVU, reference",
    "fvu_twin": "FVU, twin",
}
"""What a table calls them."""
UNITS = {SURVIVAL: "share", "fvu_reference": "share", "fvu_twin": "share"}
UNITS |= {MUTUAL: "share", SHARED: "share"}
_ROWS = 4096


@dataclass(frozen=True)
class Frozen:
    """The reference's SAE on both models, at the same positions."""

    values: dict[str, float]
    """By name, one of FROZEN; without features there is no share of them."""
    chance: dict[str, float]
    """Where the twin's codes are those of positions half a batch away."""
    flow: list[list[int]]
    """`[4, 4]`: latents by category in the reference, then in the twin
    (`sae.firing_categories`)."""


@dataclass
class SaeAlignments:
    """SAEs of two models by their directions."""

    found: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    """By measure, role, and the seeds with a space between."""
    absent: dict[str, str] = field(default_factory=dict)
    """By measure: why it, or its chance or ceiling, is missing somewhere."""

    def put(self, measure: str, role: str, seeds: tuple[int, ...], value: float) -> None:
        """Add what was found of SAEs of these seeds."""
        key = " ".join(map(str, seeds))
        self.found.setdefault(measure, {}).setdefault(role, {})[key] = value


def frozen(sae: Sae, reference: Tensor, twin: Tensor) -> Frozen:
    """Does an SAE say of a twin's activations what it says of the reference's? `[positions, width]`
    each, the same positions in the same order."""
    here, there = FitAccumulator(sae), FitAccumulator(sae)
    sums, unrelated = (torch.zeros(5, sae.latents, dtype=torch.float64) for _ in range(2))
    for one, other in zip(reference.split(_ROWS), twin.split(_ROWS), strict=True):
        x, y = (
            accumulator.add(part).dense() for accumulator, part in ((here, one), (there, other))
        )
        sums += _moments(x, y)
        unrelated += _moments(x, y.roll(len(y) // 2, dims=0))
    n = len(reference)
    before, after = here.firings.numpy(), there.firings.numpy()
    often = torch.from_numpy(active(before, n))
    values, chance = (_survival(_correlation(of, n)[often]) for of in (sums, unrelated))
    for name, fit in (("reference", here.result()), ("twin", there.result())):
        values[f"l0_{name}"] = fit.l0
        if fit.fvu is not None:
            values[f"fvu_{name}"] = fit.fvu
    return Frozen(values, chance, flow(before, after, n).tolist())


def _survival(r: Tensor) -> dict[str, float]:
    if len(r) == 0:
        return {}
    return {SURVIVAL: float((r > SURVIVED).double().mean()), R: float(r.median())}


def _moments(x: Tensor, y: Tensor) -> Tensor:
    """`[5, latents]` float64: sums over positions of x, y, x^2, y^2 and x y."""
    return torch.stack([part.sum(0).double().cpu() for part in (x, y, x * x, y * y, x * y)])


def _correlation(sums: Tensor, n: int) -> Tensor:
    """`[latents]`: Pearson's r over n positions, zeros included."""
    x, y, xx, yy, xy = sums
    return normalised(xy - x * y / n, xx - x * x / n, yy - y * y / n)


def aligned(reference: Mapping[int, Sae], twin: Mapping[int, Sae]) -> SaeAlignments:
    """How alike are SAEs that were trained on a reference and on its twin, by seed?

    Living latents are those that fired on the held-out documents. In-sample Procrustes takes all,
    the n-th with the n-th, as it was defined.
    """
    ones, others = ({s: _alive(sae) for s, sae in saes.items()} for saes in (reference, twin))
    found = SaeAlignments()
    pairs: list[tuple[str, tuple[int, ...], Tensor, Tensor]] = [
        ("value", (a, b), ones[a], others[b]) for a, b in permutations(ones, 2) if b in others
    ]
    pairs += [("same", (a,), ones[a], others[a]) for a in ones if a in others]
    pairs += [("random", (a,), ones[a], _random(others[a], a)) for a in ones if a in others]
    pairs += [("ceiling", (a, b), ones[a], ones[b]) for a, b in combinations(ones, 2)]
    for role, seeds, first, second in pairs:
        made = compare(first, second)
        for measure in (BEST, MUTUAL, SHARED, ROTATED):
            if measure in made.absent:
                found.absent[measure] = made.absent[measure]
            else:
                found.put(measure, role, seeds, made.values[measure])
        a, b = seeds[0], seeds[-1]
        encoder = (reference if role == "ceiling" else twin)[b].w_enc.T
        if role == "random":
            encoder = _random(normalize(encoder, dim=1), a)
        found.put(IN_SAMPLE, role, seeds, procrustes_alignment(reference[a].w_enc.T, encoder))
    return found


def _alive(sae: Sae) -> Tensor:
    """`[alive, width]`: unit decoder rows."""
    alive = None if sae.firing_rate is None else sae.firing_rate > 0
    return dictionary(sae, alive).directions("decoder")


def _random(directions: Tensor, seed: int) -> Tensor:
    return random_like(directions, derive(seed, "width study"))


def plain(found: Frozen | SaeAlignments) -> dict[str, Any]:
    """What was measured as plain values."""
    return dict(vars(found))
