"""When both are nothing they are equal; when one is, they have nothing in common."""

import torch

from bitlens.analyses.correlation import normalised


def test_nothing_and_something_by_hand() -> None:
    """6 of lengths sqrt(4) and sqrt(9) is 1; both nothing 1, one nothing 0; rounding beyond 1 is
    cut, and so is a size that rounding made negative."""
    product = torch.tensor([6.0, 0.0, 0.0, 6.1, -3.0, 0.0])
    a = torch.tensor([4.0, 0.0, 0.0, 4.0, 4.0, -1e-9])
    b = torch.tensor([9.0, 0.0, 5.0, 9.0, 9.0, -1e-9])
    assert normalised(product, a, b).tolist() == [1, 1, 0, 1, -0.5, 1]
