"""Laws that every registered compression obeys."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bitlens.compression import format_spec, parse_spec
from bitlens.compression.compression import COMPRESSIONS, CompressedMatrix, MatrixGroup
from bitlens.errors import BitlensError
from bitlens.models.matrices import LinearMap
from tests.support.calibrated import group_of
from tests.support.compression_texts import EXAMPLES, TEXTS

ELSEWHERE = {"checkpoint", "kv"}
"""Twins with modules of their own, and such as change no matrix; their laws are their own."""

GROUPS: dict[str, Callable[[Tensor], Tensor]] = {
    "rtn:bits={}": lambda weight: weight.flatten(0, -2),
    "rtn:bits={},symmetric=false,clip=mse": lambda weight: weight.flatten(0, -2),
    "rtn:bits={},convention=gptq": lambda weight: weight.flatten(0, -2),
    "rtn:bits={},convention=full,clip=mse": lambda weight: weight.flatten(0, -2),
    "rtn:bits={},group=8": lambda weight: weight.reshape(-1, 8),
    "gptq:bits={}": lambda weight: weight.flatten(0, -2),
    "gptq:bits={},symmetric=false,group=8": lambda weight: weight.reshape(-1, 8),
    "hqq:bits={},group=16": lambda weight: weight.reshape(-1, 16),
    "squeezellm:bits={},outliers=0.0": lambda weight: weight.flatten(0, -2),
    "rtn:bits={},scope=tensor": lambda weight: weight.reshape(-1, weight.shape[-2:].numel()),
}
"""Compressions to a grid of 2^bits values, and a weight as rows of what shares a grid."""

FALLING = [
    "rtn:bits={}",
    "rtn:bits={},group=8",
    "rtn:bits={},symmetric=false",
    "awq:bits={},group=8",
    "gptq:bits={}",
    "gptq:bits={},group=8,act_order=true",
    "quip:bits={}",
    "hqq:bits={},group=8",
    "noise:like=[rtn:bits={}]",
]


@pytest.fixture
def matrices(matrices: list[LinearMap], text: str) -> list[LinearMap]:
    """As wide as blocks of a fixed size want them."""
    if not text.startswith(("gguf", "mxfp")):
        return matrices
    return [replace(matrix, weight=torch.cat([matrix.weight] * 16, -1)) for matrix in matrices]


def twin(text: str, matrices: list[LinearMap], seed: int = 0) -> list[CompressedMatrix]:
    """Calibrated methods get one map at a time, because each has inputs of its own here."""
    compression = parse_spec(text)
    prepare = compression.prepare(lambda: matrices)
    if not compression.statistics:
        return compression.compress(MatrixGroup(matrices, seed, prepare))
    return [
        compression.compress(group_of(matrix, compression, seed, prepare))[0] for matrix in matrices
    ]


@pytest.mark.parametrize("name", sorted(set(COMPRESSIONS) - ELSEWHERE))
def test_every_compression_has_examples(name: str) -> None:
    """A compression that is registered is tried under these laws, under its own name."""
    assert EXAMPLES.get(name), f"give {name} a line in EXAMPLES"
    assert all(parse_spec(text).name == name for text in EXAMPLES[name])


@pytest.mark.parametrize("text", TEXTS)
def test_settings_round_trip(text: str) -> None:
    """Settings print and parse back."""
    assert format_spec(parse_spec(text)) == text


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_reference_untouched_and_result_well_formed(
    matrices: list[LinearMap], text: str, dtype: torch.dtype
) -> None:
    """The reference keeps its weights; the result has the map's shape, in float32, in memory of
    its own, finite, with a positive number of bits."""
    stored = [
        LinearMap(m.name, m.weight.to(dtype), head_size=m.head_size, fused=m.fused)
        for m in matrices
    ]
    before = [matrix.weight.clone() for matrix in stored]
    results = twin(text, stored)
    assert len(results) == len(stored)
    for matrix, weight, result in zip(stored, before, results, strict=True):
        assert torch.equal(matrix.weight, weight)
        assert result.weight.shape == weight.shape
        assert result.weight.dtype == torch.float32
        assert result.weight.device == weight.device
        assert result.weight.data_ptr() != matrix.weight.data_ptr()
        assert torch.isfinite(result.weight).all()
        assert 0 < result.bits <= 33


@pytest.mark.parametrize("text", [text for text in TEXTS if text != "nothing"])
def test_every_weight_tensor_changed(matrices: list[LinearMap], text: str) -> None:
    """Every matrix handed over, and every expert of it, differs from the reference."""
    for matrix, result in zip(matrices, twin(text, matrices), strict=True):
        assert (matrix.weight != result.weight).flatten(-2).any(-1).all()


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS)
def test_the_same_seed_gives_the_same_twin(matrices: list[LinearMap], text: str) -> None:
    """One seed, one twin; another seed changes noise, random bases and nothing else."""
    first, again, other = (twin(text, matrices, seed) for seed in (7, 7, 8))
    random = text.startswith(("noise", "quip"))
    for one, two, three in zip(first, again, other, strict=True):
        assert torch.equal(one.weight, two.weight)
        assert torch.equal(one.weight, three.weight) is not random


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS)
def test_order_and_company_do_not_matter(matrices: list[LinearMap], text: str) -> None:
    """Maps in another order, or one at a time, give the same weights."""
    compression = parse_spec(text)
    prepare = compression.prepare(lambda: matrices)
    together = {
        matrix.name: result for matrix, result in zip(matrices, twin(text, matrices), strict=True)
    }
    for matrix, result in zip(matrices[::-1], twin(text, matrices[::-1]), strict=True):
        alone = compression.compress(group_of(matrix, compression, 0, prepare))[0]
        assert torch.equal(result.weight, together[matrix.name].weight)
        assert torch.equal(alone.weight, together[matrix.name].weight)
        assert alone.bits == result.bits == together[matrix.name].bits


@pytest.mark.parametrize("text", TEXTS)
def test_parameters_are_accepted(matrices: list[LinearMap], text: str) -> None:
    """Weights that require gradients, as a model's do, give weights that do not."""
    matrix = matrices[0]
    learned = LinearMap(matrix.name, torch.nn.Parameter(matrix.weight), head_size=matrix.head_size)
    assert not twin(text, [learned])[0].weight.requires_grad


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("text", GROUPS)
def test_a_grid_has_at_most_so_many_values(text: str, bits: int) -> None:
    """What shares a grid takes at most 2^bits values."""
    random = torch.Generator().manual_seed(bits)
    matrices = [
        LinearMap("matrix", torch.randn(12, 64, generator=random)),
        LinearMap("experts", torch.randn(3, 24, 32, generator=random)),
    ]
    for result in twin(text.format(bits), matrices):
        for group in GROUPS[text](result.weight):
            assert len(group.unique()) <= 2**bits


@pytest.mark.parametrize("text", FALLING)
def test_more_bits_never_hurt(matrices: list[LinearMap], text: str) -> None:
    """On random weights the error falls from 2 to 4 to 8 bits, in every matrix."""
    errors = [
        [
            torch.dist(matrix.weight, result.weight)
            for matrix, result in zip(matrices, results, strict=True)
        ]
        for results in (twin(text.format(bits), matrices) for bits in (2, 4, 8))
    ]
    for two, four, eight in zip(*errors, strict=True):
        assert two > four > eight


@pytest.mark.parametrize("text", TEXTS)
def test_broken_weights_are_named(text: str) -> None:
    """NaN in a map is an error that names it, whatever the compression."""
    weight = torch.ones(8, 16)
    weight[3, 5] = torch.nan
    with pytest.raises(BitlensError, match=r"layers\.4\.broken"):
        twin(text, [LinearMap("layers.4.broken", weight, head_size=4)])
