"""Shapes in signatures are looked at while tests run, and what states none is left alone."""

from typing import Annotated

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import Tensor

from bitlens.engine.activations import Positions
from bitlens.models.shell import Shell
from bitlens.sae.sae import Sae
from tests.support.shapes import CHECKED, check_shapes, checked


def product(a: Annotated[Tensor, "n k"], b: Annotated[Tensor, "k m"]) -> Annotated[Tensor, "n m"]:
    """A product whose axes must agree."""
    return a @ b if b.shape[1] > 1 else a


def test_methods_with_a_shape_are_checked() -> None:
    """At the places where most tensors pass; none is left that says a shape and is not."""
    assert check_shapes() == []
    assert {Positions, Shell, Sae} <= set(CHECKED)
    ones = Positions.__new__(Positions)
    with pytest.raises(TypeCheckError, match="positions"):
        ones.largest(torch.ones(2, 2))


def test_another_shape_is_refused() -> None:
    """On the way in and on the way out; the right one passes."""
    multiply = checked(product)
    assert multiply(torch.ones(2, 3), torch.ones(3, 4)).shape == (2, 4)
    with pytest.raises(TypeCheckError):
        multiply(torch.ones(2, 3), torch.ones(4, 4))
    with pytest.raises(TypeCheckError):
        multiply(torch.ones(2, 3), torch.ones(3, 1))
