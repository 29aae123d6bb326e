"""A twin with modules of its own: a checkpoint that was made elsewhere."""

import copy
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bitlens.compression.checkpoints import LoadedCheckpoint, Stored
from bitlens.compression.compression import CompressedMatrix, Compression
from bitlens.compression.coverage import Row, Storage, measure, tied
from bitlens.compression.twin import Twin
from bitlens.models.block_runner import Block, Rounding
from bitlens.models.compute import computed
from bitlens.models.layout import BlockWeights, Layout, Parameter
from bitlens.models.matrices import LinearMap
from bitlens.models.shell import Entry, Shell


class _Blank:
    """Puts nothing where padding is, so that it decides nothing about its row."""

    def round(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        return x if valid is None else x * valid.unsqueeze(-1)

    def expert(self, index: int) -> "_Blank":  # noqa: ARG002
        return self


class _KernelBlock(Block):
    """A block that real kernels compute, whose weights are told besides."""

    stored: Mapping[str, Stored]
    """By the name of a parameter within the block."""

    def output_projection(self) -> Tensor:
        place = self.names.projection
        return place.effective(self.stored[place.key].weight())


class CheckpointTwin(Twin):
    """Runs the checkpoint's own blocks, embedding and unembedding, with the names of its
    reference's parts: real kernels in their own dtype, ordinary matrices in the reference's."""

    def __init__(
        self, layout: Layout, compression: Compression, checkpoint: LoadedCheckpoint
    ) -> None:
        super().__init__(layout, compression)
        self.checkpoint = checkpoint
        model = checkpoint.model
        attention = layout.model.config._attn_implementation
        if model.config._attn_implementation != attention:
            # Both models must multiply alike, or their difference would not be the weights'.
            model.set_attn_implementation(attention)
        self._blocks = list(model.get_submodule(layout.blocks_path).children())
        compute = None if checkpoint.kernels else layout.compute
        self._own_shell = Shell(model, layout.blocks_path, compute)
        self._own_shell.returns_tuple(layout.shell.hands_on_tuples)
        self._table: list[Row] = []

    @property
    def dtype(self) -> torch.dtype | None:
        """Compute dtype of real kernels; None: the reference's."""
        return self.checkpoint.model.dtype if self.checkpoint.kernels else None

    @property
    def arithmetic(self) -> torch.dtype | None:
        """The narrowest dtype that it multiplies in: kernels have one of their own, besides that
        of the states that they are handed."""
        if self.dtype is None:
            return None
        kernels = [getattr(m, "compute_dtype", None) for m in self.checkpoint.model.modules()]
        kernels.append(self.checkpoint.arithmetic)
        dtypes = [dtype for dtype in kernels if isinstance(dtype, torch.dtype)]
        return min([self.dtype, *dtypes], key=lambda dtype: dtype.itemsize)

    @property
    def entry_key(self) -> str:
        """No other twin shares its embedding."""
        return f"{self.compression}"

    @property
    def held_bytes(self) -> int:
        """Bytes of the whole checkpoint: it is a model of its own."""
        return sum(p.numel() * p.element_size() for p in self.checkpoint.model.parameters())

    def enter(self, tokens: Tensor, mask: Tensor | None) -> Entry:
        """What its blocks are called with."""
        return self._own_shell.enter(tokens, mask)

    def leave(self, states: Tensor) -> Tensor:
        """`[n, width]` after the last block to `[n, vocabulary]`."""
        return self._own_shell.leave(states.to(self.dtype or self.layout.compute))

    def release(self) -> None:
        """Let go of what was cast to enter or to leave; it is cast again when it is needed."""
        self._own_shell.release()

    def block(self, depth: int, weights: BlockWeights) -> Block:  # noqa: ARG002
        """The checkpoint's own block, whatever the reference's is."""
        names = self.layout.block_layouts[depth]
        blanks: dict[str, Rounding] = {}
        if self.checkpoint.padding_matters:
            places = [place for group in names.groups for place in group]
            blanks = {p.key: _Blank() for p in places if p.parameter == "weight"}
        if self.checkpoint.kernels:
            block = _KernelBlock(self._blocks[depth], names, {}, blanks)
            prefix = f"{self.layout.block_name(depth)}."
            block.stored = {
                name.removeprefix(prefix): stored
                for name, stored in self.checkpoint.stored.items()
                if name.startswith(prefix)
            }
            return block
        dtype = self.checkpoint.model.dtype
        parameters = self._blocks[depth].named_parameters()
        own = {n: computed(p.detach(), dtype, self.layout.compute) for n, p in parameters}
        return Block(self._blocks[depth], names, own, blanks)

    def matched(self, matrices: Sequence[LinearMap]) -> list[CompressedMatrix]:
        """What the checkpoint holds for these maps, for noise of the same size."""
        names = {m.name for m in matrices}
        places = {
            f"{self.layout.block_name(depth)}.{place.name}": (
                f"{self.layout.block_name(depth)}.{place.key}",
                place,
            )
            for depth, names_of in enumerate(self.layout.block_layouts)
            for group in names_of.groups
            for place in group
            if f"{self.layout.block_name(depth)}.{place.name}" in names
        }
        results = []
        for m in matrices:
            key, place = places[m.name]
            stored = self.checkpoint.stored[key]
            weight = place.effective(stored.weight().to(m.weight.device))
            results.append(
                CompressedMatrix(weight, stored.bits, group=stored.group, note=stored.note)
            )
        return results

    def complete_coverage(self) -> None:
        """Compare every parameter with the reference's."""
        if not self._table:
            weights = dict(self._reference_weights())
            self._table = [self._row(p, weights) for p in self.layout.parameters()]

    def coverage(self) -> list[Row]:
        """What became of every module, in the model's order; measured, not assumed."""
        self.complete_coverage()
        return self._table

    def model(
        self,
        rounding: bool = True,  # noqa: ARG002
        dtype: torch.dtype | None = None,
    ) -> PreTrainedModel:
        """The checkpoint itself, whose modules round what they do; a copy of it where its matrices
        are ordinary ones and another dtype is asked for."""
        model: PreTrainedModel = self.checkpoint.model
        if dtype in (None, model.dtype) or self.checkpoint.kernels:
            return model
        model = copy.deepcopy(model)
        for weight in model.parameters():
            weight.data = weight.data.to(dtype)
        return model

    def _reference_weights(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self.layout.shell.module.named_parameters():
            yield name, parameter.detach()
        for depth in range(self.layout.depth):
            for name, tensor in self.layout.weights(depth).items():
                yield f"{self.layout.block_name(depth)}.{name}", tensor

    def _row(self, p: Parameter, weights: dict[str, Tensor]) -> Row:
        stored = self.checkpoint.stored[p.name]
        reference = weights[p.tied or p.name]
        own = stored.weight().to(reference.device)
        if p.tied is not None:
            other = self.checkpoint.stored[p.tied]
            if torch.equal(own, other.weight().to(own.device)):
                storage = Storage(format=other.format, bits=other.bits)
                return tied(p.module, p.kind, to=p.tied, storage=storage)
        quantized = stored.bits < 16 or stored.group > 0
        same = not quantized and torch.equal(own, reference.float())
        storage = Storage(
            format=stored.format,
            bits=stored.bits,
            group=stored.group,
            note=stored.note or (f"as in the reference: {p.kind}" if same else ""),
        )
        return measure(p.module, p.kind, reference, None if same else own, storage=storage)
