"""By which convention were activations read when an SAE was trained? Its files may not say."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from bitlens.sae.fit import WORST_FVU, Fit
from bitlens.sae.sae import Sae

CENTRING = "center_writing_weights"
"""TransformerLens' word for weights that add nothing to the mean over the width."""
SCALE = "normalize_activations"
B_DEC = "apply_b_dec_to_input"
IMPROVES = 0.9
"""Of the variance left unexplained: another convention that leaves more than this is no better."""


@dataclass(frozen=True, eq=False)
class Convention:
    """One way to read activations with an SAE."""

    setting: str
    """Which setting decides about it."""
    words: str
    sae: Sae
    """The SAE that reads so."""


def conventions(sae: Sae, centres: bool, norm: float | None) -> Iterator[Convention]:
    """Those by which it might also have been trained. `centres`: whether the model reads no mean
    over the width; `norm`: the mean length of the activations, where it is known."""
    if centres:
        words = "left in" if sae.centred else "taken away"
        other = replace(sae, centred=not sae.centred)
        loading = {**sae.trained_on.loading, CENTRING: other.centred}
        other = replace(other, trained_on=replace(sae.trained_on, loading=loading))
        yield Convention(CENTRING, f"with the mean over the width {words}", other)
    if norm and SCALE in sae.trained_on.unsaid:
        factor = math.sqrt(sae.width) / norm
        other = replace(scaled(sae, factor), normalisation="none")
        yield Convention(SCALE, f"on activations times {factor:.4g}", other)
    if B_DEC in sae.trained_on.unsaid:
        apply = not sae.apply_b_dec_to_input
        words = "with b_dec taken away first" if apply else "without b_dec taken away first"
        yield Convention(B_DEC, words, replace(sae, apply_b_dec_to_input=apply))


def better(fit: Fit, others: Sequence[Fit]) -> int | None:
    """Which of the others, if any, fits and leaves clearly less unexplained."""
    known = {n: other.fvu for n, other in enumerate(others) if other.fvu is not None}
    best = min(known, key=known.__getitem__, default=None)
    here = math.inf if fit.fvu is None else fit.fvu
    return None if best is None or known[best] > min(WORST_FVU, IMPROVES * here) else best


def scaled(sae: Sae, factor: float) -> Sae:
    """What was trained on activations times `factor`, for activations as they are."""

    def times(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor * factor

    return replace(
        sae,
        w_enc=sae.w_enc * factor,
        w_gate=times(sae.w_gate),
        w_dec=sae.w_dec / factor,
        b_dec=sae.b_dec / factor,
    )
