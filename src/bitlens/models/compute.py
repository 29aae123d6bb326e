"""In which dtype is a model computed? Its weights lie as they are stored; what is multiplied is
cast when it is used."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def dtype_of(name: str) -> torch.dtype:
    """`bfloat16` as torch knows it."""
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def computed(tensor: Tensor, stored: torch.dtype, compute: torch.dtype) -> Tensor:
    """A parameter of a model stored in one dtype as it is computed with in another.

    What a family keeps wider than the rest, such as a router in float32, is not narrowed.
    """
    if not tensor.is_floating_point():
        return tensor
    narrower = tensor.dtype.itemsize < compute.itemsize
    return tensor.to(compute) if narrower or tensor.dtype == stored else tensor


@contextmanager
def computing(
    model: nn.Module, blocks: Sequence[nn.Module], stored: torch.dtype, compute: torch.dtype
) -> Iterator[None]:
    """While this lasts, the model's own forward computes in this dtype: each block, and each
    module outside of them, has its parameters cast while it runs and no longer."""
    inside = {id(module) for block in blocks for module in block.modules()}
    outside = [module for module in model.modules() if id(module) not in inside]
    units = [*((block, list(block.modules())) for block in blocks), *((m, [m]) for m in outside)]
    handles = []
    for unit, modules in units:
        owners = [m for m in modules if m._parameters]
        before: list[dict[str, nn.Parameter | None]] = []

        def dress(
            module: nn.Module,
            args: object,
            owners: list[nn.Module] = owners,
            before: list[dict[str, nn.Parameter | None]] = before,
        ) -> None:
            for owner in owners:
                before.append(dict(owner._parameters))
                for name, parameter in owner._parameters.items():
                    if parameter is not None:
                        cast = computed(parameter.detach(), stored, compute)
                        owner._parameters[name] = nn.Parameter(cast, requires_grad=False)

        def undress(
            module: nn.Module,
            args: object,
            output: object,
            owners: list[nn.Module] = owners,
            before: list[dict[str, nn.Parameter | None]] = before,
        ) -> None:
            for owner, own in zip(owners, before, strict=False):
                owner._parameters.update(own)
            before.clear()

        if owners:
            handles.append(unit.register_forward_pre_hook(dress))
            handles.append(unit.register_forward_hook(undress, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
