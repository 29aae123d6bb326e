"""The directions that an SAE contributes to a comparison: those of latents that do something."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from bitlens.errors import SaeError
from bitlens.sae.sae import Sae

SIDES: dict[str, Callable[[Sae], Tensor]] = {
    "decoder": lambda sae: sae.w_dec,
    "encoder": lambda sae: sae.w_enc.T,
}
"""`[latents, width]`: what a latent writes (its meaning), and what it detects."""


@dataclass(frozen=True, kw_only=True)
class ComparedSae:
    """An SAE, and how many of its latents were compared."""

    label: str
    hook: str
    fingerprint: str
    latents: int
    compared: int
    alive_given: bool
    """Whether it was said which latents are alive; without, dead ones count too."""


@dataclass(frozen=True, eq=False)
class Dictionary:
    """An SAE and those of its latents that are compared."""

    sae: Sae
    keep: Tensor
    """`[latents]` bool."""
    about: ComparedSae

    @property
    def identity(self) -> Hashable:
        """Equal for two readings of the same files."""
        return self.sae.fingerprint or id(self.sae)

    def directions(self, side: str) -> Tensor:
        """`[compared, width]`: unit rows."""
        rows = SIDES[side](self.sae)[self.keep].float()
        unit: Tensor = rows / rows.norm(dim=1, keepdim=True)
        return unit


def dictionary(sae: Sae, alive: Tensor | None = None) -> Dictionary:
    """The latents of an SAE that are alive, and have directions; `alive` is `[latents]` bool, what
    fired on some documents. Raises BitlensError for another shape, and for fewer than two."""
    keep = (sae.w_dec.norm(dim=1) > 0) & (sae.w_enc.norm(dim=0) > 0)
    if alive is not None:
        if alive.shape != keep.shape or alive.dtype != torch.bool:
            raise SaeError(
                f"What is alive of the SAE {sae.label} has shape {list(alive.shape)} and type "
                f"{alive.dtype}.",
                f"[{sae.latents}] of torch.bool, one for each latent.",
                "firing_rate > 0 of its latents.",
            )
        keep &= alive.to(keep.device)
    compared = int(keep.sum())
    if compared < 2:
        raise SaeError(
            f"The SAE {sae.label} has {compared} of {sae.latents} latents to compare.",
            "at least 2 that are alive and have directions other than zero.",
            "an SAE that learned something, or more documents to see what is alive.",
        )
    about = ComparedSae(
        label=sae.label,
        hook=sae.hook,
        fingerprint=sae.fingerprint,
        latents=sae.latents,
        compared=compared,
        alive_given=alive is not None,
    )
    return Dictionary(sae, keep, about)
