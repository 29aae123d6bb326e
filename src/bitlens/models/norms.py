"""The norm that feeds a matrix, and the matrices that write to a stream whose mean nothing reads.

That is what folding norms into weights, and centring weights, takes to know. Found by what
modules do, with no table of families.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

_CLOSE = 1e-3
"""Of the largest number. Float32 is far closer; what depends on a mean is far off."""


@dataclass(frozen=True)
class Gain:
    """What a norm multiplies its normalised input by, before it adds a bias if it has one."""

    parameter: str
    """Path inside the block of the norm's weight."""
    offset: float
    """What is added to that weight: 1 where the family multiplies by 1 + weight, else 0."""

    def of(self, weights: Mapping[str, Tensor]) -> Tensor:
        """`[width]`, float32; from a block's weights."""
        return weights[self.parameter].detach().float() + self.offset


def gain_of(path: str, module: nn.Module, args: Any, weights: Mapping[str, Tensor]) -> Gain | None:
    """Is this module, called with `args` in a block with these weights, a norm with a gain?

    The weight at which nothing comes out says what is added to it."""
    own = {name: weights[f"{path}.{name}"] for name, _ in module.named_parameters()}
    named = [name for name, tensor in own.items() if tensor.ndim == 1 and name != "bias"]
    if len(named) != 1 or len(own) > 2 or len(args) != 1:
        return None
    silent = {name: torch.zeros_like(tensor) for name, tensor in own.items()}
    for offset in (0.0, 1.0):
        silent[named[0]].fill_(-offset)
        if not functional_call(module, silent, args).any():
            return Gain(f"{path}.{named[0]}", offset)
    return None


def writers(
    run: Callable[[Tensor, Mapping[str, Tensor]], Tensor],
    hidden: Tensor,
    weights: Mapping[str, Tensor],
    among: Iterable[str],
) -> frozenset[str]:
    """Which of these matrices of a block write to a stream of whose states the block does not
    read the mean over the width? None where it reads it: under LayerNorm it does not, under
    RMSNorm it does. The norm after the last block is taken to be like those inside.

    `run` gives the block's output for hidden states `[rows, positions, width]` and weights."""
    output = run(hidden, weights)
    added, shift = output - hidden, hidden.std()
    if not _close(run(hidden + shift, weights) - shift - hidden, added):
        return frozenset()
    found = set()
    for name in among:
        # Every output of the matrix moves by the same: of a writer, every coordinate of the stream.
        moved = run(hidden, {**weights, name: weights[name] + weights[name].std()}) - output
        felt = moved.abs().max() > _CLOSE * added.abs().max()
        if felt and _close(moved, moved.mean(-1, keepdim=True).expand_as(moved)):
            found.add(name)
    return frozenset(found)


def _close(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).abs().max() <= _CLOSE * expected.abs().max())
