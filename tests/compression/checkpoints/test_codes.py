"""The second reader, on codes written by hand and on what libraries wrote."""

import json

import pytest
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationScheme
from torch import Tensor

from bitlens.compression.checkpoints.codes import AWQ_ORDER, stands_for
from tests.support.quantized_folders import words

ROWS, COLUMNS, GROUP = 16, 64, 32


def drawn(bits: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 2**bits, shape, generator=torch.Generator().manual_seed(seed))


def scales(*shape: int) -> Tensor:
    return 0.5 + torch.rand(shape, generator=torch.Generator().manual_seed(1))


def stream(codes: Tensor, bits: int) -> Tensor:
    """Codes one after another in 32-bit words, from the lowest bit, across the words' ends."""
    packed = []
    for row in codes.tolist():
        whole = sum(code << (bits * place) for place, code in enumerate(row))
        count = len(row) * bits // 32
        packed.append([(whole >> (32 * n)) & 0xFFFFFFFF for n in range(count)])
    return torch.tensor(packed).where(torch.tensor(packed) < 2**31, torch.tensor(packed) - 2**32)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize(("version", "less"), [("gptq", 1), ("gptq_v2", 0)])
def test_gptq(bits: int, version: str, less: int) -> None:
    """Columns in groups by their own list; version 1 stores zeros less one."""
    columns = 96 if bits == 3 else COLUMNS
    codes, scale = drawn(bits, 32, columns), scales(32, columns // GROUP)
    zeros = drawn(bits, 32, columns // GROUP, seed=2).clamp(min=less)
    group = torch.randperm(columns, generator=torch.Generator().manual_seed(3)) // GROUP
    tensors = {
        "qweight": stream(codes, bits).T.int(),
        "qzeros": stream((zeros - less).T, bits).int(),
        "scales": scale.T.contiguous(),
        "g_idx": group.int(),
    }
    found = stands_for(
        tensors, {"quant_method": "gptq", "bits": bits, "checkpoint_format": version}
    )
    expected = (codes - zeros[:, group]) * scale[:, group]
    assert found is not None
    assert torch.equal(found, expected)


def test_awq() -> None:
    """Eight neighbours in an order of their own; zeros as they are."""
    codes, zeros = drawn(4, ROWS, COLUMNS), drawn(4, ROWS, COLUMNS // GROUP, seed=2)
    scale = scales(ROWS, COLUMNS // GROUP)

    def packed(numbers: Tensor) -> Tensor:
        shuffled = numbers.T.unflatten(1, (-1, 8))[..., list(AWQ_ORDER)]
        return words(shuffled.flatten(1), 4)

    tensors = {"qweight": packed(codes), "qzeros": packed(zeros), "scales": scale.T.contiguous()}
    settings = {"quant_method": "awq", "bits": 4, "version": "gemm"}
    found = stands_for(tensors, settings)
    each = torch.arange(COLUMNS) // GROUP
    assert found is not None
    assert torch.equal(found, (codes - zeros[:, each]) * scale[:, each])
    assert stands_for(tensors, {**settings, "version": "gemv"}) is None, "another layout"


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_floats_of_8_bits(dtype: torch.dtype) -> None:
    """Every one of them that is a number."""
    every = torch.arange(256, dtype=torch.uint8).view(dtype)
    finite = every[torch.isfinite(every.float())].reshape(1, -1)
    found = stands_for({"weight": finite, "weight_scale": torch.tensor([2.0])}, {})
    assert found is not None
    assert torch.equal(found, 2 * finite.float())


@pytest.mark.parametrize("shape", [(), (1,), (4,), (4, 1), (4, 3), (2, 3)])
def test_scales_of_any_extent(shape: tuple[int, ...]) -> None:
    """One, one a row, one a group of a row, one a rectangle."""
    codes, scale = drawn(7, 4, 6).to(torch.int8), scales(*shape)
    rows, columns = (*shape, 1, 1)[:2] if shape else (1, 1)
    spread = scale.reshape(rows, columns).repeat_interleave(4 // rows, 0)
    expected = codes * spread.repeat_interleave(6 // columns, 1)
    found = stands_for({"weight": codes, "weight_scale": scale}, {})
    assert found is not None
    assert torch.equal(found, expected)


def test_rectangles_that_do_not_divide() -> None:
    """Of 4 by 4 in 6 by 10: the last of each are narrower."""
    codes, scale = drawn(7, 6, 10).to(torch.int8), scales(2, 3)
    settings = {"weight_block_size": [4, 4]}
    found = stands_for({"weight": codes, "weight_scale_inv": scale}, settings)
    expected = codes * scale[torch.arange(6)[:, None] // 4, torch.arange(10) // 4]
    assert found is not None
    assert torch.equal(found, expected)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("axis", [0, 1])
def test_hqq(bits: int, axis: int) -> None:
    """Slices of the rows of groups in the bits of a byte, ten of three bits in 32."""
    count = ROWS * COLUMNS // GROUP
    shape = (count, GROUP) if axis == 1 else (GROUP, count)
    codes = drawn(bits, *shape)
    along = (count, 1) if axis == 1 else (1, count)
    scale, zero = scales(*along), 2 * scales(*along)
    per, width = (10, 3) if bits == 3 else (8 // bits, bits)
    padded = torch.nn.functional.pad(codes, (0, 0, 0, -len(codes) % per))
    slices = padded.unflatten(0, (per, -1))
    shifts = torch.tensor([width * (per - 1 - n) for n in range(per)])[:, None, None]
    tensors = {
        "W_q": (slices << shifts).sum(0).to(torch.int32 if bits == 3 else torch.uint8),
        "scale": scale,
        "zero": zero,
        "nbits": torch.tensor(bits),
        "axis": torch.tensor(axis),
        "shape": torch.tensor([ROWS, COLUMNS]),
    }
    found = stands_for(tensors, {})
    expected = ((codes - zero) * scale).reshape(ROWS, COLUMNS)
    assert found is not None
    assert torch.allclose(found, expected)


@pytest.mark.parametrize("nested", [False, True])
def test_four_bits_of_bitsandbytes(nested: bool) -> None:
    """Two codes a byte, the higher half first; scales of scales where they are."""
    codes, table = drawn(4, 2 * GROUP), torch.linspace(-1, 1, 16)
    said = {"blocksize": GROUP, "shape": [2, GROUP]}
    scale = torch.tensor([2.0, 3.0])
    tensors = {
        "weight": ((codes[::2] << 4) | codes[1::2]).to(torch.uint8)[:, None],
        "weight.quant_map": table,
        "weight.absmax": scale,
    }
    if nested:
        said |= {"nested_blocksize": 256, "nested_offset": 0.5}
        tensors["weight.absmax"] = torch.tensor([1, 0], dtype=torch.uint8)
        tensors["weight.nested_quant_map"] = torch.tensor([1.0, 3.0])
        tensors["weight.nested_absmax"] = torch.tensor([2.0])
        scale = torch.tensor([3 * 2 + 0.5, 1 * 2 + 0.5])
    state = torch.frombuffer(bytearray(json.dumps(said).encode()), dtype=torch.uint8)
    tensors["weight.quant_state.bitsandbytes__nf4"] = state
    found = stands_for(tensors, {})
    assert found is not None
    assert torch.allclose(found, table[codes].reshape(2, GROUP) * scale[:, None])


@pytest.mark.parametrize(
    ("form", "weights"),
    [
        ("pack-quantized", {"num_bits": 3, "type": "int", "strategy": "channel"}),
        (
            "pack-quantized",
            {
                "num_bits": 4,
                "type": "int",
                "strategy": "group",
                "group_size": 32,
                "symmetric": False,
            },
        ),
        ("nvfp4-pack-quantized", {"num_bits": 4, "type": "float", "strategy": "tensor_group"}),
    ],
)
def test_what_llm_compressor_packs(form: str, weights: dict[str, object]) -> None:
    """Odd widths, zeros, floats of 4 bits: as the library reads back what it wrote."""
    if weights["strategy"] == "tensor_group":
        weights = {**weights, "group_size": 16}
    scheme = QuantizationScheme(targets=["Linear"], weights=weights)
    groups = COLUMNS // int(scheme.weights.group_size or COLUMNS)
    held = {
        "weight": torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(0)),
        "weight_scale": scales(ROWS, groups),
    }
    if not scheme.weights.symmetric:
        held["weight_zero_point"] = (drawn(4, ROWS, groups) - 8).to(torch.int8)
    if "nvfp4" in form:
        held["weight_global_scale"] = torch.tensor([2.0])
    compressor = BaseCompressor.get_value_from_registry(form)
    packed = compressor.compress(held, scheme)
    theirs = compressor.decompress(packed, scheme)["weight"].float()
    ours = stands_for({n: t for n, t in packed.items() if t is not None}, {})
    assert ours is not None
    assert torch.allclose(ours, theirs, rtol=1e-2 if "nv" in form else 1e-6)


def test_blocks_with_a_shared_power_of_two() -> None:
    """gpt-oss: two values a byte, the lower half first; 127 is the power nought."""
    bytes_ = torch.tensor([0x1F, 0x70], dtype=torch.uint8).repeat(8).reshape(1, 1, 1, 16)
    scale = torch.tensor([128], dtype=torch.uint8).reshape(1, 1, 1)
    found = stands_for({"a_blocks": bytes_, "a_scales": scale}, {})
    assert found is not None
    assert found.shape == (1, 32, 1)
    assert found[0, :4, 0].tolist() == [-12, 1, 0, 12]


def test_what_it_does_not_know_is_not_guessed() -> None:
    assert stands_for({"weight": torch.ones(2, 2, dtype=torch.uint8)}, {}) is None
    assert stands_for({"weight": torch.ones(2, 2), "weight_odd": torch.ones(2)}, {}) is None
