"""The second reader of GGUF blocks."""

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind

from bitlens.compression.checkpoints.blocks import BLOCKS, PLAIN, stand_for


@pytest.mark.parametrize("kind", [*PLAIN, *BLOCKS])
def test_it_reads_what_the_library_reads(kind: str) -> None:
    """Arbitrary bytes but for scales, which are finite, block by block to the last bit or two:
    products are rounded once here, and there in two steps."""
    draw = np.random.default_rng(0)
    size = BLOCKS[kind][0] if kind in BLOCKS else 64
    data = draw.integers(0, 256, (40, size), dtype=np.uint8)
    at = {"Q2_K": [80, 82], "Q3_K": [108], "Q6_K": [208]}.get(kind, [0, 2])
    if kind in PLAIN:
        data = draw.normal(size=(40, size)).astype(np.float32).view(np.uint8)
        data = gguf.quantize(data.view(np.float32), Kind[kind]).view(np.uint8)
    elif kind != "MXFP4":
        for place in at:
            scale = draw.normal(size=40).astype("<f2")
            data[:, place : place + 2] = scale.view(np.uint8).reshape(40, 2)
    theirs = gguf.dequantize(data, Kind[kind])
    ours = stand_for(kind, data, theirs.shape)
    assert np.allclose(ours, theirs, rtol=1e-6, atol=1e-6)


def test_q8_0_by_hand() -> None:
    """A scale of a half, codes from -16 to 15."""
    block = np.concatenate(
        [np.array([0.5], "<f2").view(np.uint8), np.arange(-16, 16).astype(np.int8).view(np.uint8)]
    )
    assert np.array_equal(stand_for("Q8_0", block, (32,)), np.arange(-16, 16) / 2)


def test_a_kind_that_it_does_not_know_is_not_guessed() -> None:
    assert stand_for("IQ2_XS", np.zeros(74, np.uint8), (256,)) is None
