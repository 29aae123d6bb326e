"""llama.cpp's K-formats. With its own library, on many more weights: against/test_gguf."""

import gguf
import numpy as np
import pytest
import torch

from bitlens.compression.checkpoints.blocks import stand_for
from bitlens.compression.numerics.llama_blocks import LLAMA_BLOCKS
from tests.support.k_blocks import BYTES, KINDS, WEIGHTS


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_is_what_the_library_makes_of_it(kind: str) -> None:
    """Bit by bit, as the bytes are read back by the library gguf and by our own reader."""
    weights = torch.from_numpy(WEIGHTS.copy())
    LLAMA_BLOCKS[kind].round_(weights.unsqueeze(0))
    theirs = gguf.dequantize(BYTES[kind], gguf.GGMLQuantizationType[kind.upper()])
    assert np.array_equal(weights.numpy(), theirs)
    assert np.array_equal(weights.numpy(), stand_for(kind.upper(), BYTES[kind], theirs.shape))
    assert BYTES[kind].shape[-1] == LLAMA_BLOCKS[kind].bytes


@pytest.mark.parametrize("kind", KINDS)
def test_company_does_not_matter(kind: str) -> None:
    """A block is rounded alone as it is among others, also where they are more than a piece."""
    weights = torch.from_numpy(WEIGHTS.copy())
    many = weights.repeat(50, 1).view(3, 400, 256)
    LLAMA_BLOCKS[kind].round_(many)
    LLAMA_BLOCKS[kind].round_(weights[5:6])
    assert torch.equal(many.view(50, 24, 256)[:, 5], weights[5].expand(50, -1))
