"""Normalised products: correlations and cosines, defined where one thing or both are zero."""

import torch
from torch import Tensor


def normalised(product: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """product / sqrt(a b) within [-1, 1]; 1 where both are zero (equal), 0 where one is."""
    size = (a.clamp_min(0) * b.clamp_min(0)).sqrt()
    both_zero = (a <= 0) & (b <= 0)
    ratio = product / size.clamp_min(torch.finfo(size.dtype).tiny)
    return torch.where(both_zero, 1.0, torch.where(size == 0, 0.0, ratio)).clamp(-1, 1)
