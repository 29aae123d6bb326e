"""A twin's block multiplied in bfloat16 without its noise, beside a reference in float32.

Two models that are multiplied in 16 bits each differ by their rounding besides. Here only what a
twin differs by is: where the reference has y = W x, a twin of weights W + D that comes with x' has
y' = y + W (x' - x) + D x'. Both products are small and are rounded by a share of themselves.
Everything between two products is the block's own code in float32, whatever the family.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional

from bitlens.models.block_layout import MatrixPlace
from bitlens.models.block_runner import Block
from bitlens.models.shell import Call
from bitlens.models.strip import strip

HALF = torch.bfloat16
"""What matrices, and what they are multiplied with, are rounded to."""


@dataclass(frozen=True)
class Product:
    """What a matrix of the reference was multiplied with for one batch, and what came of it."""

    x: Annotated[Tensor, "*positions in"]
    y: Annotated[Tensor, "*positions out"]
    """Its bias added."""


Products = Mapping[str, Product]
"""By a place's key."""


@contextmanager
def recorded(block: Block, tokens: int) -> Iterator[Products]:
    """While this lasts, the products of a block that runs on so many `tokens`. One that is not of
    every position, or not once, is none of them: a twin's could not be told from it."""
    found: dict[str, Product] = {}
    met: set[str] = set()

    def hear(key: str, _module: nn.Module, args: tuple[Tensor, ...], y: Tensor) -> None:
        x = args[0]
        if key in met or x.numel() != tokens * x.shape[-1]:
            found.pop(key, None)
        else:
            # Some blocks go on to add to what their modules hand out.
            found[key] = Product(x.clone(), y.clone()) if block.names.in_place else Product(x, y)
        met.add(key)

    handles = [
        block.code.get_submodule(place.module).register_forward_hook(partial(hear, place.key))
        for place in dense(block)
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def unpaired(block: Block, hidden: Tensor, call: Call) -> list[str]:
    """Names of the matrices of a reference's block that twins multiply whole, in float32: fused
    experts, to which every model sends other positions, and what is not multiplied once with every
    position. It is tried on `hidden`, `[rows, positions, width]`."""
    with recorded(block, hidden.shape[0] * hidden.shape[1]) as products:
        block(hidden, call)
    return [p.name for group in block.names.groups for p in group if p.key not in products]


def dense(block: Block) -> list[MatrixPlace]:
    """The matrices of a block that have modules of their own: all but fused experts."""
    return [p for group in block.names.groups for p in group if p.parameter == "weight"]


def _narrow(weight: Annotated[Tensor, "out in"]) -> Annotated[Tensor, "out in"]:
    # Row by row, however the family stores it: some processors multiply columns far slower.
    return weight.to(HALF).contiguous()


class NarrowedReference:
    """The reference's block, in float32, and its matrices in bfloat16 for twins to multiply what
    they differ by. `stored`: its parameters as they lie in the model."""

    def __init__(self, block: Block, stored: Mapping[str, Tensor]) -> None:
        self.block = block
        self.narrow = {p.key: _narrow(p.effective(stored[p.key])) for p in dense(block)}
        """`[out, in]`, by a place's key."""


class PairedBlock(Block):
    """A twin's block as what it differs from the reference's by, made of one in float32. The
    reference's `products` on a batch are to be given before the block runs on it."""

    def __init__(self, reference: NarrowedReference, twin: Block) -> None:
        code, weights, self._reference = strip(twin.code), dict(twin.weights), reference
        self._changes: dict[str, Tensor] = {}
        """`[out, in]`, by a place's key: its matrix less the reference's."""
        for place in dense(twin):
            own, before = weights[place.key], reference.block.weights[place.key]
            if own.data_ptr() != before.data_ptr() and not torch.equal(own, before):
                self._changes[place.key] = _narrow(place.effective(own - before))
            # Its place in the module is filled, and not multiplied with.
            weights[place.key] = before
            code.get_submodule(place.module).forward = partial(self._product, place)
        super().__init__(code, twin.names, weights, twin.roundings, twin.kept)
        self.products: Products = {}

    def output_projection(self) -> Tensor:
        """`[width, columns]`, what attention's heads are multiplied with, side by side."""
        return self._whole(self.names.projection)

    def _whole(self, place: MatrixPlace) -> Annotated[Tensor, "out in"]:
        weight = place.effective(self._reference.block.weights[place.key])
        change = self._changes.get(place.key)
        return weight if change is None else weight + change

    def _product(
        self, place: MatrixPlace, x: Annotated[Tensor, "*positions in"]
    ) -> Annotated[Tensor, "*positions out"]:
        bias = f"{place.module}.bias"
        own, before = self.weights.get(bias), self._reference.block.weights.get(bias)
        beside = self.products.get(place.key)
        if beside is None or beside.x.shape != x.shape:
            # The reference multiplied nothing that this could be set beside.
            return functional.linear(x, self._whole(place), own)
        narrow, change = self._reference.narrow[place.key], self._changes.get(place.key)
        y = functional.linear((x - beside.x).to(HALF), narrow).to(x.dtype)
        if change is not None:
            y += functional.linear(x.to(HALF), change)
        y += beside.y
        if own is not None and before is not None and own is not before:
            y += own - before
        return y
