"""Codes and scales as numbers: a second reader of every format, beside the library's own.

It shares no code with what it is held against: arithmetic on the tensors of a file, from the
formats' descriptions. Integers packed into words of 32 bits, least significant bits first: what
AutoGPTQ, AutoAWQ and llm-compressor write. Floats of 8 bits: Micikevicius et al. 2022 (e4m3 without
infinities, e5m2). Floats of 4 bits, shared powers of two: OCP Microscaling Formats 1.0. 4 bits of
bitsandbytes: Dettmers et al. 2023, table and doubly quantized scales as they are in the file.
LLM.int8: Dettmers et al. 2022. HQQ: Badri and Shaji 2023, packed as its `BitPack` does.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]
Settings = Mapping[str, Any]

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""Which of eight neighbours stands in the first four bits, the second four, ..."""

FOUR_BIT_FLOATS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""By the lower three bits; the fourth is the sign."""


def stands_for(tensors: Tensors, settings: Settings) -> Tensor | None:
    """The weights, float32, as the format lays them out: `[out, in]`, or stacks of such; None of
    a format that is not described here. `settings`: those of the quantization in config.json."""
    names = tensors.keys()
    if "weight_packed" in names:
        packed = tensors["weight_packed"]
        return _packed(tensors) if packed.dtype == torch.int32 else _microscaled(tensors)
    if "qweight" in names:
        awq = settings.get("quant_method") == "awq"
        return _awq(tensors, settings) if awq else _gptq(tensors, settings)
    if "W_q" in names:
        return _half_quadratic(tensors)
    if "weight.absmax" in names:
        return _table(tensors)
    if "SCB" in names:
        return tensors["weight"].float() * (tensors["SCB"].float() / 127).unsqueeze(1)
    if any(name.endswith("_blocks") for name in names):
        return _blocks(tensors)
    for codes, scale, zero in (
        ("weight", "weight_scale", "weight_zero_point"),
        ("weight", "weight_scale_inv", ""),
        ("_weight_qdata", "_weight_scale", "_weight_zero_point"),
    ):
        if codes in names and scale in names:
            return _scaled(tensors[codes], tensors[scale], tensors.get(zero), settings)
    if len(names) == 1:
        (plain,) = tensors.values()
        return plain.float() if plain.is_floating_point() and plain.itemsize > 1 else None
    return None


def _unpacked(words: Tensor, bits: int, count: int) -> Tensor:
    """`count` codes of these bits along the last axis, from 32-bit words that follow each other
    without a gap, least significant bit first."""
    unpacked: Tensor
    if 32 % bits == 0:
        shifts = torch.arange(0, 32, bits, device=words.device)
        codes = (words.long().unsqueeze(-1) >> shifts) & (2**bits - 1)
        unpacked = codes.flatten(-2)[..., :count]
        return unpacked
    each = (words.long().unsqueeze(-1) >> torch.arange(32, device=words.device)) & 1
    stream = each.flatten(-2)[..., : count * bits].unflatten(-1, (count, bits))
    unpacked = (stream << torch.arange(bits, device=words.device)).sum(-1)
    return unpacked


def _packed(tensors: Tensors) -> Tensor:
    """compressed-tensors' integers: rows of codes, half their range taken off."""
    words, scale = tensors["weight_packed"], tensors["weight_scale"].float()
    rows, columns = (int(n) for n in tensors["weight_shape"].tolist())
    bits = words.shape[-1] * 32 // columns
    half = 2 ** (bits - 1)
    codes = _unpacked(words, bits, columns) - half
    zero = tensors.get("weight_zero_point")
    if zero is not None:
        zero = (_unpacked(zero.T, bits, rows) - half).T if zero.dtype == torch.int32 else zero
    return _times(codes, scale, zero, tensors.get("weight_g_idx"))


def _gptq(tensors: Tensors, settings: Settings) -> Tensor:
    """Columns of codes below each other; zeros are stored less one, but for version 2."""
    words, scales = tensors["qweight"], tensors["scales"].float()
    bits = int(settings["bits"])
    columns, rows = words.shape[0] * 32 // bits, words.shape[1]
    codes = _unpacked(words.T, bits, columns)
    less = 0 if settings.get("checkpoint_format") == "gptq_v2" else 1
    zeros = _unpacked(tensors["qzeros"], bits, rows) + less
    return _times(codes, scales.T, zeros.T, tensors.get("g_idx"))


def _awq(tensors: Tensors, settings: Settings) -> Tensor | None:
    if int(settings["bits"]) != 4 or str(settings.get("version", "gemm")).lower() != "gemm":
        return None
    order = torch.tensor(AWQ_ORDER).argsort()
    codes, zeros = (
        _unpacked(tensors[n], 4, tensors[n].shape[1] * 8).unflatten(1, (-1, 8))[..., order]
        for n in ("qweight", "qzeros")
    )
    return _times(codes.flatten(1).T, tensors["scales"].float().T, zeros.flatten(1).T, None)


def _times(codes: Tensor, scale: Tensor, zero: Tensor | None, group: Tensor | None) -> Tensor:
    """(code - zero) times scale, each for a group of columns: neighbours, or as `group` says."""
    if group is None or int(group.min()) < 0:
        per = scale.shape[-1] if scale.ndim == 2 else 1
        group = torch.arange(codes.shape[1]) // math.ceil(codes.shape[1] / per)
    scale = scale if scale.ndim == 2 else scale.reshape(-1, 1)
    values = codes.float()
    if zero is not None:
        values -= zero.float().reshape(-1, scale.shape[-1])[:, group.long()]
    return values * scale[:, group.long()]


def _scaled(codes: Tensor, scale: Tensor, zero: Tensor | None, settings: Settings) -> Tensor:
    """A code a number; scales for all, for rows, for groups of a row or for rectangles."""
    values = codes.float() if codes.dtype == torch.int8 else _eight_bit_floats(codes)
    scale = scale.float().reshape(-1, 1) if scale.ndim < 2 else scale.float()
    sides = settings.get("weight_block_size")

    def spread(numbers: Tensor) -> Tensor:
        for axis in (0, 1):
            size = codes.shape[axis]
            each = math.ceil(size / numbers.shape[axis])
            if sides and 1 < numbers.shape[axis] < size:
                each = int(sides[axis])
            numbers = numbers.repeat_interleave(each, axis).narrow(axis, 0, size)
        return numbers

    if zero is not None:
        values = values - spread(zero.float().reshape(scale.shape))
    return values * spread(scale)


def _eight_bit_floats(codes: Tensor) -> Tensor:
    """Sign, exponent, mantissa; exponent 0: no leading one."""
    exponents, mantissas = (5, 2) if codes.dtype == torch.float8_e5m2 else (4, 3)
    byte, bias = codes.view(torch.uint8).int(), 2 ** (exponents - 1) - 1
    mantissa = (byte & (2**mantissas - 1)).float() / 2**mantissas
    exponent = (byte >> mantissas) & (2**exponents - 1)
    size = torch.where(exponent > 0, 1 + mantissa, mantissa)
    size = size * torch.exp2((exponent.clamp(min=1) - bias).float())
    return torch.where(byte > 127, -size, size)


def _four_bit_floats(packed: Tensor) -> Tensor:
    """Two a byte, the lower half first."""
    codes = torch.stack([packed & 15, packed >> 4], -1).flatten(-2).long()
    size = torch.tensor(FOUR_BIT_FLOATS, device=packed.device)[codes & 7]
    return torch.where(codes > 7, -size, size)


def _microscaled(tensors: Tensors) -> Tensor | None:
    """compressed-tensors' floats of 4 bits: NVFP4 (scales of 8 bits, divided by one for all), MXFP4
    (powers of two)."""
    scale, whole = tensors["weight_scale"], tensors.get("weight_global_scale")
    values = _four_bit_floats(tensors["weight_packed"])
    if whole is not None:
        scales = _eight_bit_floats(scale) / whole.float()
    elif scale.dtype == torch.uint8:
        scales = torch.exp2(scale.float() - 127)
    else:
        return None
    return values * scales.repeat_interleave(values.shape[-1] // scales.shape[-1], -1)


def _blocks(tensors: Tensors) -> Tensor:
    """MXFP4 as gpt-oss stores experts: `[expert, out, block, bytes]`; `[expert, in, out]` in the
    model."""
    (blocks,) = (t for n, t in tensors.items() if n.endswith("_blocks"))
    (scales,) = (t for n, t in tensors.items() if n.endswith("_scales"))
    values = _four_bit_floats(blocks) * torch.exp2(scales.float() - 127).unsqueeze(-1)
    return values.flatten(-2).transpose(-1, -2)


def _table(tensors: Tensors) -> Tensor | None:
    """bitsandbytes' 4 bits: two codes a byte, the higher half first, blocks from row to row."""
    (state,) = (t for n, t in tensors.items() if n.startswith("weight.quant_state."))
    said = json.loads(bytes(state.tolist()).decode())
    scale = tensors["weight.absmax"]
    if "weight.nested_absmax" in tensors:
        own = tensors["weight.nested_absmax"].repeat_interleave(int(said["nested_blocksize"]))
        codes = tensors["weight.nested_quant_map"][scale.long()]
        scale = codes * own[: codes.numel()] + said["nested_offset"]
    packed = tensors["weight"].flatten()
    codes = torch.stack([packed >> 4, packed & 15], 1).flatten()[: math.prod(said["shape"])]
    values = tensors["weight.quant_map"].float()[codes.long()]
    each = scale.float().repeat_interleave(int(said["blocksize"]))[: values.numel()]
    return (values * each).reshape(said["shape"])


def _half_quadratic(tensors: Tensors) -> Tensor | None:
    """HQQ: (code - zero) times scale in groups; slices of the matrix stand in the bits of a byte,
    the first in the highest."""
    bits, words = int(tensors["nbits"]), tensors["W_q"]
    if "zero" not in tensors or words.dtype not in (torch.uint8, torch.int32):
        return None
    per, width = (10, 3) if bits == 3 else (8 // bits, bits)
    shifts = [width * (per - 1 - n) for n in range(per)]
    shape = [int(n) for n in tensors["shape"].tolist()]
    scale, zero = tensors["scale"].float(), tensors["zero"].float()
    codes = torch.cat([(words.int() >> shift) & (2**bits - 1) for shift in shifts])
    by_row = int(tensors["axis"]) == 1
    codes = codes[: scale.shape[0]] if by_row else codes[: math.prod(shape) // scale.shape[1]]
    return ((codes.float() - zero) * scale).reshape(shape)
