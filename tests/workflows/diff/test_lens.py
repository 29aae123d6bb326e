"""The logit lens of a direction is the derivative of the logits along it."""

import torch

from bitlens.workflows.diff.lens import extremes, pushes
from tests.support import tiny


def test_pushes_are_derivatives() -> None:
    """Of the whole end of a model, by automatic differentiation, averaged and centred."""
    layout = tiny.layout("llama")
    draw = torch.Generator().manual_seed(0)
    states = 3 * torch.randn(4, layout.width, generator=draw)
    directions = torch.randn(2, layout.width, generator=draw) * torch.tensor([[1.0], [7.0]])
    found = pushes(layout, states, directions)
    for direction, push in zip(directions, found, strict=True):
        along = [
            torch.autograd.functional.jvp(
                lambda x: layout.shell.leave(x[None])[0].float(), state, direction
            )[1]
            for state in states
        ]
        expected = torch.stack(along).mean(0)
        expected = expected - expected.mean()
        assert torch.allclose(push, expected, atol=2e-3 * float(expected.abs().max()))


def test_extremes_by_hand() -> None:
    """Most promoted first, most suppressed first."""
    assert extremes(torch.tensor([0.0, 3.0, -2.0, 1.0]), 2) == ([1, 3], [2, 0])
