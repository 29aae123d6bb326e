"""Features of a difference: what single latents of its dictionary explain, and where they fire."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from bitlens.sae.sae import Sae
from bitlens.seeds import derive

DRAWN = 200
"""Random directions whose nearest latents tell what chance gives."""
_BYTES = 64 << 20
"""Of projections at a time."""


@dataclass(frozen=True, eq=False)
class LatentSums:
    """What each latent of a dictionary does on held-out positions."""

    lost: np.ndarray
    """`[shards, latents]`: by how much the squared error would grow without it."""
    firings: np.ndarray
    """`[latents]`: at how many positions it fires."""
    codes: np.ndarray
    """`[latents]`: the sum of its codes."""


@torch.no_grad()
def latent_sums(dictionary: Sae, difference: Tensor, shard: np.ndarray, shards: int) -> LatentSums:
    """Of differences `[n, width]`. Without a latent of code a and direction d the error e becomes
    e + a d, and its square grows by 2 a e.d + a a d.d."""
    latents = dictionary.latents
    lost = np.zeros(shards * latents)
    firings, codes_sum = np.zeros(latents), np.zeros(latents)
    square = dictionary.w_dec.double().square().sum(dim=1)
    tile = max(1, _BYTES // (4 * latents))
    for first in range(0, len(difference), tile):
        part = difference[first : first + tile]
        codes = dictionary.codes(part)
        along = ((part - dictionary.decode(codes)) @ dictionary.w_dec.T)[codes.row, codes.latent]
        value = codes.value.double()
        more = (2 * value * along.double() + value.square() * square[codes.latent]).cpu().numpy()
        latent, row = codes.latent.cpu().numpy(), codes.row.cpu().numpy()
        lost += np.bincount(shard[first + row] * latents + latent, more, minlength=shards * latents)
        firings += np.bincount(latent, minlength=latents)
        codes_sum += np.bincount(latent, value.cpu().numpy(), minlength=latents)
    return LatentSums(lost.reshape(shards, latents), firings, codes_sum)


@torch.no_grad()
def strongest(
    dictionary: Sae, difference: Tensor, document: np.ndarray, latents: np.ndarray, most: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each of some latents the positions where it fires most, at most one a document: rows and
    codes, the largest first."""
    codes = dictionary.codes(difference)
    latent, row, value = (of.cpu().numpy() for of in (codes.latent, codes.row, codes.value))
    found = []
    for number in latents:
        mine = latent == number
        rows, values = row[mine], value[mine]
        order = np.lexsort((rows, -values))
        _, firsts = np.unique(document[rows[order]], return_index=True)
        chosen = order[np.sort(firsts)[:most]]
        found.append((rows[chosen], values[chosen]))
    return found


@torch.no_grad()
def nearest(directions: Tensor, sae: Sae, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Which latents of an SAE point most the way of some directions `[n, width]`: their numbers and
    cosines `[n]`, and what chance gives, the median over random directions."""
    known = normalize(sae.w_dec, dim=1)
    cosine, latent = (normalize(directions, dim=1) @ known.T).max(dim=1)
    draw = torch.Generator().manual_seed(derive(seed, "diff", "nearest", sae.label))
    random = normalize(torch.randn(DRAWN, directions.shape[1], generator=draw), dim=1)
    chance = float((random.to(known) @ known.T).amax(dim=1).median())
    return latent.cpu().numpy(), cosine.cpu().numpy(), chance
