"""Gains, offsets and linear maps that bring an SAE's code in the twin nearest to the reference's.

In closed form, of all positions at once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from bitlens.sae.repair.activations import ENTRIES, PairedActivations, tiles
from bitlens.sae.sae import Sae

SHRINKAGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Of a linear map towards the identity, in units of the mean variance of what it maps."""
FEWEST_FIRINGS = 2
"""On which a gain is fitted."""
_ROWS = 1 << 14
"""Of activations in float64 at a time."""


def with_gain(sae: Sae, on: PairedActivations) -> Sae:
    """A gain and an offset of each latent's pre-activation, folded into encoder and bias.

    Least squares of the reference's code on the twin's pre-activation z over the positions where
    the twin fires: a = cov(z, f) / var(z), b = mean(f) - a mean(z). There the code is z itself and
    no position is chosen by what is to be predicted. A latent that fires on fewer than two of
    them, or whose gain would not be positive, stays as it is.
    """
    n, z, f, zz, zf = _moments(sae, on)
    count = n.clamp(min=1)
    variance = zz / count - (z / count) ** 2
    covariance = zf / count - z * f / count**2
    known = (n >= FEWEST_FIRINGS) & (variance > 1e-9 * zz / count) & (covariance > 0)
    gain = torch.where(known, covariance / variance, 1.0)
    offset = torch.where(known, (f - gain * z) / count, 0.0)
    gain, offset = gain.float(), offset.float()
    return replace(sae, w_enc=sae.w_enc * gain, b_enc=sae.b_enc * gain + offset)


def _moments(sae: Sae, on: PairedActivations) -> tuple[Tensor, ...]:
    """`[latents]` float64 each, over the positions where the twin fires: how many, and the sums of
    z, f, z^2 and z f."""
    sums = torch.zeros(5, sae.latents, dtype=torch.float64, device=sae.w_enc.device)
    for x, y in tiles(sae, on):
        codes, wanted = sae.codes(y), sae.encode(x)
        z = codes.value.double()
        f = wanted[codes.row, codes.latent].double()
        for total, value in zip(sums, (torch.ones_like(z), z, f, z * z, z * f), strict=True):
            total += torch.bincount(codes.latent, value, minlength=sae.latents)
    return tuple(sums)


def with_map(sae: Sae, learnt: PairedActivations, held: PairedActivations) -> Sae:
    """What the encoder reads of the twin, mapped linearly onto what it would read of the
    reference, folded into encoder and bias: of all latents the least squares of the reference's
    pre-activations on the twin's activations."""
    x, y = (sae.read(part)[0] for part in (learnt.twin, learnt.reference))
    x_held, y_held = (sae.read(part)[0] for part in (held.twin, held.reference))
    weight, bias = _best_map(x, y, x_held, y_held)
    return replace(sae, w_enc=weight @ sae.w_enc, b_enc=sae.b_enc + bias @ sae.w_enc)


def affine(x: Tensor, y: Tensor, shrinkage: Sequence[float]) -> Iterator[tuple[Tensor, Tensor]]:
    """`weight` `[width, width]` and `bias` `[width]` of the least squares y = x weight + bias,
    shrunk towards weight = 1: min ||x weight - y||^2 + l ||weight - 1||^2 over centred rows, with
    l = `shrinkage` times the number of rows and the mean variance of x; one for each shrinkage.

    With D = weight - 1 it is the ridge regression of y - x on x (Hoerl and Kennard 1970).
    """
    mean_x, mean_y = (part.mean(dim=0, dtype=torch.float64) for part in (x, y))
    width = x.shape[1]
    gram, product = x.new_zeros(2, width, width, dtype=torch.float64)
    for a, b in zip(x.split(_ROWS), y.split(_ROWS), strict=True):
        a, b = a.double() - mean_x, b.double() - mean_y
        gram += a.T @ a
        product += a.T @ (b - a)
    one = torch.eye(width, dtype=torch.float64, device=x.device)
    for share in shrinkage:
        penalty = share * gram.diagonal().mean().clamp(min=torch.finfo(torch.float32).tiny)
        weight = one + torch.linalg.solve(gram + penalty * one, product)
        yield weight.float(), (mean_y - mean_x @ weight).float()


def _best_map(x: Tensor, y: Tensor, x_held: Tensor, y_held: Tensor) -> tuple[Tensor, Tensor]:
    """With the shrinkage that leaves least on other positions."""

    def left(of: tuple[Tensor, Tensor]) -> float:
        return float((x_held @ of[0] + of[1] - y_held).square().mean())

    return min(affine(x, y, SHRINKAGES), key=left)


def with_decoder(sae: Sae, learnt: PairedActivations, held: PairedActivations) -> Sae:
    """What the code decodes to, mapped linearly onto the twin's activations, folded into decoder
    and bias; codes stay what they are."""
    decoded = []
    for part in (learnt, held):
        plain, wanted = _decoded(sae, part.twin)
        if not len(plain):
            return sae
        decoded += [plain, wanted]
    weight, bias = _best_map(*decoded)
    b_dec = sae.b_dec @ weight + bias
    b_enc = sae.b_enc
    if sae.apply_b_dec_to_input:
        b_enc = b_enc + (b_dec - sae.b_dec) @ sae.w_enc
    return replace(sae, w_dec=sae.w_dec @ weight, b_dec=b_dec, b_enc=b_enc)


def _decoded(sae: Sae, x: Tensor) -> tuple[Tensor, Tensor]:
    """What the codes of `[n, width]` decode to and what they should, both before their rows'
    normalisation is undone."""
    codes = sae.codes(x)
    plain = sae.decode(replace(codes, scale=None, shift=None))
    wanted = x if codes.shift is None else x - codes.shift
    if codes.scale is None:
        return plain, wanted
    # Of a row whose scale is 0 any decoder makes nothing: it says nothing about one.
    told = codes.scale[:, 0] > 0
    return plain[told], wanted[told] / codes.scale[told]


def with_thresholds(sae: Sae, reference: Sae, on: PairedActivations) -> Sae:
    """Each latent with the threshold above which it fires in the twin as often as in the reference;
    an SAE without thresholds, and a latent that never fires in the reference, as they are."""
    if sae.threshold is None:
        return sae
    n = len(on.twin)
    fired = torch.bincount(reference.codes(on.reference).latent, minlength=sae.latents)
    rows, threshold = sae.read(on.twin)[0], sae.threshold.clone()
    for some in fired.nonzero().flatten().split(max(1, ENTRIES // n)):
        before = rows @ sae.w_enc[:, some] + sae.b_enc[some]
        # Half-way between the least value that is to fire and the one below it.
        least = n - fired[some]
        place = torch.stack([(least - 1).clamp(min=0), least])
        between = before.sort(dim=0).values.gather(0, place).mean(dim=0)
        threshold[some] = between.clamp(min=0)
    return replace(sae, threshold=threshold)
