"""Single latents of SAEs as nodes: what a model's features do for a task, whichever head or MLP
wrote them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bitlens.analyses.causal.nodes import Node
from bitlens.engine.interventions import Intervention
from bitlens.models.sites import site
from bitlens.sae.interventions import latents_taken
from bitlens.sae.placed_sae import PlacedSae

MOST = 16
"""Latents of an SAE that are put in place one by one: those of which attribution says most."""


@dataclass(frozen=True, kw_only=True)
class Latent(Node):
    """A latent of an SAE. What the SAE does not describe, and what its other latents say, stays as
    it is."""

    number: int
    """Counted from 0."""
    placed: PlacedSae = field(compare=False)

    @classmethod
    def of(cls, placed: PlacedSae, number: int) -> "Latent":
        """The latent of this number, at the SAE's site."""
        return cls(placed.site, max(0, site(placed.site).depth), number=number, placed=placed)

    @property
    def name(self) -> str:
        """`latent 17 of resid.1-topk`."""
        return f"latent {self.number} of {self.placed.sae.label}"

    @property
    def item(self) -> str:
        """As it is called."""
        return self.name

    @property
    def has_weights(self) -> bool:
        """No: it is read of what all parts before it have written."""
        return False

    def put(self, source: str, *, partner: bool = False) -> Intervention:
        """The latent's activation in another run in place of its own, or that of the row's
        partner, along its decoder direction."""
        return Intervention(
            site=self.site,
            change=latents_taken(self.placed.sae, [self.number]),
            source=source,
            positions="marked",
            partner=partner,
        )


def largest(
    placed: PlacedSae, attributions: Mapping[str, np.ndarray], most: int = MOST
) -> list[Latent]:
    """The `most` latents of which some task's attributions `[latents]`, as shares of its largest,
    say most; none of which none says anything: they do not fire, or alike on both prompts."""
    found = np.zeros(placed.sae.latents)
    for of in attributions.values():
        size = np.abs(of)
        found = np.maximum(found, size / max(float(size.max()), 1e-30))
    order = np.argsort(-found, kind="stable")[:most]
    return [Latent.of(placed, int(n)) for n in np.sort(order[found[order] > 0])]


def by_sae(latents: Sequence[Latent]) -> dict[str, list[Latent]]:
    """Latents by the label of the SAE that each is of."""
    found: dict[str, list[Latent]] = {}
    for latent in latents:
        found.setdefault(latent.placed.sae.label, []).append(latent)
    return found
