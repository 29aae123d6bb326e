"""How fast this machine multiplies: operations a second in float32, measured in a moment."""

import time
from functools import cache

import torch

ROWS, WIDTH = 256, 1024
"""Of the product that is timed: what a block has of a batch."""
TIMES = 3


@cache
def operations_a_second(device: str) -> float | None:
    """Of products in float32 on a device, `auto`, `cpu` or `cuda`: the fastest of a few. None
    where there is no such device."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        return None
    x, weight = torch.ones(ROWS, WIDTH, device=device), torch.ones(WIDTH, WIDTH, device=device)
    taken = []
    for _ in range(1 + TIMES):
        started = time.perf_counter()
        torch.nn.functional.linear(x, weight)
        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        taken.append(time.perf_counter() - started)
    # The first also loads what multiplies.
    return 2 * ROWS * WIDTH * WIDTH / max(min(taken[1:]), 1e-9)
