"""Hadamard rotations: orthogonal changes of basis after which no coordinate stands out."""

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

_LARGEST, _SEARCHED = 64, 1024
"""Numbers mixed by one product of a power of two; of the orders that are looked for otherwise."""


@dataclass(frozen=True, eq=False)
class HadamardRotation:
    """Signs, then the Kronecker product of small orthogonal matrices: n numbers cost n times the
    sum of their sizes."""

    signs: Tensor
    """`[n]`, of 1 and -1."""
    factors: tuple[Tensor, ...]
    """`[k, k]` each; sizes multiply to n."""

    def apply(self, x: Tensor) -> Tensor:
        """`[..., n]` in the new basis."""
        return self._mixed(x * self.signs.to(x.device), transposed=False)

    def undo(self, x: Tensor) -> Tensor:
        """`[..., n]` of the new basis in the old one."""
        return self._mixed(x, transposed=True) * self.signs.to(x.device)

    def _mixed(self, x: Tensor, transposed: bool) -> Tensor:
        sizes = [len(factor) for factor in self.factors]
        mixed = x.unflatten(-1, sizes)
        for axis, factor in enumerate(self.factors, start=-len(sizes)):
            matrix = factor.to(x.device).mT if transposed else factor.to(x.device)
            mixed = (mixed.movedim(axis, -1) @ matrix.mT).movedim(-1, axis)
        whole: Tensor = mixed.flatten(-len(sizes))
        return whole


@cache
def hadamard(size: int, seed: int | None = None) -> HadamardRotation:
    """The rotation of so many numbers, with random signs where there is a seed. Its entries are
    1 or -1 over √n where Sylvester's and Paley's constructions give a Hadamard matrix; else an odd
    factor of n is mixed by a random orthogonal matrix, the same for all."""
    odd, twos = size, 1
    while odd % 2 == 0:
        odd, twos = odd // 2, twos * 2
    factors: list[Tensor] = []
    if odd > 1:
        orders = (odd * 2**k for k in range(1, twos.bit_length()))
        found = next((n for n in orders if n <= _SEARCHED and _paley(n) is not None), odd)
        built = _paley(found)
        if built is None:
            built = nn.init.orthogonal_(
                torch.empty(odd, odd), generator=torch.Generator().manual_seed(odd)
            )
        factors, twos = [built], twos * odd // found
    while twos > 1 or not factors:
        factors.append(_sylvester(min(twos, _LARGEST)))
        twos //= min(twos, _LARGEST)
    signs = torch.ones(size)
    if seed is not None:
        random = torch.Generator().manual_seed(seed)
        signs = torch.randint(0, 2, (size,), generator=random).mul(2).sub(1).float()
    return HadamardRotation(signs, tuple(factors))


def _sylvester(order: int) -> Tensor:
    matrix = torch.ones(1, 1)
    while len(matrix) < order:
        matrix = torch.kron(torch.tensor([[1.0, 1], [1, -1]]), matrix)
    return matrix / math.sqrt(order)


def _paley(order: int) -> Tensor | None:
    """Paley's two constructions (1933), from the squares modulo a prime; None where neither has a
    matrix of this order."""
    if order < 4:
        return None
    if _is_prime(order - 1) and order % 4 == 0:
        skew = _bordered(order - 1, -1)
        return (skew + torch.eye(order)) / math.sqrt(order)
    if order % 4 == 0 and _is_prime(order // 2 - 1) and (order // 2 - 1) % 4 == 1:
        pair, turned = torch.tensor([[1.0, 1], [1, -1]]), torch.tensor([[1.0, -1], [-1, -1]])
        symmetric = _bordered(order // 2 - 1, 1)
        matrix = torch.kron(symmetric, pair) + torch.kron(torch.eye(order // 2), turned)
        return matrix / math.sqrt(order)
    return None


def _bordered(prime: int, border: int) -> Tensor:
    """Whether differences are squares modulo a prime (1, -1, and 0 of 0), with a row of ones above
    and a column of `border` before."""
    squares = {n * n % prime for n in range(1, prime)}
    kinds = torch.tensor([0.0, *(1.0 if n in squares else -1.0 for n in range(1, prime))])
    numbers = torch.arange(prime)
    matrix = torch.zeros(prime + 1, prime + 1)
    matrix[0, 1:], matrix[1:, 0] = 1, border
    matrix[1:, 1:] = kinds[(numbers.unsqueeze(-1) - numbers) % prime]
    return matrix


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % n for n in range(2, math.isqrt(number) + 1))
