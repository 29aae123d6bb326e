"""Numbers that are stored in eight bits, beside a scale."""

from typing import Literal

import torch
from torch import Tensor

Format = Literal["int8", "float8_e4m3fn", "float8_e5m2"]
"""As torch names its dtypes."""


def round_(numbers: Tensor, largest: Tensor, dtype: Format) -> Tensor:
    """Each number becomes the nearest that the dtype holds when `largest` is its last, in place;
    halves go to even, and what is beyond `largest` becomes `largest`.

    `largest` broadcasts against the numbers; both are float32. int8 is used from -127 to 127, so
    that both signs reach equally far.
    """
    kind = getattr(torch, dtype)
    last = 127.0 if kind == torch.int8 else torch.finfo(kind).max
    # Multiplied, as LLM.int8 does, and not divided: next to a half the two can differ.
    scale = last / largest
    # Numbers too small to have a scale become 0.
    numbers.mul_(scale.masked_fill_(scale.isinf(), 0))
    # Whether torch makes NaN of what is out of a float8's range depends on its version.
    numbers.clamp_(-last, last)
    if kind == torch.int8:
        numbers.round_()
    else:
        numbers.copy_(numbers.to(kind))
    return numbers.mul_(largest / last)
