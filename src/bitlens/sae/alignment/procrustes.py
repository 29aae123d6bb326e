"""Procrustes rotation of one dictionary onto another, fitted on one half of pairs and scored on the
other."""

import torch
from torch import Tensor

from bitlens.seeds import generator


def held_out(first: Tensor, second: Tensor, seed: int = 0) -> float | str:
    """Does a rotation bring paired unit directions together that it has not seen? Mean cosine.

    Both `[pairs, width]`. The pairs are parted at random into halves; each half is scored under
    the rotation that fits the other best, so every pair counts once. Fitted and scored on the same
    pairs unrelated directions reach 1 - c/4 with c = pairs / width <= 1; held out they have 0,
    unless the pairs were chosen for their cosine, which is what random dictionaries tell.
    A reason where a half has fewer pairs than dimensions: they would not determine a rotation.
    """
    pairs, width = first.shape
    if pairs // 2 < width:
        return f"{pairs:,} pairs: a rotation of {width:,} dimensions takes {2 * width:,}"
    order = torch.from_numpy(generator(seed, "halves of pairs", pairs).permutation(pairs))
    halves = order.to(first.device).tensor_split(2)
    total = 0.0
    for fitted, scored in (halves, halves[::-1]):
        turned = first[scored] @ rotation(first[fitted], second[fitted])
        total += float(torch.linalg.vecdot(turned, second[scored]).sum(dtype=torch.float64))
    return total / pairs


def rotation(first: Tensor, second: Tensor) -> Tensor:
    """`[width, width]`: the orthogonal R with the least ||first R - second||, U V' of the singular
    vectors of first' second (Schönemann 1966)."""
    u, _, vh = torch.linalg.svd((first.T @ second).double())
    rotation: Tensor = (u @ vh).to(first.dtype)
    return rotation
