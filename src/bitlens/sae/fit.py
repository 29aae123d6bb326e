"""The fit of an SAE at a place, measured on the reference before anything is read through it.

An SAE at a place it was not trained for (a neighbouring layer, activations with another
normalisation) still gives codes; they mean nothing, and nothing else would say so.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from bitlens.errors import SaeError
from bitlens.sae.sae import Sae
from bitlens.sae.sparse_codes import Codes

WORST_FVU = 0.5
"""Above this, half of what varies is not in the codes."""


@dataclass(frozen=True)
class Fit:
    """How much of the activations an SAE explains."""

    positions: int
    fvu: float | None
    """Share of the variance left unexplained: sum ||x - x_hat||^2 / sum ||x - mean||^2.
    Perfect 0; 1 is what always answering with the mean would leave. None where nothing varies
    or something is not finite."""
    l0: float
    """Latents that fire, mean over positions."""
    alive: float
    """Share of the latents that fired at least once on these positions."""


class FitAccumulator:
    """Adds up, batch after batch, what `Fit` needs; float64 sums."""

    def __init__(self, sae: Sae) -> None:
        self.sae = sae
        self._positions = 0
        self._error = 0.0
        self._squares = 0.0
        self._sum = torch.zeros(sae.width, dtype=torch.float64)
        self._firings = torch.zeros(sae.latents, dtype=torch.int64)

    def add(self, x: Tensor) -> Codes:
        """`[n, width]`; the codes, for whoever needs them too."""
        codes = self.sae.codes(x)
        error = x.double() - self.sae.decode(codes).double()
        self._positions += len(x)
        self._error += float(error.square().sum())
        self._squares += float(x.double().square().sum())
        self._sum += x.sum(0, dtype=torch.float64).cpu()
        self._firings += torch.bincount(codes.latent, minlength=self.sae.latents).cpu()
        return codes

    @property
    def mean(self) -> Tensor:
        """`[width]` float32: of everything added so far."""
        return (self._sum / max(1, self._positions)).float()

    @property
    def firings(self) -> Tensor:
        """`[latents]` int64: on how many positions each latent fired."""
        return self._firings

    @property
    def rates(self) -> Tensor:
        """`[latents]` float64: at which share of the positions each latent fired."""
        return self._firings.double() / max(1, self._positions)

    def result(self) -> Fit:
        """The fit to everything added so far."""
        n = max(1, self._positions)
        variance = self._squares - float(self._sum.square().sum()) / n
        # Of equal rows rounding leaves a variance near, and not always above, zero.
        varies = variance > 1e-12 * self._squares
        finite = torch.isfinite(torch.tensor([self._error, self._squares])).all()
        return Fit(
            positions=self._positions,
            fvu=self._error / variance if varies and finite else None,
            l0=int(self._firings.sum()) / n,
            alive=int((self._firings > 0).sum()) / self.sae.latents,
        )


def measure_fit(sae: Sae, x: Tensor, batch: int = 4096) -> Fit:
    """The fit of an SAE to activations `[n, width]` in memory."""
    return accumulate_fit(sae, x, batch).result()


def accumulate_fit(sae: Sae, x: Tensor, batch: int = 4096) -> FitAccumulator:
    """What the fit of an SAE to activations `[n, width]` in memory is made of."""
    accumulator = FitAccumulator(sae)
    for part in x.split(batch):
        accumulator.add(part)
    return accumulator


def check_fit(fit: Fit, sae: Sae, where: str) -> None:
    """Raises BitlensError where the SAE leaves more than half of the variance unexplained.

    `where` names what it was read on: the site and the model.
    """
    if fit.fvu is not None and fit.fvu <= WORST_FVU:
        return
    made_on = sae.trained_on.model or "an unnamed model"
    left = "an unknown share" if fit.fvu is None else f"{fit.fvu:.0%}"
    raise SaeError(
        f"The SAE {sae.label}, made for {sae.hook} of {made_on}, leaves {left} of the "
        f"variance at {where} unexplained ({fit.l0:.1f} of {sae.latents:,} latents "
        f"firing, {fit.positions:,} positions).",
        f"at most {WORST_FVU:.0%}: what a basis that does not fit keeps says nothing.",
        f"{_causes(sae)}. An audit with --allow poor-fit goes on regardless, and says so.",
    )


def _causes(sae: Sae) -> str:
    """What is usually wrong, with what the folder itself says about it."""
    loading = ", ".join(f"{k}={v}" for k, v in sorted(sae.trained_on.loading.items()))
    bos = {True: "with BOS", False: "without BOS", None: "with or without, it does not say"}
    return (
        "the usual causes: another layer (what goes into block N is the output of block N - 1); "
        f"BOS missing or added (it was trained {bos[sae.trained_on.prepend_bos]}); activations "
        f"normalised in another way (it says {sae.normalisation}); weights centred or folded on "
        f"loading (it says {loading or 'nothing'}); another model. bitlens fit says whether it "
        "belongs elsewhere in this one"
    )
