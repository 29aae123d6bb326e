"""Why latents never fire, of ones that were made so."""

from dataclasses import replace

import torch

from bitlens.sae.sae import Sae
from bitlens.sae.training.dead_latents import REASONS, diagnose

EYE = torch.eye(6)
X = torch.rand(50, 6, generator=torch.Generator().manual_seed(0))
"""All positive, so that every axis fires and its opposite does not."""


def sae(w_enc: torch.Tensor, w_dec: torch.Tensor, b_enc: torch.Tensor) -> Sae:
    return Sae(
        label="one",
        hook="resid.0",
        architecture="standard",
        w_enc=w_enc,
        b_enc=b_enc,
        w_dec=w_dec,
        b_dec=torch.zeros(6),
    )


def test_every_reason_is_told_from_the_others() -> None:
    """Six living axes, and a latent each that is too short, a copy, one that points away and one
    whose bias holds it down."""
    extra = torch.stack([1e-4 * EYE[0], EYE[1], -EYE[2], EYE[3] + EYE[4]])
    rows = torch.stack([EYE[0] + EYE[5], EYE[1], EYE[2] + EYE[3], EYE[3] + EYE[4]])
    w_enc = torch.cat([EYE, extra]).T
    b_enc = torch.tensor([0.0] * 6 + [-1, -9, 0, -9])
    one = sae(w_enc, torch.cat([EYE, rows]), b_enc)
    found = diagnose(one, X, 1000)
    assert found == {"norm": 1, "duplicate": 1, "direction": 1, "bias": 1}
    assert diagnose(one, X, 99) == {"too little data": 4}
    assert set(found) | {"too little data", "outranked"} == set(REASONS)


def test_what_others_outdo_is_told() -> None:
    """With the same latents and k = 1, one that is positive everywhere and never the largest; with
    every latent alive there is nothing to say."""
    rows = torch.cat([EYE[:2], 0.5 * (EYE[:1] + EYE[1:2])])
    topk = replace(sae(rows.T, rows, torch.zeros(3)), architecture="topk", k=1)
    assert diagnose(topk, X, 1000) == {"outranked": 1}
    assert diagnose(replace(topk, k=3), X, 1000) == {}
