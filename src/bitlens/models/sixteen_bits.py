"""What a machine's products in bfloat16 are worth: how much faster than in float32, measured."""

import time
from functools import cache

import torch

WORTH = 3.0
"""How much faster they must be for twins to be set beside their reference: at 2, both products of
a difference take as long as the one in float32 that they replace."""
INSTRUCTIONS = ("amx_bf16", "avx512_bf16")
"""Of processors that multiply bfloat16 themselves."""
_SIZES = {"cpu": (256, 1024), "cuda": (4096, 4096)}


@cache
def speedup(device: str) -> float:
    """How many times as fast as in float32 a product in bfloat16 is on a device, `cpu` or
    `cuda:0`; takes a second at most."""
    rows, width = _SIZES[torch.device(device).type]
    taken = {}
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.ones(rows, width, dtype=dtype, device=device)
        weight = torch.ones(width, width, dtype=dtype, device=device)
        _seconds(x, weight)
        taken[dtype] = min(_seconds(x, weight) for _ in range(3))
    return taken[torch.float32] / taken[torch.bfloat16]


def instructions() -> list[str]:
    """Names of the bfloat16 instructions that this processor has."""
    has = torch.cpu.get_capabilities()
    return [name for name in INSTRUCTIONS if has.get(name)]


def worth_pairing(device: torch.device) -> bool:
    """Whether an audit is much faster where twins are set beside their reference."""
    if device.type == "cpu" and not instructions():
        return False
    return speedup(str(device)) >= WORTH


def _seconds(x: torch.Tensor, weight: torch.Tensor) -> float:
    started = time.perf_counter()
    torch.nn.functional.linear(x, weight)
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
    return time.perf_counter() - started
