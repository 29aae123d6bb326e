"""Chance of alignment: how alike dictionaries are that have nothing to do with each other.

Analytic for directions that are uniform on the sphere; drawn, for directions that are spread as
unevenly as a dictionary's own.
"""

import numpy as np
import torch
from scipy.integrate import quad
from scipy.special import betaincc, betainccinv, hyp2f1
from torch import Tensor
from torch.nn.functional import normalize

from bitlens.seeds import derive


def best_cosine(directions: int, width: int) -> float:
    """What is the best cosine of a direction with n random ones, in expectation?

    E[max] = 1 - int_{-1}^{1} F(t)^n dt, where F is the distribution of one cosine: (1 + t) / 2
    follows Beta((d-1)/2, (d-1)/2) (Cai, Fan and Jiang 2013, Distributions of Angles in Random
    Packing on Spheres). 0.059 for 8,192 directions in 4,096 dimensions.
    """
    shape = _shape(directions, width)

    def below(t: float) -> float:
        return float(np.exp(directions * np.log1p(-betaincc(shape, shape, (1 + t) / 2))))

    # Outside of these bounds F^n is 0 and 1 to nine digits; between them it has no sharp step.
    low, high = (best_cosine_quantile(q, directions, width) for q in (1e-9, 1 - 1e-9))
    return float(high - quad(below, low, high)[0])


def best_cosine_quantile(quantile: float, directions: int, width: int) -> float:
    """Below what is the best cosine with n random directions so often? Solves F(t)^n = q."""
    shape = _shape(directions, width)
    # 1 - q^(1/n), which for many directions is too close to 0 to be had by subtraction.
    above = -np.expm1(np.log(quantile) / directions)
    return float(2 * betainccinv(shape, shape, above) - 1)


def mutual_pairs(first: int, second: int) -> float:
    """How many pairs of random directions are each other's nearest, in expectation?

    A cosine is its row's and its column's largest if it is the largest of n + m - 1 cosines, which
    for uniform directions are independent and alike: n m / (n + m - 1) pairs, whatever the width.
    Of two dictionaries of one size that is about half of the latents.
    """
    return first * second / (first + second - 1)


def in_sample_procrustes(directions: int, width: int) -> float:
    """How alike are n random directions in d dimensions and n others, once rotated to be as alike
    as they can be?

    The mean cosine of the n-th with the n-th, sum of the singular values of W1' W2 over n, in the
    limit of large n and d. With c = n / d it is the half moment of the free product of two
    Marchenko-Pastur laws, whose whole moments are [z^(p-1)] ((1 + z) (1 + c z)^2)^p / p (those of
    Fuss and Catalan at c = 1): 1 - c/4 for c <= 1, and 8 / (3 pi sqrt(c)) times 2F1(-1/2, 1/2; 5/2;
    1/c) above. 0.875 at half as many directions as dimensions, 0.296 at eight times as many: what
    rotation can fit falls with their number, whatever they mean. ValueError where either number is
    below 1.
    """
    if directions < 1 or width < 1:
        raise ValueError(f"{directions} directions in {width} dimensions")
    c = directions / width
    if c <= 1:
        return 1 - c / 4
    return float(8 / (3 * np.pi * np.sqrt(c)) * hyp2f1(-0.5, 0.5, 2.5, 1 / c))


def random_like(directions: Tensor, seed: int) -> Tensor:
    """Random unit directions `[n, width]` with the mean and covariance of these: normal draws,
    brought to length 1."""
    mean = directions.mean(dim=0)
    centred = directions - mean
    spectrum, axes = torch.linalg.eigh((centred.T @ centred).double() / len(directions))
    spread = (axes * spectrum.clamp(min=0).sqrt()).to(directions.dtype)
    draw = torch.Generator().manual_seed(derive(seed, "random directions"))
    normal = torch.randn(directions.shape, generator=draw).to(directions)
    return normalize(normal @ spread.T + mean, dim=1)


def _shape(directions: int, width: int) -> float:
    if directions < 1 or width < 2:
        raise ValueError(f"{directions} directions in {width} dimensions")
    return (width - 1) / 2
