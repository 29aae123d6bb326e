"""Rotated: a compression applied in a rotated basis, in which neither weights nor inputs stand
out."""

from dataclasses import dataclass, field, fields, replace
from typing import ClassVar

import torch
from torch import Tensor

from bitlens.compression.compression import COMPRESSIONS, CompressedMatrix, Compression, MatrixGroup
from bitlens.compression.numerics.hadamard import HadamardRotation, hadamard
from bitlens.compression.numerics.input_statistics import InputStatistics, Statistic
from bitlens.compression.numerics.weights import working_copy
from bitlens.compression.spec_settings import check
from bitlens.errors import InputError
from bitlens.models.matrices import LinearMap
from bitlens.seeds import derive

_KNOWN: frozenset[Statistic] = frozenset({"second_moment", "mean_square"})
"""What can be said of rotated inputs from the second moments of inputs."""
_STREAM = "residual stream"


@dataclass(frozen=True, eq=False, kw_only=True)
class _Bases:
    """Of one map: what its inputs are divided by and turned by, and its outputs centred and turned
    by."""

    gain: Tensor | None
    input: HadamardRotation
    seed: int | None
    """Of `input`."""
    output: HadamardRotation | None
    note: str

    def into(self, weight: Tensor) -> Tensor:
        """The weights of the rotated model, from centred ones."""
        turned = self.input.apply(weight if self.gain is None else weight * self.gain)
        return turned if self.output is None else self.output.apply(turned.mT).mT.contiguous()

    def back(self, weight: Tensor) -> Tensor:
        """The model's own weights that do the same."""
        turned = weight if self.output is None else self.output.undo(weight.mT).mT
        plain = self.input.undo(turned)
        return plain if self.gain is None else plain / self.gain


@COMPRESSIONS.register("rotated")
@dataclass(frozen=True, kw_only=True)
class Rotated(Compression):
    """Another compression of a model that was rotated first, as QuaRot (Ashkboos et al. 2024, arXiv
    2404.00456) and the fixed part of SpinQuant (Liu et al. 2024, arXiv 2405.16406) do it, carried
    back to the model's own basis.

    - The residual stream is turned by a Hadamard matrix with random signs, R. Norms' gains are
      folded into the maps that read it, W becomes W diag(g) Rᵀ; maps that add to it become R W,
      under LayerNorm less their mean over outputs. This costs nothing at run time.
    - What no norm feeds, the heads' outputs and the neurons, is turned by a Hadamard matrix H on
      the way into its map, W Hᵀ (online).

    Not done: values turned head by head, keys and queries turned after rotary embeddings, learned
    rotations. A LayerNorm's bias stays with the norm. Inputs that `of` rounds are rounded in the
    rotated basis.
    """

    name: ClassVar[str] = "rotated"
    question: ClassVar[str] = (
        "What does a compression do in a rotated basis, in which nothing stands out?"
    )

    of: Compression
    include: tuple[str, ...] = field(init=False)
    """Patterns of the matrices that are compressed: those of `of`."""
    exclude: tuple[str, ...] = field(init=False)
    """Patterns of the matrices that are left out: those of `of`."""

    def __post_init__(self) -> None:
        check(self)
        of = self.of
        held = any(isinstance(getattr(of, f.name), Compression) for f in fields(of))
        global_ = type(of).prepare is not Compression.prepare
        other = of.control or of.compute_dtype or of.cache or of.name == "checkpoint"
        if other or held or of.parts or global_ or not of.statistics <= _KNOWN:
            raise InputError(
                f"rotated: of is {of.name}"
                + (
                    f", calibrated on {', '.join(sorted(of.statistics))}." if of.statistics else "."
                ),
                "a compression that rounds matrices one by one, without data or by second moments:"
                " no control, pruning, mixture, checkpoint or dtype, and nothing that goes by the"
                " size of each input column.",
                "rotated:of=[rtn:bits=4]",
            )
        object.__setattr__(self, "include", of.include)
        object.__setattr__(self, "exclude", of.exclude)

    @property
    def parts(self) -> tuple[Compression, ...]:
        """The compression of the rotated weights."""
        return (self.of,)

    @property
    def statistics(self) -> frozenset[Statistic]:
        """The second moments, where the compression of the rotated weights needs any."""
        return frozenset({"second_moment"} if self.of.statistics else ())

    @property
    def sequential(self) -> bool:
        """Whether the compression of the rotated weights is sequential."""
        return self.of.sequential

    def compress(self, group: MatrixGroup) -> list[CompressedMatrix]:
        """Rotate the matrices, compress them, and carry the result back."""
        bases = [_bases(matrix, group.seed) for matrix in group.matrices]
        weights = [working_copy(matrix) for matrix in group.matrices]
        # What a map adds to the mean of a stream whose mean nothing reads.
        means = [
            weight.mean(-2, keepdim=True) if matrix.writes else None
            for matrix, weight in zip(group.matrices, weights, strict=True)
        ]
        rotated = [
            replace(
                matrix,
                weight=basis.into(weight if mean is None else weight - mean),
                gain=None,
                writes=False,
                adds=False,
            )
            for matrix, weight, basis, mean in zip(
                group.matrices, weights, bases, means, strict=True
            )
        ]
        # Maps of one group read one input, so one norm feeds them all or none.
        inputs = None if group.inputs is None else _rotated(group.inputs, bases[0])
        made = self.of.compress(replace(group, matrices=rotated, inputs=inputs))
        return [
            _carried_back(basis, mean, result)
            for basis, mean, result in zip(bases, means, made, strict=True)
        ]


def _bases(matrix: LinearMap, seed: int) -> _Bases:
    rows, width = matrix.weight.shape[-2:]
    residual_seed = derive(seed, "rotated", _STREAM)
    gain = matrix.gain
    if gain is not None:
        # What is silenced by a gain cannot be carried back.
        silent = gain.abs() <= torch.finfo(gain.dtype).eps * gain.abs().max()
        gain = torch.where(silent, 1, gain)
    own = residual_seed if gain is not None else None
    output = hadamard(rows, residual_seed) if matrix.adds else None
    notes = []
    if gain is not None or output is not None:
        notes.append("residual stream turned")
    if gain is None:
        notes.append("inputs turned on the way")
    turned = hadamard(width, own)
    return _Bases(gain=gain, input=turned, seed=own, output=output, note=", ".join(notes))


def _rotated(inputs: InputStatistics, basis: _Bases) -> InputStatistics:
    """The statistics of turned inputs from the second moments of inputs."""
    second = inputs.second_moment
    assert second is not None
    if basis.gain is not None:
        second = second / (basis.gain.unsqueeze(-1) * basis.gain)
    second = basis.input.apply(basis.input.apply(second).mT)
    squares = second.diagonal(dim1=-2, dim2=-1).clamp(min=0)
    return InputStatistics(count=inputs.count, second_moment=second, mean_square=squares)


def _carried_back(basis: _Bases, mean: Tensor | None, made: CompressedMatrix) -> CompressedMatrix:
    weight = basis.back(made.weight)
    if mean is not None:
        weight = weight + mean
    note = "; ".join(filter(None, (basis.note, made.note)))
    activations = made.activations
    if activations is not None:
        turned = "hadamard" if basis.seed is None else f"hadamard {basis.seed}"
        activations = replace(activations, smooth=basis.gain, rotation=turned)
    return replace(made, weight=weight, note=note, activations=activations)
