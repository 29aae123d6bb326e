"""Another compression, on weights with the norms folded into them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from bitlens.compression.compression import COMPRESSIONS, CompressedMatrix, Compression, MatrixGroup
from bitlens.compression.numerics.input_rounding import InputRounding
from bitlens.compression.numerics.input_statistics import InputStatistics, Statistic
from bitlens.compression.numerics.weights import working_copy
from bitlens.compression.spec_settings import check
from bitlens.errors import InputError
from bitlens.models.matrices import LinearMap


@COMPRESSIONS.register("folded")
@dataclass(frozen=True, kw_only=True)
class Folded(Compression):
    """Another compression on folded weights, as TransformerLens makes them of a model by default
    (`fold_ln`, `center_writing_weights`), carried back to the model's own.

    It is given, in place of W,

        V = W diag(g) - mean over output rows,

    with g the gain of the norm that feeds W, if one does, and the mean taken away where W writes
    to a residual stream whose mean nothing reads. Of what it makes of V, V̂, the twin gets
    Ŵ = (V̂ + mean) diag(1/g), and so is the same function as a model that was folded, then
    compressed. Statistics of inputs, and their rounding, are those of x / g.

    What differs from there: a LayerNorm's bias stays with the norm and meets Ŵ, where
    TransformerLens moves its product with W into the next bias before anything is rounded (the
    two differ by the constant (Ŵ - W) b). Biases, embeddings and unembedding, which are processed
    there too, are not compressed here by default; where a pattern asks for an embedding or an
    unembedding, it is taken as it stands. A twin that is computed, or saved, in 16 bits has Ŵ
    rounded to them.
    """

    name: ClassVar[str] = "folded"
    question: ClassVar[str] = (
        "What does a compression do when it is given weights with the norms folded into them?"
    )

    of: Compression
    include: tuple[str, ...] = field(init=False)
    """Patterns of the matrices that are compressed: those of `of`."""
    exclude: tuple[str, ...] = field(init=False)
    """Patterns of the matrices that are left out: those of `of`."""

    def __post_init__(self) -> None:
        check(self)
        held = any(isinstance(getattr(self.of, f.name), Compression) for f in fields(self.of))
        other = self.of.compute_dtype or self.of.cache or self.of.name == "checkpoint"
        if self.of.control or held or other:
            raise InputError(
                f"folded: of is {self.of.name}.",
                "a compression that changes the reference's matrices and nothing else: no control,"
                " none that holds another, no checkpoint, no dtype to compute in.",
                "folded:of=[rtn:bits=4]",
            )
        object.__setattr__(self, "include", self.of.include)
        object.__setattr__(self, "exclude", self.of.exclude)

    @property
    def parts(self) -> tuple[Compression, ...]:
        """The compression of the folded weights."""
        return (self.of,)

    @property
    def statistics(self) -> frozenset[Statistic]:
        """The statistics that the compression of the folded weights needs."""
        return self.of.statistics

    @property
    def sequential(self) -> bool:
        """Whether the compression of the folded weights is sequential."""
        return self.of.sequential

    def prepare(self, matrices: Callable[[], Iterable[LinearMap]]) -> Any:
        """What the compression has to know of all folded weights."""
        return self.of.prepare(lambda: (_folded(matrix)[0] for matrix in matrices()))

    def compress(self, group: MatrixGroup) -> list[CompressedMatrix]:
        """Fold the norm into the matrices, compress them, and carry the result back."""
        matrices, inputs = group.matrices, group.inputs
        folded = [_folded(matrix) for matrix in matrices]
        # Maps of one group read one input, so one norm feeds them all or none.
        before = inputs if inputs is None else _before(inputs, _gain(matrices[0]))
        made = self.of.compress(
            replace(group, matrices=[matrix for matrix, _ in folded], inputs=before)
        )
        return [
            _carried_back(matrix, mean, result)
            for matrix, (_, mean), result in zip(matrices, folded, made, strict=True)
        ]


def _folded(matrix: LinearMap) -> tuple[LinearMap, Tensor | None]:
    """The map as it is compressed, and the mean `[..., 1, in]` that was taken away, if one was."""
    gain, mean = _gain(matrix), None
    if gain is None and not matrix.writes:
        return matrix, None
    weight = working_copy(matrix)
    if gain is not None:
        weight.mul_(gain)
    if matrix.writes:
        mean = weight.mean(-2, keepdim=True)
        weight.sub_(mean)
    return replace(matrix, weight=weight, gain=None, writes=False), mean


def _gain(matrix: LinearMap) -> Tensor | None:
    """What its norm multiplies by; 1 where that is nothing, which cannot be carried back."""
    return None if matrix.gain is None else torch.where(_silent(matrix.gain), 1, matrix.gain)


def _silent(gain: Tensor) -> Tensor:
    """Where is it nothing, or lost in float32 beside the largest?"""
    return gain.abs() <= torch.finfo(gain.dtype).eps * gain.abs().max()


def _before(inputs: InputStatistics, gain: Tensor | None) -> InputStatistics:
    """The statistics of x / g from those of x."""
    if gain is None:
        return inputs

    def divided(statistic: Tensor | None, by: Tensor) -> Tensor | None:
        return None if statistic is None else statistic / by

    return InputStatistics(
        count=inputs.count,
        second_moment=divided(inputs.second_moment, gain.unsqueeze(-1) * gain),
        mean_square=divided(inputs.mean_square, gain.square()),
        max_abs=divided(inputs.max_abs, gain.abs()),
        mean_abs=divided(inputs.mean_abs, gain.abs()),
    )


def _carried_back(
    matrix: LinearMap, mean: Tensor | None, made: CompressedMatrix
) -> CompressedMatrix:
    weight, gain, note, activations = made.weight, _gain(matrix), made.note, made.activations
    if mean is not None:
        weight = weight + mean
    if matrix.gain is not None and gain is not None:
        weight = weight / gain
        silent = int(_silent(matrix.gain).sum())
        if silent:
            zero = f"{silent} of {len(gain)} gains are zero: those columns not folded"
            note = "; ".join(filter(None, (note, zero)))
        if activations is not None:
            activations = _of_raw_inputs(activations, gain)
    return replace(made, weight=weight, note=note, activations=activations)


def _of_raw_inputs(activations: InputRounding, gain: Tensor) -> InputRounding:
    """The rounding of x from that of x / g: divided by g before it, multiplied by g after it."""
    smooth = gain if activations.smooth is None else activations.smooth * gain
    return replace(activations, smooth=smooth)
