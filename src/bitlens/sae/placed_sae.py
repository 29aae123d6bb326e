"""An SAE at the site it reads, with what the reference does there and how well the SAE fits it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from bitlens.results.records import Check
from bitlens.sae.fit import WORST_FVU, Fit
from bitlens.sae.neighbours import neighbours
from bitlens.sae.sae import Sae


@dataclass(frozen=True, eq=False, kw_only=True)
class PlacedSae:
    """A sparse autoencoder at a site of one model, measured on the reference before anything else
    is read through it."""

    sae: Sae
    site: str
    mean_code: Tensor
    """`[latents]`: the mean code of the reference, on the positions it was fitted on."""
    mean_activation: Tensor
    """`[width]`: the reference's mean activation there."""
    fit: Fit
    """How well it describes the reference there."""
    adapted: Sae | None = None
    """The one that reads the twin, where it is another: the same latents, repaired for it."""
    notes: tuple[str, ...] = ()
    """How it is read otherwise than it was trained, or changed for it; without capital or dot."""
    _near: dict[bytes, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict, repr=False)

    def near(self, latents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`neighbours` of some latents, `[n]`, among their decoder directions: made once for all
        twins, whose features are those of the same reference."""
        key = latents.tobytes()
        if key not in self._near:
            self._near[key] = neighbours(self.sae.w_dec[latents])
        return self._near[key]

    @property
    def good(self) -> bool:
        """Whether it leaves at most half of the variance unexplained."""
        return self.fit.fvu is not None and self.fit.fvu <= WORST_FVU

    @property
    def mapping(self) -> str:
        """The SAE's own name of its place and that of bitlens, for a table."""
        return self.site if self.sae.hook == self.site else f"{self.sae.hook} = {self.site}"

    @property
    def said(self) -> str:
        """The sentence about it in the log."""
        sae = self.sae
        sentence = f"SAE {sae.label}: {sae.latents:,} latents at {self.mapping}; {self._found}"
        return "; ".join((sentence, *self.notes)) + "."

    @property
    def check(self) -> Check:
        """Whether it fits, as one of an audit's checks."""
        name = f"the SAE {self.sae.label} fits {self.site}"
        told = "; ".join((f"{self._found}, on the reference", *self.notes))
        return Check(name, self.good, told, bears_on=self.sae.label)

    @property
    def _found(self) -> str:
        left = "an unknown share" if self.fit.fvu is None else f"{self.fit.fvu:.1%}"
        return (
            f"over {self.fit.positions:,} positions it leaves {left} of the variance unexplained, "
            f"with {self.fit.l0:.1f} latents firing"
        )

    @property
    def record(self) -> dict[str, Any]:
        """What a manifest says of it."""
        return {
            "label": self.sae.label,
            "site": self.site,
            "hook": self.sae.hook,
            "architecture": self.sae.architecture,
            "latents": self.sae.latents,
            "fingerprint": self.sae.fingerprint,
            "fvu": self.fit.fvu,
            "l0": self.fit.l0,
        }
