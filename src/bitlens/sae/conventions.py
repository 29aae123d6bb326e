"""Conventions by which activations may have been read when an SAE was trained: its files may not
say, and then the one that fits the reference best is taken."""

import math
from collections.abc import Mapping, Sequence
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

    settings: frozenset[str]
    """Which settings decide about it; empty for what the files say."""
    words: str
    sae: Sae
    """The SAE that reads so."""


def conventions(sae: Sae, centres: bool, norms: Mapping[bool, float] | None) -> list[Convention]:
    """By which it may have been trained, what its files say first: settings that are open are
    tried together too. `centres`: whether the model reads no mean over the width; `norms`: the
    mean length of the activations with the mean over the width and (True) without it, where known.
    """
    found = [Convention(frozenset(), "", sae)]
    if centres:
        found += [_otherwise_centred(of) for of in found]
    if norms and SCALE in sae.trained_on.unsaid:
        found += [_rescaled(of, math.sqrt(sae.width) / norms[of.sae.centred]) for of in found]
    if B_DEC in sae.trained_on.unsaid:
        found += [_otherwise_shifted(of) for of in found]
    return found


def _otherwise_centred(of: Convention) -> Convention:
    words = "left in" if of.sae.centred else "taken away"
    other = replace(of.sae, centred=not of.sae.centred)
    loading = {**other.trained_on.loading, CENTRING: other.centred}
    other = replace(other, trained_on=replace(other.trained_on, loading=loading))
    return _changed(of, CENTRING, f"with the mean over the width {words}", other)


def _rescaled(of: Convention, factor: float) -> Convention:
    other = replace(scaled(of.sae, factor), normalisation="none")
    return _changed(of, SCALE, f"on activations times {factor:.4g}", other)


def _otherwise_shifted(of: Convention) -> Convention:
    apply = not of.sae.apply_b_dec_to_input
    words = "with b_dec taken away first" if apply else "without b_dec taken away first"
    return _changed(of, B_DEC, words, replace(of.sae, apply_b_dec_to_input=apply))


def _changed(of: Convention, setting: str, words: str, sae: Sae) -> Convention:
    return Convention(of.settings | {setting}, ", ".join(filter(None, [of.words, words])), sae)


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
