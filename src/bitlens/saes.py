"""Where does each SAE belong, and does it fit there?

Read on the reference alone, before anything is compressed: survival of features that do not
describe the activations would mean nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bitlens.analyses.features import Placed
from bitlens.errors import BitlensError
from bitlens.models.layout import Layout
from bitlens.models.sites import resolve, site
from bitlens.plan import CORPUS, Plan, TokenBatch
from bitlens.records import Check
from bitlens.sae.fit import WORST_FVU, Fit, FitTally, check_fit
from bitlens.sae.formats import load_sae
from bitlens.sae.sae import Sae
from bitlens.sweep import REFERENCE, Stream, Sweep, Wish
from bitlens.twin import Twin

POSITIONS = 1024
"""Positions that decide whether an SAE fits, or a few more: whole batches are read."""
SITES = ("embed", "resid", "attn", "mlp")
"""Kinds of sites as wide as the model."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """An SAE in its place, and how well it describes the reference there."""

    placed: Placed
    fit: Fit

    @property
    def said(self) -> str:
        sae, place = self.placed.sae, self.placed.site
        mapping = place if sae.hook == place else f"{sae.hook} = {place}"
        return f"SAE {sae.label}: {sae.latents:,} latents at {mapping}; {self._found}."

    @property
    def check(self) -> Check:
        name = f"the SAE {self.placed.sae.label} fits {self.placed.site}"
        good = self.fit.fvu is not None and self.fit.fvu <= WORST_FVU
        return Check(name, good, f"{self._found}, on the reference")

    @property
    def _found(self) -> str:
        left = "an unknown share" if self.fit.fvu is None else f"{self.fit.fvu:.1%}"
        return (
            f"over {self.fit.positions:,} positions it leaves {left} of the variance unexplained, "
            f"with {self.fit.l0:.1f} latents firing"
        )

    @property
    def record(self) -> dict[str, Any]:
        """For the manifest."""
        sae = self.placed.sae
        return {
            "label": sae.label,
            "site": self.placed.site,
            "hook": sae.hook,
            "architecture": sae.architecture,
            "latents": sae.latents,
            "fingerprint": sae.fingerprint,
            "fvu": self.fit.fvu,
            "l0": self.fit.l0,
        }


def fit_saes(
    folders: Sequence[str], layout: Layout, plan: Plan, name: str, allow_poor: bool
) -> list[Fitted]:
    """Every SAE at its site, with its fit on the beginning of the corpus. BitlensError for an SAE
    that belongs nowhere in this model, and, unless `allow_poor`, for one that does not fit."""
    device = layout.device
    saes = [load_sae(folder).to(device) for folder in folders]
    labels = [sae.label for sae in saes]
    for label in labels:
        if labels.count(label) > 1:
            raise BitlensError(
                f"{labels.count(label)} SAEs are called {label}.",
                "folders with different names.",
                "rename one of the folders.",
            )
    places = [_place(sae, layout) for sae in saes]
    sums = {sae.label: _Sums(sae) for sae in saes}
    for place, values in _readings(layout, plan, set(places)):
        for sae, mine in zip(saes, places, strict=True):
            if mine == place:
                sums[sae.label].add(values)
    found = []
    for sae, place in zip(saes, places, strict=True):
        fit = sums[sae.label].fit.result()
        if not allow_poor:
            check_fit(fit, sae, f"{place} of {name}")
        found.append(Fitted(Placed(sae, place, sums[sae.label].centre), fit))
    return found


class _Sums:
    """What is added up of one SAE."""

    def __init__(self, sae: Sae) -> None:
        self.sae = sae
        self.fit = FitTally(sae)
        self._total = torch.zeros(sae.latents, dtype=torch.float64)
        self._count = 0

    def add(self, values: Tensor) -> None:
        codes = self.fit.add(values)
        value = codes.value.double().cpu()
        self._total += torch.bincount(codes.latent.cpu(), value, minlength=self.sae.latents)
        self._count += len(values)

    @property
    def centre(self) -> Tensor:
        """`[latents]`: the mean code."""
        return (self._total / max(self._count, 1)).to(self.sae.b_enc.device)


def _place(sae: Sae, layout: Layout) -> str:
    """Our name of the site an SAE was trained on."""
    found = resolve(sae.hook, layout)
    if len(found) != 1 or site(found[0]).kind not in SITES:
        raise BitlensError(
            f"The SAE {sae.label} was trained on {sae.hook}.",
            f"a site as wide as the model: {', '.join(SITES)}.",
            "an SAE of the residual stream, or of what attention or the MLP adds to it.",
        )
    width = sae.w_dec.shape[1]
    if width != layout.width:
        raise BitlensError(
            f"The SAE {sae.label} reads {width} dimensions, but the model is {layout.width} wide.",
            "an SAE that was trained on this model.",
            "another --sae, or the model it was trained on.",
        )
    return found[0]


@torch.no_grad()
def _readings(layout: Layout, plan: Plan, places: set[str]) -> Iterator[tuple[str, Tensor]]:
    """The reference's activations at some sites, on the first batches of the corpus."""
    batches: list[TokenBatch] = []
    for batch in plan.batches:
        if sum(len(b.index) for b in batches) >= POSITIONS:
            break
        batches.append(batch)
    deepest = max((site(place).depth for place in places), default=-1)
    sweep = Sweep(
        layout,
        {REFERENCE: Twin(layout, None)},
        [Stream(REFERENCE, REFERENCE, stop=deepest + 1)],
        [Wish(REFERENCE, frozenset(places), CORPUS)],
        batches,
        1 << 62,
    )
    for wave in sweep.waves:
        for step in sweep.run(wave):
            for place, values in step.readings[REFERENCE].items():
                yield place, values.flatten(0, 1)[step.index].float()
