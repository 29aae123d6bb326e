"""Measures of dictionaries as a published study defined them, so that its tables can be recomputed.

All are of QuantizationInterpretability (github.com/JackSwitzer/QuantizationInterpretability, its
methodology); none is used by `align`, and each says what is wrong with it. Dictionaries are
encoders, a row a latent, `[n, width]`, with dead latents among them.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from bitlens.sae.alignment.matching import nearest
from bitlens.sae.alignment.procrustes import rotation
from bitlens.seeds import generator


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


def mutual_nearest(first: Tensor, second: Tensor, rotated: bool = False) -> float:
    """The share of all latents of the first whose nearest in the second has them as its nearest.

    Wrong: of uniformly random directions it is m / (n + m - 1), about a half; and after the
    in-sample rotation (`rotated`) it is 1 for random directions, too (8,192 in 1,024 dimensions),
    because each row has been turned towards its own partner.
    """
    one, other = normalize(first, dim=1), normalize(second, dim=1)
    if rotated:
        one = one @ rotation(one, other)
    return len(nearest(one, other).mutual()[0]) / len(one)


def biased_cka(first: Tensor, second: Tensor) -> float:
    """Linear CKA of activations, `[positions, width]` each, without correction for bias.

    Wrong: of independent isotropic activations it is width / (width + positions), not 0: 0.90 for
    227 positions of width 2,048. `analyses.geometry.debiased_cka` is 0 there. Computed as
    ||X'Y||^2 / (||X'X|| ||Y'Y||) of centred columns, equal to the form with Gram matrices
    (Kornblith et al. 2019).
    """
    x, y = (of.double() - of.double().mean(dim=0) for of in (first, second))
    between = (x.T @ y).square().sum()
    return float(between / ((x.T @ x).norm() * (y.T @ y).norm()))


def sparsity_agreement(first: Tensor, second: Tensor) -> float:
    """The share of entries of two codes, `[positions, latents]` each, that fire in both or neither.

    The study names it without a formula; this reading is ours. Wrong: latents that are dead in
    both agree at every position, so the more of them there are the better it looks; with 1 % of
    latents alive, unrelated codes agree at more than 99 %.
    """
    return float(((first > 0) == (second > 0)).double().mean())


def permutation_p(
    first: np.ndarray, second: np.ndarray, draws: int = 10_000, seed: int = 0
) -> float:
    """The share of random swaps within pairs after which the means differ at least as much.

    Wrong: without the observed one among the draws, (1 + #) / (1 + draws), p can be 0, which no
    number of draws can show (Phipson and Smyth 2010). `stats.contrasts.sign_flip` counts it.
    """
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    signs = generator(seed, "published permutation").choice(
        [-1.0, 1.0], size=(draws, len(differences))
    )
    return float(np.mean(np.abs(signs @ differences) >= abs(differences.sum())))
