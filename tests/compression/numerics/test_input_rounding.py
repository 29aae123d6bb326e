"""Rounded inputs: who shares a scale, and who decides about whom."""

import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bitlens.compression.numerics.input_rounding import InputRounding
from tests.support import tiny

SMOOTH = torch.tensor([1.0, 2.0, 0.5, 4.0])
KINDS = {
    "token": InputRounding("int8"),
    "tensor": InputRounding("int8", largest=torch.tensor(3.0)),
    "smooth": InputRounding("int8", smooth=SMOOTH),
    "outliers": InputRounding("int8", outliers=2.0),
    "float8": InputRounding("float8_e4m3fn"),
    "rotated": InputRounding("int8", smooth=SMOOTH, rotation="hadamard 17"),
    "blocks": InputRounding("int8 in blocks of 128"),
    "float8 tensor": InputRounding("float8_e5m2", largest=torch.tensor(2.0)),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> InputRounding:
    return KINDS[request.param]


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_a_position_by_hand() -> None:
    """Steps of [127, 0.4, 0.6] and of a tenth of it are 1 and 0.1."""
    x = torch.tensor([[[127, 0.4, 0.6], [12.7, 0.04, 0.06]]])
    expected = torch.tensor([[[127, 0, 1], [12.7, 0, 0.1]]])
    torch.testing.assert_close(InputRounding("int8").round(x), expected)


def test_a_fixed_scale_by_hand() -> None:
    """A largest of 12.7 makes the step 0.1 for every position, and clips what is beyond."""
    x = torch.tensor([[[127, 0.04, 0.06], [1.27, -99, 0]]])
    out = InputRounding("int8", largest=torch.tensor(12.7)).round(x)
    torch.testing.assert_close(out, torch.tensor([[[12.7, 0, 0.1], [1.3, -12.7, 0]]]))


def test_smoothing_by_hand() -> None:
    """[254, 0.6] over [2, 0.5] is [127, 1.2], rounded [127, 1], and back [254, 0.5]."""
    out = InputRounding("int8", smooth=torch.tensor([2.0, 0.5])).round(torch.tensor([[[254, 0.6]]]))
    assert out.tolist() == [[[254, 0.5]]]


def test_a_rotation_by_hand() -> None:
    """[100, 0] turned is [70.7, 70.7], both the last number of a position; back it is [100, 0].
    [127, 126.2] is [179.04, 0.566], of which the step is 1.41: the second becomes 0."""
    rounding = InputRounding("int8", rotation="hadamard")
    out = rounding.round(torch.tensor([[[100.0, 0], [127, 126.2]]]))
    torch.testing.assert_close(out, torch.tensor([[[100.0, 0], [126.6, 126.6]]]))


def test_outliers_by_hand() -> None:
    """At a threshold of 6 the first column holds an outlier, at the first position: it stays as
    it is at both. The first position's step comes from 1.27, the second's from 2.54, which is
    in the outliers' column but none itself."""
    x = torch.tensor([[[6.0, 1.27, 0.014], [2.54, 0.05, 0.015]]])
    out = InputRounding("int8", outliers=6.0).round(x)
    torch.testing.assert_close(out, torch.tensor([[[6.0, 1.27, 0.01], [2.54, 0.04, 0.02]]]))


def test_outliers_of_another_row_do_not_matter() -> None:
    """Each row is a call: the second has no outlier, so its first column is rounded."""
    x = torch.tensor([[[6.0, 1.27]], [[2.54, 0.015]]])
    out = InputRounding("int8", outliers=6.0).round(x)
    torch.testing.assert_close(out, torch.tensor([[[6.0, 1.27]], [[2.54, 0.02]]]))


def test_tokens_of_an_expert_are_calls_of_their_own() -> None:
    """Without rows, an outlier of one token decides nothing about the others."""
    x = torch.tensor([[6.0, 1.27], [2.54, 0.015]])
    out = InputRounding("int8", outliers=6.0).round(x)
    torch.testing.assert_close(out, torch.tensor([[6.0, 1.27], [2.54, 0.02]]))


def test_company_and_padding_do_not_matter(kind: InputRounding) -> None:
    """A row alone, in a batch, and padded with anything gives the same bits."""
    x = drawn(3, 5, 4)
    together = kind.round(x)
    for row in range(3):
        assert torch.equal(kind.round(x[row : row + 1])[0], together[row])
    padded = torch.cat([x, 1e6 * drawn(3, 2, 4)], 1)
    valid = torch.arange(7).expand(3, 7) < 5
    assert torch.equal(kind.round(padded, valid)[:, :5], together)
    before = torch.cat([1e6 * drawn(3, 2, 4), x], 1)
    assert torch.equal(kind.round(before, valid.flip(1))[:, 2:], together)


def test_what_is_handed_in_stays_as_it_is(kind: InputRounding) -> None:
    """Inputs are not changed; the result has their shape and dtype, and is finite."""
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        x = drawn(2, 3, 4).to(dtype)
        before = x.clone()
        out = kind.round(x)
        assert torch.equal(x, before)
        assert out.shape == x.shape
        assert out.dtype == dtype
        assert torch.isfinite(out).all()
        assert not torch.equal(out, x)


def test_vectors_of_zeros(kind: InputRounding) -> None:
    """Zeros stay zeros, whatever stands beside them."""
    x = drawn(2, 3, 4)
    x[0, 1] = 0
    out = kind.round(x)
    assert torch.isfinite(out).all()
    assert not out[0, 1].any()
    assert not kind.round(torch.zeros(1, 2, 4)).any()


def test_rounding_twice_is_rounding_once(kind: InputRounding) -> None:
    """Rounded inputs are their own rounding, to float32."""
    once = kind.round(drawn(2, 3, 4))
    torch.testing.assert_close(kind.round(once), once)


def test_a_transposed_view() -> None:
    """Inputs need not be contiguous."""
    x = drawn(4, 2, 3).permute(1, 2, 0)
    assert torch.equal(KINDS["smooth"].round(x), KINDS["smooth"].round(x.contiguous()))


def test_experts_have_their_own() -> None:
    """Of fused experts each divides and clips by its own; what they share stays."""
    both = InputRounding("int8", smooth=drawn(2, 4).abs(), largest=torch.tensor([1.0, 2.0]))
    x = drawn(5, 4)
    for index in range(2):
        assert both.smooth is not None
        assert both.largest is not None
        own = InputRounding("int8", both.smooth[index], both.largest[index])
        assert torch.equal(both.expert(index).round(x), own.round(x))
    assert torch.equal(KINDS["smooth"].expert(1).round(x), KINDS["smooth"].round(x))


def test_parts_make_it_again(kind: InputRounding) -> None:
    """What files hold of it, plain values through JSON and tensors, makes the same rounding."""
    values, tensors = kind.parts()
    again = InputRounding(**json.loads(json.dumps(values)), **tensors)
    assert again.parts()[0] == values
    assert torch.equal(again.round(drawn(2, 3, 4)), kind.round(drawn(2, 3, 4)))


@pytest.mark.parametrize("threshold", [0.5, 1, 2])
def test_padding_is_no_outlier_of_a_swept_row(threshold: float) -> None:
    """Blocks that round their inputs are told where a row ends: whatever token pads it, the same
    bits."""
    layout, batch = tiny.layout("gpt2"), tiny.batch([12, 7])
    assert batch.mask is not None
    other = replace(batch, tokens=torch.where(batch.mask.bool(), batch.tokens, 77))
    twin = {"twin": tiny.twin(layout, f"int8:threshold={threshold}")}
    first, second = (
        tiny.activations(tiny.sweep(layout, [b], ["resid.2"], twin))[
            ("twin", "resid.2", 0)
        ].flatten(0, 1)[batch.index]
        for b in (batch, other)
    )
    assert torch.equal(first, second)
