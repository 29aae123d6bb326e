"""Interventions by an SAE: its reconstruction, or other values of some latents, in place.

A change of latents moves an activation along their decoder directions alone: what the SAE does not
describe, and what its other latents say, stays as it is.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bitlens.engine.interventions import Change
from bitlens.errors import SaeError
from bitlens.sae.sae import Sae
from bitlens.sae.sparse_codes import Codes


def reconstructed(sae: Sae) -> Change:
    """What the SAE makes of an activation, in its place."""
    return lambda own, _given: sae.decode(sae.codes(own))


def latents_set(sae: Sae, latents: Sequence[int], value: float = 0.0) -> Change:
    """Some latents at a value, 0 to ablate them, whatever they were. BitlensError for a latent
    that the SAE does not have."""
    chosen = _chosen(sae, latents)

    def change(own: Tensor, _given: Tensor) -> Tensor:
        codes = sae.codes(own)
        before = _values(codes, chosen)
        return own + _moved(sae, codes, chosen, torch.full_like(before, value) - before)

    return change


def latents_taken(sae: Sae, latents: Sequence[int]) -> Change:
    """Some latents as they are in the run that the intervention takes from. BitlensError for a
    latent that the SAE does not have."""
    chosen = _chosen(sae, latents)

    def change(own: Tensor, given: Tensor) -> Tensor:
        codes = sae.codes(own)
        difference = _values(sae.codes(given), chosen) - _values(codes, chosen)
        return own + _moved(sae, codes, chosen, difference)

    return change


def _chosen(sae: Sae, latents: Sequence[int]) -> Tensor:
    for latent in latents:
        if not 0 <= latent < sae.latents:
            raise SaeError(
                f"Latent {latent} of the SAE {sae.label}, which has {sae.latents:,}.",
                "a latent of the SAE, counted from 0.",
                f"0 to {sae.latents - 1}.",
            )
    return torch.tensor(list(latents), device=sae.w_dec.device)


def _values(codes: Codes, chosen: Tensor) -> Tensor:
    """`[n, k]`: activations of some latents, zeros included."""
    values = codes.value.new_zeros(codes.rows, len(chosen))
    for place, latent in enumerate(chosen.tolist()):
        mine = codes.latent == latent
        values[codes.row[mine], place] = codes.value[mine]
    return values


def _moved(sae: Sae, codes: Codes, chosen: Tensor, difference: Tensor) -> Tensor:
    """`[n, width]`: what `difference` `[n, k]` in the codes of these rows is in activations."""
    moved = difference @ sae.w_dec[chosen]
    return moved if codes.scale is None else moved * codes.scale
