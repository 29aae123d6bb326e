"""What is known of inputs, and what must be said where nothing is."""

from dataclasses import replace

import pytest
import torch

from bitlens.compression import parse_spec
from bitlens.compression.compression import MatrixGroup
from bitlens.compression.numerics.input_statistics import never_active
from bitlens.models.matrices import LinearMap
from tests.support.calibrated import inputs_of


def test_columns_and_experts_never_active_by_hand() -> None:
    """Of three experts of four columns: one with two silent columns, one never met at all."""
    sizes = torch.tensor([[1.0, 0, 0, 2], [0, 0, 0, 0], [1, 1, 1, 1]])
    assert never_active(sizes[0], "lost") == "2 of 4 input columns never active: lost"
    assert never_active(sizes, "lost") == (
        "2 of 12 input columns never active: lost; 1 of 3 inputs never active: not calibrated"
    )
    assert never_active(sizes[2], "lost") == ""


@pytest.mark.parametrize(
    ("text", "treated"),
    [
        ("gptq:bits=4", "made zero"),
        ("prune:sparsity=0.5,by=sparsegpt", "made zero"),
        ("prune:sparsity=0.5,by=wanda", "zeroed first"),
        ("prune:pattern=2:4,by=wanda", "zeroed first"),
        ("awq:bits=4,group=8", "scaled least"),
        ("smoothquant", "not smoothed"),
        ("squeezellm:bits=3", "counted least"),
    ],
)
def test_calibrated_methods_say_which_columns_were_silent(
    matrices: list[LinearMap], text: str, treated: str
) -> None:
    """How many, and what became of them; without any, nothing. Of experts, over all of them."""
    method = parse_spec(text)
    for matrix in matrices:
        known = inputs_of(matrix, method)
        assert known is not None
        assert [made.note for made in method.compress(MatrixGroup([matrix], 0, inputs=known))] == [
            ""
        ]
        columns, experts = matrix.weight.shape[-1], matrix.weight[..., 0, 0].numel()
        heard = torch.ones(columns)
        heard[[1, 5]] = 0
        silent = {
            name: getattr(known, name) * (heard.outer(heard) if name == "second_moment" else heard)
            for name in method.statistics
        }
        (made,) = method.compress(MatrixGroup([matrix], 0, None, replace(known, **silent)))
        assert made.note == (
            f"{2 * experts} of {columns * experts} input columns never active: {treated}"
        )
