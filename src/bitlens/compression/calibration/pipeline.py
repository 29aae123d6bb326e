"""The weights of calibrated twins: block after block, each on what its already compressed
predecessors hand it.

All calibration tokens of a twin stand at the same depth. Within a block, where the method wants
it, each group of matrices is calibrated after the groups before it were compressed
(true-sequential; Frantar et al. 2022, arXiv 2210.17323). What is made is kept, part by part; a
run that was killed goes on where it stopped.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bitlens.compression.calibration.cache import WeightCache
from bitlens.compression.compression import CompressedMatrix, Compression, MatrixGroup
from bitlens.compression.numerics.input_statistics import InputStatistics
from bitlens.compression.twin import targeted_maps
from bitlens.data.corpus import Corpus
from bitlens.errors import BitlensError, ModelError
from bitlens.models.block_layout import MatrixPlace
from bitlens.models.block_runner import Block
from bitlens.models.layout import BlockWeights, Layout
from bitlens.models.matmul_hooks import at_products, one_expert_at_a_time
from bitlens.models.matrices import LinearMap
from bitlens.models.shell import Call
from bitlens.models.tensors import finite

FEWEST = 128
"""An expert that met fewer calibration tokens than this, or than it has input columns where that
is less, is calibrated on all tokens that any expert of its block met."""


@dataclass(frozen=True, eq=False)
class CalibrationJob:
    """A twin that is to be calibrated."""

    compression: Compression
    targets: frozenset[str]
    cache: WeightCache
    record: Mapping[str, Any]
    """What made it, for the reader of the folder."""


@torch.no_grad()
def calibrate(
    layout: Layout,
    jobs: Mapping[str, CalibrationJob],
    corpus: Corpus,
    *,
    batch_tokens: int,
    seed: int,
    memory: int,
    progress: Callable[[int], None] | None = None,
) -> dict[str, BitlensError]:
    """Make what is not in the cache yet; by name, those that cannot be made, and why.

    `memory` bounds the hidden states, in bytes: as many twins as fit are made side by side, so
    that each block's weights are read once for all of them. `progress` is told the tokens that
    went through a block, as `work` counts them.
    """
    batches = [torch.from_numpy(b).to(layout.device) for b in _even(corpus, batch_tokens)]
    one = 2 * sum(b.numel() for b in batches) * layout.width * layout.compute.itemsize
    together = max(1, memory // one)
    missing = [(name, job) for name, job in jobs.items() if not job.cache.complete]
    failed: dict[str, BitlensError] = {}
    with one_expert_at_a_time(layout.model):
        for first in range(0, len(missing), together):
            side_by_side = missing[first : first + together]
            makers = {
                name: _TwinCalibrator(layout, job, seed, progress) for name, job in side_by_side
            }
            failed |= _through_depth(layout, makers, batches)
    return failed


def work(layout: Layout, jobs: Mapping[str, CalibrationJob], corpus: Corpus) -> int:
    """Tokens through blocks that `progress` will have been told in the end."""
    missing = sum(not job.cache.complete for job in jobs.values())
    return missing * layout.depth * corpus.n_tokens


def _even(corpus: Corpus, batch_tokens: int) -> Iterator[np.ndarray]:
    """Rows of one length together: padding would be calibrated on."""
    rows = sorted(corpus.rows, key=len, reverse=True)
    for length, same in groupby(rows, key=len):
        stack = np.stack(list(same)).astype(np.int64)
        size = max(1, batch_tokens // length)
        yield from (stack[first : first + size] for first in range(0, len(stack), size))


def _through_depth(
    layout: Layout, makers: dict[str, "_TwinCalibrator"], batches: Sequence[Tensor]
) -> dict[str, BitlensError]:
    entries = [layout.shell.enter(tokens, None) for tokens in batches]
    layout.shell.release()
    failed: dict[str, BitlensError] = {}

    def each(do: Callable[[_TwinCalibrator], None]) -> None:
        for name, maker in list(makers.items()):
            try:
                do(maker)
            except BitlensError as error:
                failed[name] = error
                del makers[name]

    each(lambda maker: maker.begin([entry.hidden for entry in entries]))
    for depth in range(layout.depth):
        weights = layout.block(depth)
        calls = [entry.calls[depth] for entry in entries]
        each(partial(_TwinCalibrator.block, depth=depth, weights=weights, calls=calls))
    each(_TwinCalibrator.finish)
    layout.shell.release()
    return failed


class _TwinCalibrator:
    """One twin on its way through depth: its hidden states, and what becomes of each block."""

    def __init__(
        self,
        layout: Layout,
        job: CalibrationJob,
        seed: int,
        progress: Callable[[int], None] | None,
    ) -> None:
        self.layout, self.job, self.seed, self.progress = layout, job, seed, progress
        self.hidden: list[Tensor] = []
        self._prepared: Any = None

    def begin(self, hidden: list[Tensor]) -> None:
        self.job.cache.prepare()
        self.hidden = hidden
        targets = partial(targeted_maps, self.layout, self.job.targets)
        self._prepared = self.job.compression.prepare(targets)

    def block(
        self,
        depth: int,
        weights: BlockWeights,
        calls: Sequence[Call],
    ) -> None:
        """Compress a block, unless it is kept already, and let the hidden states through it."""
        layout, part = self.layout, f"block.{depth}"
        names = layout.block_layouts[depth]
        block = Block(layout.callable_block(depth), names, weights.computed)
        chosen = [
            [(p, m) for p, m in zip(places, group, strict=True) if m.name in self.job.targets]
            for places, group in zip(names.groups, weights.maps, strict=True)
        ]
        chosen = [group for group in chosen if group]
        everything = [m for group in chosen for _, m in group]
        if self.job.cache.has(part):
            for group in chosen:
                _put(block, group, self.job.cache([m for _, m in group]))
        elif chosen:
            results = self._compressed(block, chosen, calls)
            self.job.cache.add(part, everything, results)
        last = depth == layout.depth - 1
        for n, (hidden, call) in enumerate(zip(self.hidden, calls, strict=True)):
            if not last or self._outside_blocks:
                self.hidden[n] = block(hidden, call)[1]
            if self.progress is not None:
                self.progress(hidden.shape[0] * hidden.shape[1])

    def _compressed(
        self,
        block: Block,
        chosen: Sequence[Sequence[tuple[MatrixPlace, LinearMap]]],
        calls: Sequence[Call],
    ) -> list[CompressedMatrix]:
        """Every group of the block, each put in place before the next is calibrated."""
        one_by_one = self.job.compression.sequential
        results = []
        for groups in [[group] for group in chosen] if one_by_one else [list(chosen)]:
            gathered = self._gather(block, groups, calls)
            for group, sums in zip(groups, gathered, strict=True):
                made = self._compress([m for _, m in group], sums)
                _put(block, group, made)
                results += made
        return results

    def _compress(
        self, matrices: Sequence[LinearMap], sums: "_InputStatisticsAccumulator"
    ) -> list[CompressedMatrix]:
        inputs, note = sums.inputs(matrices[0].name)
        made = self.job.compression.compress(
            MatrixGroup(matrices, self.seed, self._prepared, inputs)
        )
        return [replace(r, note="; ".join(filter(None, (r.note, note)))) for r in made]

    def _gather(
        self,
        block: Block,
        groups: Sequence[Sequence[tuple[MatrixPlace, LinearMap]]],
        calls: Sequence[Call],
    ) -> list["_InputStatisticsAccumulator"]:
        """Statistics of what each of these groups is multiplied with."""
        # Maps of a group read the same input: it is enough to look at one of them.
        first = {group[0][0].key: n for n, group in enumerate(groups)}
        sums = [_InputStatisticsAccumulator(self.job.compression, group[0][1]) for group in groups]
        alone = len(groups) == 1 and groups[0][0][1].weight.ndim == 2

        def look(place: MatrixPlace, x: Tensor, expert: int | None) -> None:
            sums[first[place.key]].add(x, expert)
            if alone:
                raise _InputsSeen

        places = [group[0][0] for group in groups]
        for hidden, call in zip(self.hidden, calls, strict=True):
            with (
                at_products(block.code, places, block.weights, look),
                suppress(_InputsSeen),
            ):
                block(hidden, call)
        return sums

    @property
    def _outside_blocks(self) -> list[LinearMap]:
        return [m for m in self.layout.shell_maps() if m.name in self.job.targets]

    def finish(self) -> None:
        """What a pattern asks for outside of blocks."""
        for m in self._outside_blocks:
            module = self.layout.shell.module.get_submodule(m.name)
            if isinstance(module, nn.Embedding):
                # Looked up in, not multiplied with: of a mixture, a part that needs no data.
                made = self.job.compression.compress(MatrixGroup([m], self.seed, self._prepared))
            else:
                made = self._compress([m], self._after_the_norm(m, module))
            self.job.cache.add(f"shell.{m.name}", [m], made)
        self.job.cache.finish(self.job.record)

    def _after_the_norm(
        self, matrix: LinearMap, unembedding: nn.Module
    ) -> "_InputStatisticsAccumulator":
        """Statistics of what the final norm hands the unembedding."""
        sums = _InputStatisticsAccumulator(self.job.compression, matrix)

        def before(_module: nn.Module, args: Any) -> None:
            sums.add(args[0], None)

        handle = unembedding.register_forward_pre_hook(before)
        try:
            for hidden in self.hidden:
                self.layout.shell.leave(hidden.flatten(0, 1))
        finally:
            handle.remove()
        return sums


class _InputsSeen(Exception):
    """Ends a block's forward when what was asked for has been seen."""


class _InputStatisticsAccumulator:
    """Running statistics of one group's inputs; of fused experts, of each expert's."""

    def __init__(self, compression: Compression, matrix: LinearMap) -> None:
        *experts, _, width = matrix.weight.shape
        self._needs = compression.statistics
        self._width = width
        shapes = {"second_moment": (width, width)}
        self._sums = {
            name: matrix.weight.new_zeros(
                *experts, *shapes.get(name, (width,)), dtype=torch.float32
            )
            for name in self._needs
        }
        self._count = torch.zeros(experts, dtype=torch.int64, device=matrix.weight.device)

    def add(self, x: Tensor, expert: int | None) -> None:
        """Take in `[..., in]`, more of what is multiplied; of fused experts, of this one."""
        x = x.detach().flatten(0, -2).float()
        at: Any = ... if expert is None else expert
        self._count[at] += len(x)
        for name, sums in self._sums.items():
            own = sums[at]
            if name == "second_moment":
                own.addmm_(x.T, x)
            elif name == "mean_square":
                own += x.square().sum(0)
            elif name == "mean_abs":
                own += x.abs().sum(0)
            else:
                torch.maximum(own, x.abs().amax(0), out=own)

    def inputs(self, name: str) -> tuple[InputStatistics, str]:
        """The statistics, and what must be said about them."""
        notes = [
            self._share_among_experts() if self._count.ndim else "",
            self._fewer_than_columns(),
        ]
        for statistic, sums in self._sums.items():
            count = self._count.view(*self._count.shape, *[1] * (sums.ndim - self._count.ndim))
            if statistic != "max_abs":
                sums /= count.clamp_min(1)
            if not finite(sums):
                raise ModelError(
                    f"What {name} is multiplied with in calibration is not finite.",
                    "finite activations on the calibration documents.",
                    "--compute float32, or other calibration documents.",
                )
        return InputStatistics(count=self._count, **self._sums), "; ".join(filter(None, notes))

    def _fewer_than_columns(self) -> str:
        few = self._count < self._width
        if not few.any():
            return ""
        which = f"{int(few.sum())} of {few.numel()} experts " if few.ndim else ""
        return (
            f"{which}calibrated on {int(self._count.min()):,} tokens{' or more' * few.ndim}, fewer "
            f"than the {self._width:,} input columns"
        )

    def _share_among_experts(self) -> str:
        few = self._count < min(FEWEST, self._width)
        if not few.any():
            return ""
        for name, sums in self._sums.items():
            sums[few] = sums.amax(0) if name == "max_abs" else sums.sum(0)
        counts = ", ".join(f"{int(e)} ({int(self._count[e])})" for e in few.nonzero()[:, 0])
        self._count[few] = int(self._count.sum())
        return (
            "calibrated on the tokens of all experts, having met too few calibration tokens "
            f"itself: expert {counts}"
        )


def _put(
    block: Block,
    group: Sequence[tuple[MatrixPlace, LinearMap]],
    results: Sequence[CompressedMatrix],
) -> None:
    """Into the block's weights, as a twin would have them."""
    for (place, _), result in zip(group, results, strict=True):
        dtype = block.weights[place.key].dtype
        block.weights[place.key] = place.stored(result.weight.to(dtype))
        if result.activations is not None:
            block.roundings[place.key] = result.activations
