"""Blocks of a GGUF file as numbers: a second reader, beside the library's own.

By the layouts of llama.cpp's ggml-common.h: a block is a run of weights of one row, with a scale of
16 bits before, after or between its codes. In the K-formats 256 weights share two scales of 16
bits, and the scales of their parts are codes themselves.
"""

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


def stand_for(kind: str, data: Bytes, shape: tuple[int, ...]) -> Floats | None:
    """The weights of a tensor of this kind; None of a kind that is not described here."""
    flat = np.ascontiguousarray(data).view(np.uint8).reshape(-1)
    if kind in PLAIN:
        plain: Floats = PLAIN[kind](flat).reshape(shape)
        return plain
    if kind not in BLOCKS:
        return None
    size, read = BLOCKS[kind]
    return read(flat.reshape(-1, size)).reshape(shape)


def _half(block: Bytes) -> Floats:
    return np.ascontiguousarray(block).view("<f2").astype(np.float32)


def _bfloat16(flat: Bytes) -> Floats:
    return (flat.view("<u2").astype(np.uint32) << 16).view(np.float32)


def _nibbles(block: Bytes) -> NDArray[np.int32]:
    """The lower halves of all bytes, then the higher."""
    return np.concatenate([block & 15, block >> 4], 1).astype(np.int32)


def _fifth(block: Bytes) -> NDArray[np.int32]:
    """One more bit for each of 32 weights, from four bytes."""
    return np.unpackbits(block, axis=1, bitorder="little").astype(np.int32) << 4


def _q4_0(block: Bytes) -> Floats:
    return _half(block[:, :2]) * (_nibbles(block[:, 2:]) - 8)


def _q4_1(block: Bytes) -> Floats:
    return _half(block[:, :2]) * _nibbles(block[:, 4:]) + _half(block[:, 2:4])


def _q5_0(block: Bytes) -> Floats:
    return _half(block[:, :2]) * (_nibbles(block[:, 6:]) + _fifth(block[:, 2:6]) - 16)


def _q5_1(block: Bytes) -> Floats:
    codes = _nibbles(block[:, 8:]) + _fifth(block[:, 4:8])
    return _half(block[:, :2]) * codes + _half(block[:, 2:4])


def _q8_0(block: Bytes) -> Floats:
    return _half(block[:, :2]) * block[:, 2:].view(np.int8)


def _mxfp4(block: Bytes) -> Floats:
    """A power of two, 2 to the first byte less 128, and codes for 0, 1, 2, 3, 4, 6, 8 and 12, the
    upper eight of them negative."""
    half = np.array([0, 1, 2, 3, 4, 6, 8, 12], np.float32)
    values = np.concatenate([half, -half])[_nibbles(block[:, 1:])]
    weights: Floats = np.ldexp(values, block[:, :1].astype(np.int32) - 128)
    return weights


def _six_bit_scales(packed: Bytes) -> tuple[Floats, Floats]:
    """Eight scales and eight minima of 6 bits in twelve bytes: the first four of each have theirs
    in the lower bits of a byte, the others 4 bits in the last four bytes and 2 above the first."""
    first, second, third = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.concatenate([first & 63, (third & 15) | (first >> 6 << 4)], 1)
    minima = np.concatenate([second & 63, (third >> 4) | (second >> 6 << 4)], 1)
    return scales.astype(np.float32), minima.astype(np.float32)


def _eight_parts(block: Bytes, codes: NDArray[np.int32]) -> Floats:
    """`codes` `[blocks, part, 32]` less the minimum of their part."""
    scales, minima = _six_bit_scales(block[:, 4:16])
    scales, minima = scales * _half(block[:, :2]), minima * _half(block[:, 2:4])
    return (codes * scales[..., None] - minima[..., None]).reshape(len(block), 256)


def _by_128(packed: Bytes) -> NDArray[np.int32]:
    """Codes of two bits, 32 bytes for 128 of them: the lowest bits are the first 32, and so on."""
    runs = packed.reshape(len(packed), 2, 1, 32) >> (2 * np.arange(4))[:, None] & 3
    return runs.reshape(len(packed), 256).astype(np.int32)


def _q2_k(block: Bytes) -> Floats:
    """Sixteen parts of 16, scale and minimum of each in one byte."""
    codes = _by_128(block[:, 16:80]).reshape(-1, 16, 16)
    scales = (block[:, :16] & 15) * _half(block[:, 80:82])
    minima = (block[:, :16] >> 4) * _half(block[:, 82:])
    weights: Floats = (codes * scales[..., None] - minima[..., None]).reshape(-1, 256)
    return weights


def _q3_k(block: Bytes) -> Floats:
    """Sixteen parts of 16; the upper bit of part 2n and 2n + 1 is bit n of 32 bytes. Scales of 6
    bits: four of them in the halves of eight bytes, two in four bytes more."""
    high = (block[:, None, :32] >> np.arange(8)[:, None]) & 1
    codes = _by_128(block[:, 32:96]) + 4 * high.reshape(-1, 256).astype(np.int32) - 4
    upper = block[:, None, 104:108] >> (2 * np.arange(4))[:, None] & 3
    scales = _nibbles(block[:, 96:104]) + 16 * upper.reshape(-1, 16).astype(np.int32) - 32
    steps = scales * _half(block[:, 108:])
    weights: Floats = (codes.reshape(-1, 16, 16) * steps[..., None]).reshape(-1, 256)
    return weights


def _by_32(packed: Bytes) -> NDArray[np.int32]:
    """Runs of 32 bytes: the lower halves of a run are one part, the higher the next."""
    runs = packed.reshape(len(packed), 4, 1, 32)
    return np.concatenate([runs & 15, runs >> 4], 2).reshape(len(packed), 8, 32).astype(np.int32)


def _q4_k(block: Bytes) -> Floats:
    return _eight_parts(block, _by_32(block[:, 16:]))


def _q5_k(block: Bytes) -> Floats:
    """The fifth bit of part n is bit n of 32 bytes."""
    high = (block[:, None, 16:48] >> np.arange(8)[:, None]) & 1
    return _eight_parts(block, _by_32(block[:, 48:]) + (high.astype(np.int32) << 4))


def _q6_k(block: Bytes) -> Floats:
    """Sixteen parts of 16; of every 128 weights four quarters share bytes of upper bits."""
    low = block[:, :128].reshape(-1, 2, 2, 32)
    low = np.concatenate([low & 15, low >> 4], 2)
    high = block[:, 128:192].reshape(-1, 2, 1, 32) >> (2 * np.arange(4))[:, None] & 3
    codes = (low.astype(np.int32) + (high.astype(np.int32) << 4) - 32).reshape(-1, 16, 16)
    scales = block[:, 192:208].view(np.int8).astype(np.float32) * _half(block[:, 208:])
    weights: Floats = (codes * scales[..., None]).reshape(-1, 256)
    return weights


PLAIN = {"F32": lambda b: b.view("<f4"), "F16": _half, "BF16": _bfloat16}

BLOCKS = {
    "Q4_0": (18, _q4_0),
    "Q4_1": (20, _q4_1),
    "Q5_0": (22, _q5_0),
    "Q5_1": (24, _q5_1),
    "Q8_0": (34, _q8_0),
    "MXFP4": (17, _mxfp4),
    "Q2_K": (84, _q2_k),
    "Q3_K": (110, _q3_k),
    "Q4_K": (144, _q4_k),
    "Q5_K": (176, _q5_k),
    "Q6_K": (210, _q6_k),
}
"""Bytes of a block, and how it is read."""
