"""Alignment of dictionaries as a published study defined it, so that its tables can be recomputed.

The study is QuantizationInterpretability (github.com/JackSwitzer/QuantizationInterpretability, its
methodology); `align` uses neither measure, and each says what is wrong with it. Dictionaries are
encoders, a row a latent, `[n, width]`, with dead latents among them.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bitlens.sae.alignment.matching import nearest
from bitlens.sae.alignment.procrustes import rotation


def raw_alignment(first: Tensor, second: Tensor) -> float:
    """The mean over all latents of the first of the best cosine in the second.

    Wrong: one direction only, so a second dictionary that holds much more scores higher; dead
    latents, which still stand where they were initialised, count like others; and chance is not 0
    but grows with latents and falls with width (`chance.best_cosine`: 0.07 for 1,024 in 2,048).
    """
    found = nearest(normalize(first, dim=1), normalize(second, dim=1))
    return float(found.of_first.mean(dtype=torch.float64))


def procrustes_alignment(first: Tensor, second: Tensor) -> float:
    """`raw_alignment` after the rotation that best maps the n-th latent on the n-th.

    Wrong: latents of two SAEs have no common order, and the rotation is scored on the rows it was
    fitted to. Unrelated directions reach 1 - c/4 with c = n / width <= 1, and about 0.85 / sqrt(c)
    for large c: 0.875 at half as many latents as dimensions, 0.30 at eight times as many. The
    score falls with the number of latents whatever they mean. Both need the same n.
    """
    one, other = normalize(first, dim=1), normalize(second, dim=1)
    return raw_alignment(one @ rotation(one, other), other)
