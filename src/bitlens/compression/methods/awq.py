"""AWQ: rounding to nearest after the input columns that matter were made larger."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from bitlens.compression.compression import COMPRESSIONS, CompressedMatrix, Compression, MatrixGroup
from bitlens.compression.numerics.grid import Levels, QuantizationGrid, grouped
from bitlens.compression.numerics.input_statistics import Statistic, never_active
from bitlens.compression.numerics.weights import working_copy
from bitlens.compression.spec_settings import check
from bitlens.errors import InputError
from bitlens.models.matrices import LinearMap

_STEPS = 20
"""Of the exponent from 0 to 1, and of the clip from 1 to 0."""
_CLIPS = 10
"""How many of the clip's steps are tried: down to 0.55."""
_SMALLEST_SCALE = 1e-4
_SMALLEST_RANGE = 1e-5


@COMPRESSIONS.register("awq")
@dataclass(frozen=True, kw_only=True)
class Awq(Compression):
    """AWQ (Lin et al. 2023, arXiv 2306.00978): rounding to nearest of W s, divided by s again,
    where s of an input column is a power of its mean |x|, the same for all maps that read it.

    The exponent, one of 0, 1/20, ..., 19/20, is that with the least squared output error of those
    maps together, then each row's groups are clipped where that lowers the error of their part of
    the output. Both errors are exact over all calibration positions; the original samples
    positions, and for the exponent compares outputs of attention or of the MLP as a whole.

    The weight is Q(W s) / s. Deployed, 1 / s is folded into what comes before, which is the same
    function where that can take it, and s costs no bits. Scales are counted as 16 bits and kept
    in float32.
    """

    name: ClassVar[str] = "awq"
    question: ClassVar[str] = (
        "What does rounding do after the input columns that matter were made larger?"
    )

    bits: int
    """2 to 8."""
    group: int = 128
    """Consecutive input columns within a row that share a scale; 0: whole rows do."""
    symmetric: bool = False
    """False: from min to max of a group, which need not include 0."""
    scale: Literal["inputs", "ratio"] = "inputs"
    """`inputs`: s = a^alpha of mean inputs a, as in the paper; `ratio`: a^alpha / w^(1 - alpha),
    where w is a column's mean |w| over the largest of its group, as gptqmodel has it."""
    clip: bool = True
    """Query and key maps, and maps that hold them, are never clipped, as in the original: what
    their errors do to the attention pattern cannot be read off their outputs."""

    def __post_init__(self) -> None:
        check(self)
        if not 2 <= self.bits <= 8:
            raise InputError(f"awq: bits is {self.bits}.", "2 to 8.", "awq:bits=4")
        if self.group < 0:
            raise InputError(
                f"awq: group is {self.group}.",
                "a number of input columns, or 0 for whole rows.",
                f"awq:bits={self.bits},group=128",
            )

    @property
    def statistics(self) -> frozenset[Statistic]:
        """Mean |x| says which columns matter, second moments what an error costs."""
        return frozenset({"mean_abs", "second_moment"})

    def compress(self, group: MatrixGroup) -> list[CompressedMatrix]:
        """Scale the columns of all matrices alike, then clip and round each."""
        matrices = group.matrices
        mean, second = group.statistic("mean_abs"), group.statistic("second_moment")
        weights = [working_copy(matrix) for matrix in matrices]
        for matrix, weight in zip(matrices, weights, strict=True):
            grouped(self.name, matrix.name, weight, self._width(weight))
        scale = self._best_scale(weights, mean, second)
        note = never_active(mean, "scaled least")
        results = []
        for matrix, weight in zip(matrices, weights, strict=True):
            clipped = self.clip and not _makes_patterns(matrix)
            limit = self._best_limit(weight, scale, second) if clipped else None
            bits = QuantizationGrid(self.bits, self.symmetric).bits_per_weight(self._width(weight))
            rounded = self._rounded(weight, scale, limit)
            results.append(CompressedMatrix(rounded, bits, group=self.group, note=note))
        return results

    def _width(self, weight: Tensor) -> int:
        return self.group or weight.shape[-1]

    def _best_scale(self, weights: Sequence[Tensor], mean: Tensor, second: Tensor) -> Tensor:
        """s `[..., in]` of the exponent with the least output error of all maps together."""
        sizes = self._sizes(weights) if self.scale == "ratio" else None
        best, least = torch.ones_like(mean), torch.full_like(mean[..., 0], torch.inf)
        for step in range(_STEPS):
            scale = _scale(step / _STEPS, mean, sizes)
            error = torch.zeros_like(least)
            for weight in weights:
                wrong = self._rounded(weight, scale).sub_(weight)
                error += (wrong @ second).mul_(wrong).sum((-2, -1))
            best = torch.where((error < least).unsqueeze(-1), scale, best)
            least = torch.minimum(error, least)
        return best

    def _sizes(self, weights: Sequence[Tensor]) -> Tensor:
        """How large is each input column's |w| on average, over the largest of its group? Over
        the rows of all maps, `[..., in]`."""
        groups = torch.cat(list(weights), -2).abs_().unflatten(-1, (-1, self._width(weights[0])))
        means: Tensor = groups.div_(groups.amax(-1, keepdim=True) + 1e-6).flatten(-2).mean(-2)
        return means

    def _best_limit(self, weight: Tensor, scale: Tensor, second: Tensor) -> Tensor:
        """Beyond which magnitude `[..., out, groups, 1]` are weights times s clipped? Where the
        group's part of the output has the least squared error."""
        groups = (weight * scale.unsqueeze(-2)).unflatten(-1, (-1, self._width(weight)))
        moments = self._moments(scale, second)
        widest = groups.abs().amax(-1, keepdim=True)
        best: Tensor = widest
        least = torch.full_like(widest, torch.inf)
        for step in range(_CLIPS):
            limit = widest * (1 - step / _STEPS)
            wrong = self._round_(groups.clamp(-limit, limit)).sub_(groups).transpose(-2, -3)
            error = (wrong @ moments).mul_(wrong).sum(-1, keepdim=True).transpose(-2, -3)
            best = torch.where(error < least, limit, best)
            least = torch.minimum(error, least)
        return best

    def _moments(self, scale: Tensor, second: Tensor) -> Tensor:
        """Second moments of the inputs over s within each group, `[..., groups, group, group]`."""
        width = self._width(scale)
        blocks = second.unflatten(-1, (-1, width)).unflatten(-3, (-1, width))
        own = blocks.diagonal(dim1=-4, dim2=-2).movedim(-1, -3)
        scale = scale.unflatten(-1, (-1, width))
        scaled: Tensor = own / (scale.unsqueeze(-1) * scale.unsqueeze(-2))
        return scaled

    def _rounded(self, weight: Tensor, scale: Tensor, limit: Tensor | None = None) -> Tensor:
        """Q(W s) / s."""
        scale = scale.unsqueeze(-2)
        scaled = weight * scale
        groups = scaled.unflatten(-1, (-1, self._width(weight)))
        if limit is not None:
            groups.clamp_(-limit, limit)
        self._round_(groups)
        return scaled.div_(scale)

    def _round_(self, groups: Tensor) -> Tensor:
        return self._levels(groups).round_(groups)

    def _levels(self, groups: Tensor) -> Levels:
        if self.symmetric:
            return QuantizationGrid(self.bits).fit(groups)
        low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
        top = 2**self.bits - 1
        step = (high - low).clamp_min(_SMALLEST_RANGE) / top
        # Other than in `QuantizationGrid`, min and max are not widened to include 0: only the zero
        # point is kept among the codes, so a group all of one sign loses the end that is
        # farther from 0.
        zero = (-low / step).round().clamp(0, top)
        return Levels(step, -zero, top - zero)


def _scale(exponent: float, mean: Tensor, sizes: Tensor | None) -> Tensor:
    """s of this exponent, its largest and smallest value as far above 1 as below."""
    scale = mean.pow(exponent)
    if sizes is not None:
        scale /= sizes.pow(1 - exponent) + 1e-4
    scale.clamp_min_(_SMALLEST_SCALE)
    return scale / (scale.amax(-1, keepdim=True) * scale.amin(-1, keepdim=True)).sqrt()


def _makes_patterns(matrix: LinearMap) -> bool:
    """Is it a query or key map, or one that holds them? Told by the names that the original
    tells them by, among the maps that attention reads its input with."""
    name = matrix.name.rpartition(".")[2]
    named = any(part in name for part in ("q_", "k_", "query", "key"))
    return matrix.fused is not None or (matrix.head_size is not None and named)
