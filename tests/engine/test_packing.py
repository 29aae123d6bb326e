"""Tensors packed into bytes come back as they were."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load, save

from bitlens.engine.packing import JOINED, PLACES, SMALL, pack, unpack

SHAPES = st.lists(st.integers(0, 4), max_size=3)
KINDS = st.sampled_from([torch.float64, torch.float32, torch.int64, torch.bool, torch.bfloat16])


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.tuples(SHAPES, KINDS), max_size=6))
def test_what_was_packed_is_unpacked(of: dict[str, tuple[list[int], torch.dtype]]) -> None:
    """Names, types, shapes, the empty and single numbers among them, and every bit."""
    draw = torch.Generator().manual_seed(0)
    tensors = {
        name: (torch.randn(shape, generator=draw) * 9).to(kind)
        for name, (shape, kind) in of.items()
    }
    again = unpack(pack(tensors))
    assert again.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert again[name].dtype == tensor.dtype
        assert again[name].shape == tensor.shape
        assert torch.equal(again[name], tensor)


def test_small_ones_lie_together_and_large_ones_alone() -> None:
    """Two small ones of a type are one tensor of the file."""
    large = torch.arange(SMALL + 1)
    packed = load(pack({"a": torch.zeros(2), "b": torch.ones(()), "c": large}))
    assert packed.keys() == {JOINED + "torch.float32", PLACES, "c"}
    assert packed[JOINED + "torch.float32"].tolist() == [0, 0, 1]
    assert torch.equal(packed["c"], large)


@pytest.mark.parametrize(
    "places",
    [
        b"[",
        b"{}x",
        b'[["a", "torch.float32"]]',
        b'[["a", "torch.float32", [3]]]',
        b'[["a", 1, [2]]]',
    ],
)
def test_what_was_never_packed_is_refused(places: bytes) -> None:
    """No list, a list that is none of places, places that are not there."""
    written = torch.frombuffer(bytearray(places), dtype=torch.uint8)
    with pytest.raises(SafetensorError, match="not sums as they were packed"):
        unpack(save({PLACES: written, JOINED + "torch.float32": torch.zeros(2)}))


def test_another_file_is_refused() -> None:
    """One without a list of places."""
    with pytest.raises(SafetensorError, match="not sums as they were packed"):
        unpack(save({"a": torch.zeros(2)}))
