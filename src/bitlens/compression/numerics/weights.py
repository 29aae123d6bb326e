"""Working copies and sizes of weights, which every method needs."""

import torch
from torch import Tensor

from bitlens.errors import ModelError
from bitlens.models.matrices import LinearMap
from bitlens.models.tensors import finite


def working_copy(matrix: LinearMap) -> Tensor:
    """The weight in float32, contiguous, free to be changed in place.

    Weights that are not finite are refused: rounding would hide them."""
    weight = matrix.weight.detach().to(
        torch.float32, copy=True, memory_format=torch.contiguous_format
    )
    if not finite(weight):
        raise ModelError(
            f"{matrix.name} holds weights that are infinite or not a number.",
            "finite weights.",
            "load the model again, in a dtype that holds its weights.",
        )
    return weight


def frobenius(matrices: Tensor) -> Tensor:
    """How large is each matrix? `[..., out, in]` to `[..., 1, 1]`, float64.

    Rows are summed in their own precision, which is much faster, unless their squares are more
    than it holds, and added up in float64."""
    rows = torch.linalg.vector_norm(matrices, dim=-1, keepdim=True)
    if not finite(rows):
        rows = torch.linalg.vector_norm(matrices, dim=-1, keepdim=True, dtype=torch.float64)
    norms: Tensor = torch.linalg.vector_norm(rows.double(), dim=-2, keepdim=True)
    return norms
