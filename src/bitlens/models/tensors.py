"""A test of tensors: do they hold numbers that can be computed with?"""

import torch
from torch import Tensor


def finite(weights: Tensor) -> bool:
    """Is every one of them a finite number? One read and no temporary; sums may overflow."""
    if not weights.numel():
        return True
    return bool(torch.isfinite(torch.stack(torch.aminmax(weights.detach()))).all())
