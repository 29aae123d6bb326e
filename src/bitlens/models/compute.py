"""The dtype that a model is computed in. Its weights lie as they are stored; what is multiplied is
cast when it is used."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


def dtype_of(name: str) -> torch.dtype:
    """`bfloat16` as torch knows it."""
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def compute_dtype(name: str) -> torch.dtype:
    """What `--compute` asks the reference to be computed in: its twins may be set beside it."""
    return torch.float32 if name in ("auto", "paired") else dtype_of(name)


def computed(tensor: Tensor, stored: torch.dtype, compute: torch.dtype) -> Tensor:
    """A parameter of a model stored in one dtype as it is computed with in another.

    What a family keeps wider than the rest, such as a router in float32, is not narrowed.
    """
    if not tensor.is_floating_point():
        return tensor
    narrower = tensor.dtype.itemsize < compute.itemsize
    return tensor.to(compute) if narrower or tensor.dtype == stored else tensor


def of_logits(compute: torch.dtype) -> torch.dtype:
    """What the final norm and the unembedding are computed in: float32 at least, because 16 bits
    of a logit leave little of a probability."""
    return compute if compute.itemsize >= torch.float32.itemsize else torch.float32


@contextmanager
def computing(
    model: nn.Module, blocks: Sequence[nn.Module], stored: torch.dtype, compute: torch.dtype
) -> Iterator[None]:
    """While this lasts, the model's own forward computes in this dtype, and its logits in float32:
    each block, and each module outside of them, has its parameters cast while it runs and no
    longer."""
    inside = {id(module) for block in blocks for module in block.modules()}
    units = [(block, list(block.modules())) for block in blocks]
    units += [(module, [module]) for module in model.modules() if id(module) not in inside]
    now = _Dressing(stored, compute)
    handles = []
    for unit, modules in units:
        owners = [module for module in modules if module._parameters]
        if owners:
            handles.append(unit.register_forward_pre_hook(partial(now.dress, owners)))
            undress = partial(now.undress, owners, unit is blocks[-1])
            handles.append(unit.register_forward_hook(undress, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Dressing:
    """Parameters of modules in another dtype while they run."""

    def __init__(self, stored: torch.dtype, compute: torch.dtype) -> None:
        self._stored, self._compute, self._dtype = stored, compute, compute
        self._before: dict[nn.Module, dict[str, nn.Parameter | None]] = {}

    def dress(self, owners: Sequence[nn.Module], _module: nn.Module, _args: Any) -> None:
        for owner in owners:
            self._before[owner] = dict(owner._parameters)
            for name, parameter in owner._parameters.items():
                if parameter is not None:
                    cast = computed(parameter.detach(), self._stored, self._dtype)
                    owner._parameters[name] = nn.Parameter(cast, requires_grad=False)

    def undress(
        self, owners: Sequence[nn.Module], last: bool, _module: nn.Module, _args: Any, output: Any
    ) -> Any:
        for owner in owners:
            owner._parameters.update(self._before.pop(owner, {}))
        if not last or output is None:
            return None
        # What follows gives logits.
        self._dtype = of_logits(self._compute)
        if isinstance(output, tuple):
            return (output[0].to(self._dtype), *output[1:])
        return output.to(self._dtype)
