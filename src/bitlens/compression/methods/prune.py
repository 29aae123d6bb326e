"""Pruning: the weights that matter least become zero."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

from torch import Tensor

from bitlens.compression.compression import COMPRESSIONS, CompressedMatrix, Compression, MatrixGroup
from bitlens.compression.numerics import optimal_brain_surgeon as obs
from bitlens.compression.numerics import sparsegpt
from bitlens.compression.numerics.input_statistics import Statistic, never_active
from bitlens.compression.numerics.sparsity_masks import Cut, cut, n_of_m_mask, unstructured_mask
from bitlens.compression.numerics.weights import working_copy
from bitlens.compression.spec_settings import check
from bitlens.errors import InputError, ModelError
from bitlens.models.matrices import LinearMap

_DAMPING = 0.01
"""Share of the mean of x² that SparseGPT adds to that of each input column."""


@COMPRESSIONS.register("prune")
@dataclass(frozen=True, kw_only=True)
class Prune(Compression):
    """Pruning: the round(sparsity * n) weights that matter least in each scope become zero, of
    equal ones those that come first. Weights that were zero already count.

    Bits per weight: those of the reference's dtype for each weight that is kept, and one of mask
    for every weight; with a pattern, log2(m choose n) of mask for every m.
    """

    name: ClassVar[str] = "prune"
    question: ClassVar[str] = "What does setting the weights that matter least to zero do?"

    sparsity: float | None = None
    """Share of the weights, above 0 and below 1. Of sparsity, pattern and match one is given."""
    pattern: str | None = None
    """`n:m`, such as 2:4: of every m consecutive input columns of a row, n weights are kept."""
    match: Compression | None = None
    """The sparsity is that at which pruning does as much harm as this compression does. An audit
    finds it before anything is compressed."""
    on: Literal["kl", "perplexity"] = "kl"
    """What is to be equal to that of match."""
    by: Literal["magnitude", "wanda", "sparsegpt"] = "magnitude"
    """What says how much a weight matters. `magnitude`: |w|. `wanda`: |w| times the root of the
    mean x² it is multiplied with (Sun et al. 2023, arXiv 2306.11695). `sparsegpt`: the harm that
    is left once others made up for it, which they then do (see `sparsegpt`)."""
    scope: Literal["auto", "tensor", "row", "global"] = "auto"
    """Among which weights the smallest are sought: a matrix (of each expert), an output row, or
    all matrices that are compressed. `auto`: a matrix by magnitude, a row by wanda, and 128 input
    columns by sparsegpt, each as its authors do it."""

    def __post_init__(self) -> None:
        check(self)
        if (self.sparsity, self.pattern, self.match).count(None) != 2:
            given = [
                name for name in ("sparsity", "pattern", "match") if getattr(self, name) is not None
            ]
            raise InputError(
                f"prune is given {' and '.join(given) or 'no sparsity, pattern or match'}.",
                "one of sparsity, pattern and match: each says how many weights go.",
                "prune:sparsity=0.5",
            )
        if self.sparsity is not None and not 0 < self.sparsity < 1:
            raise InputError(
                f"prune: sparsity is {self.sparsity}.",
                "a share above 0 and below 1.",
                "prune:sparsity=0.5",
            )
        n, m = self._pattern
        if self.pattern is not None and not 0 < n < m:
            raise InputError(
                f"prune: pattern is {self.pattern!r}.",
                "n:m, so that n weights of every m are kept, n from 1 and below m.",
                "prune:pattern=2:4",
            )
        if self.scope != "auto" and (self.pattern or self.by == "sparsegpt"):
            raise InputError(
                f"prune: scope={self.scope} with {'a pattern' if self.pattern else 'sparsegpt'}.",
                "no scope: a pattern has its own, and so does sparsegpt.",
                f"prune without scope={self.scope}",
            )
        if self.scope == "global" and self.by == "wanda":
            raise InputError(
                "prune: scope=global with wanda.",
                "scope=row or scope=tensor: deeper inputs are known only once shallower matrices"
                " are pruned.",
                "prune:sparsity=0.5,by=wanda",
            )

    @property
    def matched_to(self) -> Compression | None:
        """The compression that is to be matched; None where the sparsity is given."""
        return self.match

    @property
    def parts(self) -> tuple[Compression, ...]:
        """The compression that it is to be matched to, where it is."""
        return () if self.match is None else (self.match,)

    @property
    def statistics(self) -> frozenset[Statistic]:
        """Mean squares for wanda, second moments for sparsegpt."""
        needed: dict[str, frozenset[Statistic]] = {
            "magnitude": frozenset(),
            "wanda": frozenset({"mean_square"}),
            "sparsegpt": frozenset({"second_moment"}),
        }
        return needed[self.by]

    def prepare(self, matrices: Callable[[], Iterable[LinearMap]]) -> Cut | None:
        """Where is the cut among all weights? None unless the scope is global."""
        if self.scope != "global" or self.sparsity is None:
            return None
        return cut(matrices, self.sparsity)

    def compress(self, group: MatrixGroup) -> list[CompressedMatrix]:
        """Set the weights that matter least to zero. ValueError where match is unresolved."""
        if self.match is not None:
            raise ValueError("prune with match= needs the sparsity that matches")
        if self.by == "sparsegpt":
            return self._with_surgery(group.matrices, group.statistic("second_moment"))
        importance, note = None, ""
        if self.by == "wanda":
            mean_square = group.statistic("mean_square")
            importance = mean_square.sqrt().unsqueeze(-2)
            note = never_active(mean_square, "zeroed first")
        made = (self._pruned(matrix, importance, group.prepared) for matrix in group.matrices)
        return [replace(result, note=note) for result in made]

    @property
    def _pattern(self) -> tuple[int, int]:
        found = re.fullmatch(r"(\d+):(\d+)", self.pattern or "")
        return (int(found[1]), int(found[2])) if found else (0, 0)

    def _pruned(
        self, matrix: LinearMap, importance: Tensor | None, cut_at: Cut | None
    ) -> CompressedMatrix:
        """`importance` is `[..., 1, in]`."""
        weight = working_copy(matrix)
        if self.sparsity is None:
            self._check_width(matrix)
            weight.mul_(n_of_m_mask(weight, *self._pattern, importance))
            return CompressedMatrix(weight, self._bits(matrix, 0))
        rows, columns = weight.shape[-2:]
        threshold = None
        if self.scope == "global":
            if cut_at is None:
                raise ValueError("prune with scope=global needs what it prepares")
            together = weight.view(1, -1, columns)
            count, threshold = cut_at.zeros[matrix.name], cut_at.magnitude
        else:
            whole = self.scope == "tensor" or (self.scope == "auto" and self.by == "magnitude")
            together = weight.view(-1, rows if whole else 1, columns)
            count = round(self.sparsity * together[0].numel())
            if importance is not None and not whole:
                importance = importance.expand(weight.shape).reshape(together.shape)
        keep, left = unstructured_mask(together, count, importance, threshold)
        together.mul_(keep)
        return CompressedMatrix(weight, self._bits(matrix, left))

    def _with_surgery(
        self, matrices: Sequence[LinearMap], second: Tensor
    ) -> list[CompressedMatrix]:
        for matrix in matrices:
            self._check_width(matrix)
        weights = [obs.columns_of(matrix) for matrix in matrices]
        work = partial(sparsegpt.zero_, share=self.sparsity, pattern=self._pattern)
        note = obs.operate_(weights, second, _DAMPING, work)
        return [
            CompressedMatrix(
                obs.as_stored(weight, matrix),
                self._bits(matrix, int(weight.count_nonzero())),
                note=note,
            )
            for matrix, weight in zip(matrices, weights, strict=True)
        ]

    def _check_width(self, matrix: LinearMap) -> None:
        width, (_, m) = matrix.weight.shape[-1], self._pattern
        if self.pattern and width % m:
            raise ModelError(
                f"prune: pattern={self.pattern}, but {matrix.name} has {width} input columns.",
                f"a multiple of {m}.",
                f"another pattern, or prune:pattern={self.pattern},exclude=[{matrix.name}]",
            )

    def _bits(self, matrix: LinearMap, left: int) -> float:
        stored = 8 * matrix.weight.element_size()
        if self.sparsity is not None:
            return stored * left / matrix.weight.numel() + 1
        n, m = self._pattern
        return stored * n / m + math.log2(math.comb(m, n)) / m
