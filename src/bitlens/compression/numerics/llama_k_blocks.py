"""llama.cpp's K-formats, as its reference code quantizes without an importance matrix
(ggml-quants.c): 256 weights in parts of 16 or 32, each with a scale of its own and, where there is
one, a least weight, which are codes themselves.

Sums are taken in float32 in the order of the weights, and no product is fused into one, so that
every code is that of the library as it is compiled for x86-64. All blocks of a piece go through
each step together: `[number, part]`, the numbers of a part below each other.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_PIECE = 1024
"""Blocks rounded at a time, so that the search stays in the cache."""
_TINY = 1e-15
"""Parts of smaller weights are taken for zeros."""


def symmetric(
    part: int, codes: int, scales: int, fit: Callable[[Tensor, int], Tensor]
) -> Callable[[Tensor], None]:
    """Parts with a scale: codes from `-codes` to `codes - 1`, scales that are codes from
    `-scales` to `scales - 1`. Rounds `[..., 256]` in place."""

    def round_(blocks: Tensor) -> None:
        fitted = fit(_below_each_other(blocks, part), codes).view(len(blocks), -1)
        largest = fitted.gather(-1, fitted.abs().argmax(-1, keepdim=True))
        some = largest.abs() >= _TINY
        inverse = torch.where(some, _divided(-scales, largest), 0)
        step = torch.where(some, 1 / inverse, 0).half().float()
        whole = (inverse * fitted).round_().clamp_(-scales, scales - 1)
        step = (step * whole).unsqueeze(-1)
        numbers = blocks.unflatten(-1, (-1, part))
        numbers.div_(torch.where(step == 0, 1, step)).round_().clamp_(-codes, codes - 1).mul_(step)

    return _by_piece(round_)


class Search(NamedTuple):
    """Which inverse steps are tried: so many more than the highest code over the range."""

    first: float
    more: float
    tries: int
    absolute: bool
    """Whether the distance is what is to be small, not its square, and weights count as much as
    they are large, not as they and their root mean square are."""


def with_minimum(part: int, codes: int, scales: int, search: Search) -> Callable[[Tensor], None]:
    """Parts with a scale and a least weight: codes from 0 to `codes`, scales and least weights
    that are codes from 0 to `scales`. Rounds `[..., 256]` in place."""

    def round_(blocks: Tensor) -> None:
        fitted, least = (
            found.view(len(blocks), -1)
            for found in _fit_with_minimum(_below_each_other(blocks, part), codes, search)
        )
        step = _coded(fitted, scales).unsqueeze(-1)
        minimum = _coded(least.neg_(), scales).unsqueeze(-1)
        numbers = blocks.unflatten(-1, (-1, part)).add_(minimum)
        numbers.div_(torch.where(step == 0, 1, step)).round_().clamp_(0, codes)
        numbers.mul_(step).sub_(minimum)

    return _by_piece(round_)


def fit_by_search(x: Tensor, codes: int) -> Tensor:
    """The scale of each part, `[number, part]` to `[part]`, by which its codes stand for it best,
    weighted by its squares: of 19 steps around that of the weight of largest magnitude
    (make_qx_quants)."""
    largest = _largest(x)
    squares = x * x
    cubes = squares * x
    terms = x.new_empty(len(x), 2, x.shape[1])
    scale = best = torch.zeros_like(largest)
    # The step of the largest weight itself comes first: what is as good as it is not taken.
    for more in sorted(range(-9, 10), key=lambda more: (more != 0, more)):
        inverse = _divided(-(np.float32(codes) + np.float32(0.1) * np.float32(more)), largest)
        whole = (x * inverse).round_().clamp_(-codes, codes - 1)
        torch.mul(cubes, whole, out=terms[:, 0])
        torch.mul(squares, whole, out=terms[:, 1]).mul_(whole)
        along, square = _in_order(terms)
        better = (square > 0) & (along * along > best * square)
        scale = torch.where(better, along / square, scale)
        best = torch.where(better, scale * along, best)
    return torch.where(largest.abs() < _TINY, 0, scale)


def fit_by_turns(x: Tensor, codes: int) -> Tensor:
    """The scale of each part, `[number, part]` to `[part]`, after its codes were changed one after
    another, at most five times each, where that makes them stand for it better, weighted by its
    squares (make_q3_quants)."""
    largest = _largest(x)
    squares = x * x
    cubes = squares * x
    whole = (x * _divided(-codes, largest)).round_().clamp_(-codes, codes - 1)
    along, square = _in_order(torch.stack((cubes * whole, squares * whole * whole), 1))
    for _ in range(5):
        changed = False
        for number, code, weight, cube in zip(x, whole, squares, cubes, strict=True):
            rest_along, rest_square = along - cube * code, square - weight * code * code
            other = _nearest(number * rest_square / rest_along).clamp_(-codes, codes - 1)
            new_along, new_square = rest_along + cube * other, rest_square + weight * other * other
            taken = (rest_along > 0) & (other != code) & (new_square > 0)
            taken &= new_along * new_along * square > along * along * new_square
            if taken.any():
                changed = True
                torch.where(taken, other, code, out=code)
                along = torch.where(taken, new_along, along)
                square = torch.where(taken, new_square, square)
        if not changed:
            break
    return torch.where((largest.abs() < _TINY) | (square <= 0), 0, along / square)


def _fit_with_minimum(x: Tensor, codes: int, search: Search) -> tuple[Tensor, Tensor]:
    """The scale and the least weight, 0 or below, of each part, `[number, part]` to `[part]` each,
    by which its codes stand for it best: of the whole range, and of a line through the weights for
    each step that is tried, which starts at the least weight that was best so far
    (make_qkx2_quants)."""
    weights = x.abs()
    if not search.absolute:
        # A root in float32 is not always the nearest number, one in float64 is after rounding.
        weights += (_in_order(x * x) / len(x)).double().sqrt_().float()
    all_weights, weighted = _in_order(torch.stack((weights, weights * x), 1))
    most, least = x.amax(0), x.amin(0).clamp_(max=0)
    inverse = _divided(codes, most - least)
    scale = 1 / inverse
    whole, terms = torch.empty_like(x), x.new_empty(len(x), 3, x.shape[1])

    def error(scale: Tensor, least: Tensor) -> Tensor:
        distance = (whole * scale).add_(least).sub_(x)
        distance = distance.abs_() if search.absolute else distance.square_()
        return _in_order(distance.mul_(weights))

    torch.sub(x, least, out=whole).mul_(inverse).round_().clamp_(0, codes)
    best = error(scale, least)
    for number in range(search.tries):
        more = np.float32(search.first) + np.float32(search.more) * np.float32(number)
        inverse = _divided(more + np.float32(codes), most - least)
        torch.sub(x, least, out=whole).mul_(inverse).round_().clamp_(0, codes)
        torch.mul(weights, whole, out=terms[:, 0])
        torch.mul(terms[:, 0], whole, out=terms[:, 1])
        torch.mul(terms[:, 0], x, out=terms[:, 2])
        once, twice, along = _in_order(terms)
        spread = all_weights * twice - once * once
        slope = (all_weights * along - weighted * once) / spread
        start = (twice * weighted - once * along) / spread
        above = start > 0
        slope = torch.where(above, along / twice, slope)
        start = start.clamp_(max=0)
        found = error(slope, start)
        better = (spread > 0) & (found < best)
        best = torch.where(better, found, best)
        scale, least = torch.where(better, slope, scale), torch.where(better, start, least)
    return scale, least


def _coded(numbers: Tensor, codes: int) -> Tensor:
    """Numbers of a block, 0 or above, by codes from 0 to `codes` of a scale in float16."""
    largest = numbers.amax(-1, keepdim=True)
    inverse = torch.where(largest > 0, _divided(codes, largest), 0)
    step = (largest / largest.new_tensor(codes)).half().float()
    return (numbers * inverse).round_().clamp_(0, codes).mul_(step)


def _by_piece(round_: Callable[[Tensor], None]) -> Callable[[Tensor], None]:
    def all_(blocks: Tensor) -> None:
        for piece in blocks.flatten(0, -2).split(_PIECE):
            round_(piece)

    return all_


def _below_each_other(blocks: Tensor, part: int) -> Tensor:
    """`[blocks, 256]` to `[number, part]`."""
    return blocks.view(-1, part).mT.contiguous()


def _largest(x: Tensor) -> Tensor:
    """The number of largest magnitude of each part, the first of several."""
    return x.gather(0, x.abs().argmax(0, keepdim=True)).squeeze(0)


def _in_order(terms: Tensor) -> Tensor:
    """Sums over the first dimension as a loop takes them."""
    total = terms[0].clone()
    for term in terms[1:]:
        total += term
    return total


def _divided(number: float | np.float32, by: Tensor) -> Tensor:
    """A true division: `number / by` would be a product with the inverse."""
    return by.new_tensor(float(number)) / by


def _nearest(numbers: Tensor) -> Tensor:
    """Whole numbers, halves to even ones, by the last bits of a sum as the library has them: the
    same for numbers beyond what that is made for, where a divisor is next to nothing."""
    return ((numbers + 12582912.0).view(torch.int32) & 0x7FFFFF).sub_(0x400000).float()
