"""A twin: a model beside its reference; here the reference after a compression."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from bitlens.compression.compression import CompressedMatrix, Compression
from bitlens.compression.coverage import Row
from bitlens.compression.numerics.input_rounding import InputRounding
from bitlens.compression.twin_coverage import TwinCoverage
from bitlens.compression.weight_sources import Computed, Source
from bitlens.errors import ModelError
from bitlens.models.block_runner import Block
from bitlens.models.compute import of_logits
from bitlens.models.layout import BlockWeights, Layout
from bitlens.models.matrices import LinearMap
from bitlens.models.shell import Entry


def targeted_maps(layout: Layout, targets: Collection[str]) -> Iterator[LinearMap]:
    """Every map of the model that is to be compressed, from the first."""
    for depth in range(layout.depth):
        for group in layout.maps(depth, layout.weights(depth)):
            yield from (m for m in group if m.name in targets)
    yield from (m for m in layout.shell_maps() if m.name in targets)


class Twin(ABC):
    """A model under comparison with its reference, run block by block (a `SweptModel`)."""

    def __init__(self, layout: Layout, compression: Compression) -> None:
        self.layout = layout
        self.compression = compression
        self.rounded: set[str] = set()
        """Matrices met so far whose inputs are rounded: no plain weights can stand for that."""
        self.narrowed: set[str] = set()
        """Parameters that `model` had to round to what the reference is stored in."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype | None:
        """Compute dtype; None: the reference's."""

    @property
    def arithmetic(self) -> torch.dtype | None:
        """The narrowest dtype that it multiplies in; None: the reference's."""
        return self.dtype

    @property
    @abstractmethod
    def entry_key(self) -> str:
        """Twins with equal keys share embeddings, unembedding and compute dtype."""

    @property
    @abstractmethod
    def held_bytes(self) -> int:
        """Bytes of an embedding and unembedding of its own: what it keeps for the run, and what it
        casts at a time."""

    @abstractmethod
    def enter(self, tokens: Tensor, mask: Tensor | None) -> Entry:
        """What its blocks are called with; `tokens` `[rows, positions]`, `mask` alike."""

    @abstractmethod
    def leave(self, states: Tensor) -> Tensor:
        """`[n, width]` after the last block to `[n, vocabulary]`."""

    @abstractmethod
    def release(self) -> None:
        """Let go of what was cast to enter or to leave; it is cast again when it is needed."""

    @abstractmethod
    def block(self, depth: int, weights: BlockWeights) -> Block:
        """The twin's block at this depth, to be run; `weights` are the reference's."""

    @abstractmethod
    def complete_coverage(self) -> None:
        """Look at what no sweep has met yet, only to measure what became of it."""

    @abstractmethod
    def coverage(self) -> list[Row]:
        """What became of every module, in the model's order; measured, not assumed."""

    @abstractmethod
    def model(self, rounding: bool = True, dtype: torch.dtype | None = None) -> PreTrainedModel:
        """A transformers model with its weights, the reference left as it is. With `rounding`,
        modules whose inputs are rounded do so themselves; `dtype`: what it is held and computed
        in, where it has none of its own; None: as the reference is stored."""


class CompressedTwin(Twin):
    """The reference after a compression: its weights are made from the reference's, a block at a
    time, and none of them is kept.

    `source` is where the matrices come from when they are not simply computed.
    """

    def __init__(
        self,
        layout: Layout,
        compression: Compression,
        targets: Sequence[str] = (),
        seed: int = 0,
        source: Source | None = None,
    ) -> None:
        super().__init__(layout, compression)
        self.targets = frozenset(targets)
        self.seed = seed
        self._source = source or Computed(
            compression, seed, lambda: targeted_maps(layout, self.targets)
        )
        self._coverage = TwinCoverage(layout, compression)
        self._shell: dict[str, Tensor] | None = None

    def part(self, matrices: Collection[str]) -> "CompressedTwin":
        """The twin that compresses these of its matrices, as it does, and leaves the others."""
        own = sorted(self.targets.intersection(matrices))
        return CompressedTwin(
            self.layout, self.compression, own, seed=self.seed, source=self._source
        )

    @property
    def dtype(self) -> torch.dtype | None:
        """Compute dtype; None: the reference's."""
        return self.compression.compute_dtype

    @property
    def entry_key(self) -> str:
        """Twins with equal keys share embeddings, unembedding and compute dtype."""
        own = sorted(self.targets & {m.name for m in self.layout.shell_maps()})
        return f"{self.dtype} {self.compression} {self.seed} {own}" if own else f"{self.dtype}"

    def enter(self, tokens: Tensor, mask: Tensor | None) -> Entry:
        """What its blocks are called with."""
        return self.layout.shell.enter(tokens, mask, self.shell_weights(), dtype=self.dtype)

    def leave(self, states: Annotated[Tensor, "n width"]) -> Annotated[Tensor, "n vocabulary"]:
        """`[n, width]` after the last block to `[n, vocabulary]`."""
        return self.layout.shell.leave(states, self.shell_weights(), self.dtype)

    @property
    def held_bytes(self) -> int:
        """Bytes of an embedding and unembedding of its own: what it keeps for the run, and what it
        casts at a time."""
        shell = self.layout.shell
        cast = 0 if self.dtype is None else shell.parameters.cast_bytes_in(self.dtype)
        made = sum(m.weight.numel() for m in self.layout.shell_maps() if m.name in self.targets)
        return cast + made * (self.dtype or self.layout.compute).itemsize

    def release(self) -> None:
        """Let go of what was cast to enter or to leave; it is cast again when it is needed."""
        self.layout.shell.release()

    def block(self, depth: int, weights: BlockWeights) -> Block:
        """The twin's block at this depth, to be run, made from the reference's `weights`."""
        own, roundings = self._made(depth, weights)
        layout = self.layout
        names, kept = layout.block_layouts[depth], self.compression.cache
        return Block(layout.callable_block(depth), names, own, roundings, kept)

    def _compress(
        self, matrices: Sequence[LinearMap], dtype: torch.dtype
    ) -> dict[str, CompressedMatrix]:
        """What became of those of the matrices that are targets, by their names, in the twin's
        dtype or this one."""
        chosen = [m for m in matrices if m.name in self.targets]
        if not chosen:
            return {}
        own: dict[str, CompressedMatrix] = {}
        for m, result in zip(chosen, self._source(chosen), strict=True):
            own[m.name] = replace(result, weight=result.weight.to(self.dtype or dtype))
            if result.activations is not None:
                self.rounded.add(m.name)
            self._coverage.note_compressed(m, own[m.name])
        return own

    def block_weights(self, depth: int, weights: BlockWeights) -> dict[str, Tensor]:
        """The parameters of this twin's block, made from the reference's.

        What the compression leaves alone is shared with the reference, not copied.
        """
        return self._made(depth, weights)[0]

    def _made(
        self, depth: int, weights: BlockWeights
    ) -> tuple[dict[str, Tensor], Mapping[str, InputRounding]]:
        """The block's parameters, and how what its matrices are multiplied with is rounded."""
        roundings: dict[str, InputRounding] = {}
        prefix = self.layout.block_name(depth)
        if self.dtype is None:
            own = dict(weights.computed)
        else:
            own = {n: self._cast(t, f"{prefix}.{n}") for n, t in weights.stored.items()}
        for group, places in zip(
            weights.maps, self.layout.block_layouts[depth].groups, strict=True
        ):
            compressed = self._compress(group, self.layout.compute)
            for place, m in zip(places, group, strict=True):
                if m.name in compressed:
                    result = compressed[m.name]
                    own[place.key] = place.stored(result.weight)
                    if result.activations is not None:
                        roundings[place.key] = result.activations
        return own, roundings

    def shell_weights(self) -> dict[str, Tensor]:
        """Embedding, final norm and unembedding where they are others than the reference's; what
        is the same in another dtype is cast when it is used."""
        if self._shell is None:
            own: dict[str, Tensor] = {}
            if self.dtype is not None:
                for name, parameter in self.layout.shell.module.named_parameters():
                    self._cast(parameter.detach(), name)
            for m in self.layout.shell_maps():
                for name, result in self._compress([m], of_logits(self.layout.compute)).items():
                    own[f"{name}.weight"] = result.weight
            self._shell = own
        return self._shell

    def _cast(self, tensor: Tensor, name: str) -> Tensor:
        """A parameter in the twin's own dtype, and what that did to it."""
        assert self.dtype is not None
        if not tensor.is_floating_point():
            return tensor
        cast = tensor.to(self.dtype)
        self._coverage.note_cast(name, tensor, cast)
        return cast

    def complete_coverage(self) -> None:
        """Compress what no sweep has compressed yet, only to measure it."""
        if not self._coverage.covers(self.targets):
            self.shell_weights()
            for depth in range(self.layout.depth):
                self.block_weights(depth, self.layout.block(depth))

    def coverage(self) -> list[Row]:
        """What became of every module, in the model's order; measured, not assumed."""
        assert self._coverage.covers(self.targets)
        return self._coverage.rows()

    @torch.no_grad()
    def model(self, rounding: bool = True, dtype: torch.dtype | None = None) -> PreTrainedModel:
        """A normal transformers model with the twin's weights, the reference left as it is. They
        are stored as the reference's are, or in this dtype, and rounded to that.

        With `rounding`, modules whose inputs are rounded do so themselves; those of fused experts
        cannot, and are refused, and so are rounded keys and values. Needs memory for a second
        model; models swept from disk must be loaded in memory first.
        """
        if rounding and self.compression.cache is not None:
            raise ModelError(
                "Keys and values are rounded in a sweep only.",
                "a compression of weights alone: no rounding of keys and values can be put into a"
                " model.",
                "bitlens audit, which shows what rounded keys and values do.",
            )
        model: PreTrainedModel = copy.deepcopy(self.layout.model)
        if (held := self.dtype or dtype) is not None:
            for weight in model.parameters():
                weight.data = weight.data.to(held)
        parameters = dict(model.named_parameters())

        def put(name: str, tensor: Tensor) -> None:
            stored = parameters[name].data.copy_(tensor)
            if not torch.equal(stored.to(tensor.dtype), tensor):
                self.narrowed.add(name)

        for name, tensor in self.shell_weights().items():
            put(name, tensor)
        for depth in range(self.layout.depth):
            own, roundings = self._made(depth, self.layout.block(depth))
            prefix = self.layout.block_name(depth)
            for name, tensor in own.items():
                put(f"{prefix}.{name}", tensor)
            for key, rule in (roundings if rounding else {}).items():
                path, _, parameter = f"{prefix}.{key}".rpartition(".")
                if parameter != "weight":
                    raise ModelError(
                        f"{path}: the inputs of fused experts are rounded in a sweep only.",
                        "matrices in modules of their own.",
                        f"exclude=[{path.rpartition('.')[2]}.*]",
                    )
                model.get_submodule(path).register_forward_pre_hook(partial(_round, rule))
        return model


def _round(rounding: InputRounding, _module: nn.Module, args: tuple[Tensor, ...]) -> Any:
    return (rounding.round(args[0]), *args[1:])
