"""AWQ: by hand, against itself restated over positions, and that it does what it is for."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from bitlens.compression.compression import CompressedMatrix, MatrixGroup
from bitlens.compression.methods.awq import Awq
from bitlens.compression.numerics.grid import QuantizationGrid
from bitlens.compression.numerics.input_statistics import InputStatistics
from bitlens.errors import BitlensError
from bitlens.models.matrices import LinearMap

POSITIONS = 150


def drawn(width: int, seed: int = 0, sizes: Tensor | None = None) -> Tensor:
    """Correlated positions `[n, in]` with columns of different size."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(POSITIONS, width, generator=random) @ torch.randn(
        width, width, generator=random
    )
    sizes = torch.logspace(-1.5, 1, width) if sizes is None else sizes
    return x * sizes[torch.randperm(width, generator=random)]


def inputs_of(x: Tensor) -> InputStatistics:
    return InputStatistics(
        count=torch.tensor(x.shape[-2]),
        second_moment=x.mT @ x / x.shape[-2],
        mean_abs=x.abs().mean(-2),
    )


def awq(matrices: list[LinearMap], x: Tensor, **settings: object) -> list[CompressedMatrix]:
    return Awq(**{"bits": 3, "group": 8, **settings}).compress(
        MatrixGroup(matrices, 0, inputs=inputs_of(x))
    )


def output_error(matrices: list[LinearMap], weights: list[Tensor], x: Tensor) -> float:
    pairs = zip(matrices, weights, strict=True)
    return sum((x @ (w - m.weight).T).square().sum().item() for m, w in pairs)


def random_group(*names: str, width: int = 32) -> list[LinearMap]:
    random = torch.Generator().manual_seed(len(names))
    return [
        LinearMap(n, torch.randn(8 + 4 * i, width, generator=random), head_size=4)
        for i, n in enumerate(names)
    ]


def original_grid(w: np.ndarray, bits: int) -> np.ndarray:
    """AWQ's asymmetric quantizer, restated in numpy: rounds each row."""
    top = 2**bits - 1
    low, high = w.min(1, keepdims=True), w.max(1, keepdims=True)
    scale = np.maximum(high - low, np.float32(1e-5)) / np.float32(top)
    zero = np.clip(-np.round(low / scale), 0, top)
    return ((np.clip(np.round(w / scale) + zero, 0, top) - zero) * scale).astype(np.float32)


def restated(
    matrices: list[LinearMap], x: Tensor, bits: int, group: int, ratio: bool, clip: bool
) -> list[np.ndarray]:
    """The search of the original over positions and group by group, its losses those of the maps'
    own outputs."""
    weights, x = [m.weight.numpy() for m in matrices], x.numpy()

    def rounded(w: np.ndarray) -> np.ndarray:
        return original_grid(w.reshape(-1, group), bits).reshape(w.shape)

    rows = np.concatenate([np.abs(w.reshape(-1, group)) for w in weights])
    sizes = (rows / (rows.max(1, keepdims=True) + 1e-6)).reshape(-1, x.shape[1]).mean(0)
    best, scale = np.inf, None
    for step in range(20):
        s = np.abs(x).mean(0) ** (step / 20)
        s = np.maximum(s / (sizes ** (1 - step / 20) + 1e-4) if ratio else s, 1e-4)
        s = s / np.sqrt(s.max() * s.min())
        loss = sum((((rounded(w * s) / s - w) @ x.T) ** 2).sum() for w in weights)
        if loss < best:
            best, scale = loss, s
    out = []
    for matrix, w in zip(matrices, weights, strict=True):
        scaled = w * scale
        if clip and "q_" not in matrix.name and "k_" not in matrix.name:
            for row in range(len(w)):
                for start in range(0, w.shape[1], group):
                    part = scaled[row, start : start + group].copy()
                    seen = (x / scale)[:, start : start + group]
                    least = np.inf
                    for step in range(10):
                        limit = np.abs(part).max() * (1 - step / 20)
                        clipped = np.clip(part, -limit, limit)
                        error = ((seen @ (original_grid(clipped[None], bits)[0] - part)) ** 2).sum()
                        if error < least:
                            least, scaled[row, start : start + group] = error, clipped
        out.append(rounded(scaled) / scale)
    return out


def test_grid_by_hand(one: Callable[..., LinearMap]) -> None:
    """With inputs of one size s is 1. [-1, 0.3, 0.75, 2] at 2 bits: step 1, zero point 1, codes
    0, 1, 2 and 3. [1, 1.6, 2, 4] does not include 0: its step is 1, not 4/3, its zero point 0
    and not -1, so that 4 falls off the end; a group of one value loses it all but 1e-5."""
    matrix = one([[-1, 0.3, 0.75, 2], [1, 1.6, 2, 4], [5, 5, 5, 5], [0, 0, 0, 0]])
    out = awq([matrix], torch.eye(4), bits=2, group=4, clip=False)[0].weight
    expected = [[-1, 0, 1, 2], [1, 2, 2, 3], [1e-5] * 4, [0] * 4]
    torch.testing.assert_close(out, torch.tensor(expected))


def test_scale_by_hand(one: Callable[..., LinearMap]) -> None:
    """Mean inputs 8 and 0.5 give s = [4^alpha, 4^-alpha]. At 2 bits, symmetric, codes are -1, 0
    and 1, and of [0.1, 1] s the smaller is lost or becomes the larger. Up to alpha = 0.55 the
    first is lost, which costs 128 * 0.1^2. Then it becomes 16^-alpha, at best 0.109 at 0.8, which
    costs 0.0099. From 0.85 it is the larger, and the second becomes 0.1 * 16^alpha: 1.056 at
    0.85, which costs 0.5 * 0.056^2 = 0.0015, and more above."""
    x = torch.tensor([[16.0, 0], [0, 1]])
    out = awq([one([[0.1, 1]])], x, bits=2, group=2, symmetric=True, clip=False)[0].weight
    torch.testing.assert_close(out, torch.tensor([[0.1, 0.1 * 16**0.85]]))


def test_ratio_by_hand(one: Callable[..., LinearMap]) -> None:
    """Of [0.1, 1] and equal inputs, weights over the largest of their group are 0.1 and 1. With
    exponent 0, s is their inverse, but for 1e-4: both have the same code, and the first becomes
    0.1001 / 1.0001. With any other exponent it is farther off."""
    settings = {"bits": 2, "group": 2, "symmetric": True, "scale": "ratio", "clip": False}
    out = awq([one([[0.1, 1]])], torch.eye(2), **settings)[0].weight
    torch.testing.assert_close(out, torch.tensor([[0.1001 / 1.0001, 1]]), rtol=2e-5, atol=0)


def test_clip_by_hand(one: Callable[..., LinearMap]) -> None:
    """[3, 1, 1] at 2 bits, symmetric: unclipped, both 1 become 0, which costs 2. Clipped below 2
    all three become the clip, the least of which is 3 * 0.55 = 1.65: that costs 1.35^2 + 2 * 0.65^2
    = 2.67, but 1.3 where the first input is half as large as the others."""
    matrix = one([[3, 1, 1]])
    for first, expected in ((1.0, [3.0, 0, 0]), (0.5, [1.65, 1.65, 1.65])):
        x = torch.diag(torch.tensor([first, 1, 1]))
        inputs = InputStatistics(
            count=torch.tensor(3), second_moment=x @ x / 3, mean_abs=torch.ones(3)
        )
        out = (
            Awq(bits=2, group=3, symmetric=True)
            .compress(MatrixGroup([matrix], 0, inputs=inputs))[0]
            .weight
        )
        torch.testing.assert_close(out, torch.tensor([expected]))


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("scale", ["inputs", "ratio"])
@pytest.mark.parametrize(
    "names", [("up_proj",), ("gate_proj", "up_proj"), ("q_proj", "k_proj", "v_proj")]
)
@pytest.mark.parametrize("bits", [2, 4])
def test_agrees_with_the_original_restated(
    bits: int, names: tuple[str, ...], scale: str, clip: bool
) -> None:
    """Scale, clip and rounding of one, two and three maps that read an input are those of a
    restatement in numpy that goes through positions and groups one by one."""
    matrices, x = random_group(*names), drawn(32)
    expected = restated(matrices, x, bits, 8, scale == "ratio", clip)
    results = awq(matrices, x, bits=bits, scale=scale, clip=clip)
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_allclose(result.weight, wanted, rtol=1e-4, atol=1e-5)


def test_maps_of_a_group_share_the_scale() -> None:
    """Three maps are scaled as if they were one matrix, and by other scales than each alone."""
    matrices, x = random_group("a", "b", "c"), drawn(32)
    whole = LinearMap("whole", torch.cat([matrix.weight for matrix in matrices]))
    together = torch.cat([result.weight for result in awq(matrices, x)])
    assert torch.equal(together, awq([whole], x)[0].weight)
    alone = torch.cat([awq([matrix], x)[0].weight for matrix in matrices])
    assert not torch.equal(together, alone)


@pytest.mark.parametrize("symmetric", [False, True])
def test_better_than_rounding(symmetric: bool) -> None:
    """On inputs with columns of different size the output error is well below that of rounding
    to nearest on the same grid, clipped or not, and clipping lowers it further."""
    matrices, x = random_group("up_proj", "gate_proj"), drawn(32)
    plain = []
    for matrix in matrices:
        if symmetric:
            groups = matrix.weight.clone().view(-1, 8)
            plain.append(QuantizationGrid(3).fit(groups).round_(groups).view(matrix.weight.shape))
        else:
            rounded = original_grid(matrix.weight.numpy().reshape(-1, 8), 3)
            plain.append(torch.tensor(rounded).view(matrix.weight.shape))
    errors = [
        output_error(
            matrices, [r.weight for r in awq(matrices, x, symmetric=symmetric, clip=clip)], x
        )
        for clip in (False, True)
    ]
    assert errors[0] < 0.8 * output_error(matrices, plain, x)
    assert errors[1] < 0.95 * errors[0]


def test_equal_inputs_leave_nothing_to_scale() -> None:
    """Where every column is equally large, every exponent is the same: rounding to nearest."""
    matrix = random_group("up_proj")[0]
    expected = original_grid(matrix.weight.numpy().reshape(-1, 8), 3).reshape(matrix.weight.shape)
    out = awq([matrix], 3 * torch.eye(32), clip=False)[0].weight
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("about", "clipped"),
    [
        ({"name": "layers.0.attn.q_proj", "head_size": 4}, False),
        ({"name": "layers.0.attn.key", "head_size": 4}, False),
        ({"name": "layers.0.attn.c_attn", "head_size": 4, "fused": "contiguous"}, False),
        ({"name": "layers.0.attn.v_proj", "head_size": 4}, True),
        ({"name": "layers.0.attn.o_proj"}, True),
        ({"name": "layers.0.mlp.key_proj"}, True),
    ],
)
def test_what_makes_patterns_is_not_clipped(about: dict, clipped: bool) -> None:
    """Queries and keys, also within a fused map, are left unclipped; values and others are not.
    A name alone, outside attention, decides nothing."""
    matrix = LinearMap(weight=random_group("m")[0].weight, **about)
    x = drawn(32)
    same = torch.equal(awq([matrix], x)[0].weight, awq([matrix], x, clip=False)[0].weight)
    assert same is not clipped


@pytest.mark.parametrize(
    ("settings", "bits", "group"),
    [
        ({"bits": 4, "group": 8}, 4 + 20 / 8, 8),
        ({"bits": 4, "group": 8, "symmetric": True}, 4 + 16 / 8, 8),
        ({"bits": 2, "group": 0}, 2 + 18 / 32, 0),
    ],
)
def test_bits_by_hand(settings: dict, bits: float, group: int) -> None:
    """Codes, and a group's part of a 16-bit scale and of a zero point; 0 are rows of 32."""
    result = awq(random_group("up_proj"), drawn(32), **settings)[0]
    assert result.bits == pytest.approx(bits, abs=1e-12)
    assert result.group == group


def test_experts_are_matrices(matrices: list[LinearMap]) -> None:
    """Each expert has a scale and clips of its own; one that only met zeros is rounded
    to nearest."""
    fused = matrices[-1]
    x = torch.stack([drawn(32, seed) for seed in range(3)])
    x[2] = 0
    inputs = replace(inputs_of(x), count=torch.full((3,), POSITIONS))
    result = Awq(bits=3, group=8).compress(MatrixGroup([fused], 0, inputs=inputs))[0]
    for index, expert in enumerate(fused.weight):
        own = awq([LinearMap("expert", expert)], x[index])[0].weight
        torch.testing.assert_close(result.weight[index], own)
    expected = original_grid(fused.weight[2].numpy().reshape(-1, 8), 3).reshape(16, 32)
    np.testing.assert_allclose(result.weight[2], expected, rtol=1e-5, atol=1e-6)


def test_edges(one: Callable[..., LinearMap], matrices: list[LinearMap]) -> None:
    """One column, columns that calibration saw only at 0, transposed views and bfloat16."""
    assert torch.isfinite(awq([one([[1.0], [-2.0]])], torch.ones(3, 1), group=1)[0].weight).all()
    x = drawn(16)
    x[:, 3:9] = 0
    plain = LinearMap("plain", matrices[6].weight.contiguous())
    expected = awq([plain], x)[0].weight
    assert torch.isfinite(expected).all()
    assert torch.equal(awq([matrices[6]], x)[0].weight, expected)
    half = LinearMap("half", matrices[6].weight.bfloat16())
    widened = LinearMap("widened", half.weight.float())
    assert torch.equal(awq([half], x)[0].weight, awq([widened], x)[0].weight)


def test_refusals(one: Callable[..., LinearMap]) -> None:
    """Groups that do not divide, with the module and what would; bits and groups out of range;
    and without its inputs it cannot be made."""
    with pytest.raises(BitlensError) as error:
        awq([one(np.ones((2, 12)))], torch.eye(12), group=5)
    assert "12 input columns of layers.0.mlp.up_proj" in error.value.found
    assert error.value.expected == "one of 2, 3, 4, 6, 12."
    for settings in ({"bits": 1}, {"bits": 9}, {"bits": 4, "group": -1}):
        with pytest.raises(BitlensError, match="awq"):
            Awq(**settings)
    with pytest.raises(ValueError, match="calibrated"):
        Awq(bits=4).compress(MatrixGroup([one([[1.0]])], 0))
