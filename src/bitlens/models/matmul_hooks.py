"""Hooks on what each of a block's matrices is multiplied with: to look at it, or to change it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel

from bitlens.models.block_layout import MatrixPlace

Look = Callable[[MatrixPlace, Tensor, int | None], Tensor | None]
"""A place, what its matrix is about to be multiplied with, and which expert that goes to (None
where there are none); what it returns, unless None, is multiplied instead."""

_PRODUCTS = {functional.linear, torch.matmul, Tensor.matmul, Tensor.__matmul__}


@contextmanager
def at_products(
    code: nn.Module, places: Sequence[MatrixPlace], weights: Mapping[str, Tensor], look: Look
) -> Iterator[None]:
    """While this lasts, `look` meets what these places of a block are multiplied with.

    `weights` are what the block is called with. Matrices of modules of their own are met as
    `[rows, positions, in]`, or flattened as the family has it; those of fused experts expert by
    expert, `[tokens, in]`, and only where the model loops over them (`one_expert_at_a_time`).
    """
    handles = []
    stacks = {}
    for place in places:
        if place.parameter != "weight":
            stacks[weights[place.key].data_ptr()] = (place, weights[place.key])
            continue

        def before(_module: nn.Module, args: Any, place: MatrixPlace = place) -> Any:
            changed = look(place, args[0], None)
            return None if changed is None else (changed, *args[1:])

        handles.append(code.get_submodule(place.module).register_forward_pre_hook(before))
    try:
        if stacks:
            with _Experts(stacks, look):
                yield
        else:
            yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def one_expert_at_a_time(model: PreTrainedModel) -> Iterator[None]:
    """While this lasts, fused experts are multiplied one after another, not all in one product."""
    if not model._can_set_experts_implementation():
        yield
        return
    before = model.get_experts_implementation()
    model.set_experts_implementation("eager")
    try:
        yield
    finally:
        model.set_experts_implementation(before)


class _Experts(TorchFunctionMode):
    """Notices products with a slice of a stack of experts, by where in memory the slice lies."""

    def __init__(self, stacks: Mapping[int, tuple[MatrixPlace, Tensor]], look: Look) -> None:
        super().__init__()
        self._stacks, self._look = stacks, look

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _PRODUCTS and isinstance(args[1], Tensor) and args[1].ndim == 2:
            for start, (place, stack) in self._stacks.items():
                expert, rest = divmod(
                    args[1].data_ptr() - start, stack.stride(0) * stack.element_size()
                )
                if 0 <= expert < len(stack) and rest == 0:
                    changed = self._look(place, args[0], expert)
                    args = args if changed is None else (changed, *args[1:])
                    break
        return func(*args, **(kwargs or {}))
