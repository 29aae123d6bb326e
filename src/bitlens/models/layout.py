"""The map of one transformer: where its parts are, checked on its own activations when it loads."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from transformers import PreTrainedModel

from bitlens.errors import ModelError
from bitlens.models.block_examination import block_weights, examine, first_tensor, is_router
from bitlens.models.block_layout import BlockLayout
from bitlens.models.compute import computed
from bitlens.models.matrices import LinearMap
from bitlens.models.roles import BlockStanding, Role
from bitlens.models.shell import Entry, Shell
from bitlens.models.strip import strip
from bitlens.results.counts import count

Kind = Literal["block", "router", "embedding", "unembedding", "norm", "bias", "other"]


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of the model, for the table of what was compressed."""

    name: str
    module: str
    kind: Kind
    shape: tuple[int, ...]
    dtype: torch.dtype
    tied: str | None = None
    """The other name it goes by."""


@dataclass(frozen=True, eq=False)
class BlockWeights:
    """The parameters of one block, by name relative to it."""

    stored: dict[str, Tensor]
    """The parameters as they lie in the model; compressions read these."""
    maps: list[list[LinearMap]]
    """The effective matrices of `stored`, grouped by the input they read."""
    dtypes: tuple[torch.dtype, torch.dtype]
    """What the model is stored in, and what it is computed in."""

    @cached_property
    def computed(self) -> dict[str, Tensor]:
        """The parameters as they are multiplied with; those of `stored` if both dtypes are one."""
        return {name: computed(tensor, *self.dtypes) for name, tensor in self.stored.items()}


class Layout:
    """A model with the names of its parts, checked on its own activations.

    It is computed in `compute`, whatever it is stored in; if `paired`, twins in `PairedBlock`s.
    """

    def __init__(self, model: PreTrainedModel, compute: torch.dtype = torch.float32) -> None:
        self.model = model.eval()
        self.compute = compute
        self.paired = False
        self.config = model.config.get_text_config()
        self.blocks_path = blocks_path(model, self.config.num_hidden_layers)
        self.blocks: list[nn.Module] = list(model.get_submodule(self.blocks_path).children())
        self.shell = Shell(model, self.blocks_path, compute)
        try:
            self.block_layouts = self._examine()
        except (TypeError, ValueError) as error:
            # Its own forward, or a block, wants something else than hidden states.
            raise ModelError(
                f"{type(model).__name__} cannot be run block by block: {error}.",
                "blocks that take hidden states and hand hidden states on.",
                "another model; families that were tried: bitlens list families.",
            ) from error

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    @property
    def width(self) -> int:
        """Numbers in a hidden state, `d_model`."""
        return int(self.config.hidden_size)

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are stored in."""
        return next(p.dtype for p in self.blocks[0].parameters())

    @property
    def device(self) -> torch.device:
        """Where tokens go in."""
        return next(p.device for p in self.shell.module.parameters())

    @property
    def vocabulary(self) -> int:
        """Tokens the model knows: logits of one position."""
        return int(self.config.vocab_size)

    def block_name(self, depth: int) -> str:
        """Path of a block's module in the model."""
        return f"{self.blocks_path}.{depth}"

    def _examine(self) -> list[BlockLayout]:
        """Examine one block of each structure; blocks of one structure share the answer."""
        entry = self._probe_entry()
        found: dict[Any, BlockLayout] = {}
        layouts = []
        for depth, block in enumerate(self.blocks):
            kind = structure(block)
            if kind not in found:
                name, hidden, call = self.block_name(depth), entry.hidden, entry.calls[depth]
                found[kind] = examine(name, block, hidden=hidden, call=call, config=self.config)
            layouts.append(found[kind])
        return layouts

    @torch.no_grad()
    def _probe_entry(self) -> Entry:
        device = next(p.device for p in self.shell.module.parameters() if p.device.type != "meta")
        generator = torch.Generator().manual_seed(0)
        tokens = torch.randint(0, self.vocabulary, (2, 12), generator=generator).to(device)
        first = self.shell.enter(tokens, None, until=0)
        dtypes = (self.dtype, self.compute)
        output = functional_call(
            self.callable_block(0),
            {name: computed(tensor, *dtypes) for name, tensor in self.weights(0).items()},
            (first.hidden, *first.calls[0].args),
            first.calls[0].kwargs,
        )
        self.shell.returns_tuple(isinstance(output, tuple | list))
        entry = self.shell.enter(tokens, None)
        self.shell.release()
        return entry

    def weights(self, depth: int) -> dict[str, Tensor]:
        """Parameters of a block by name relative to it, as stored; read from disk where they live
        there.

        Together with `callable_block` this is all that running a block needs. Buffers come too
        when the block is offloaded, because then they are offloaded with it.
        """
        return block_weights(self.blocks[depth])

    def block(self, depth: int) -> BlockWeights:
        """The block's parameters as they are compressed and as they are computed with."""
        weights = self.weights(depth)
        return BlockWeights(weights, self.maps(depth, weights), (self.dtype, self.compute))

    def callable_block(self, depth: int) -> nn.Module:
        """The block's code without offloading hooks, to be called with weights of one's choice."""
        return strip(self.blocks[depth])

    @torch.no_grad()
    def forward(self, tokens: Tensor) -> Tensor:
        """`[rows, positions]` to `[rows * positions, vocabulary]`, block by block."""
        entry = self.shell.enter(tokens, None)
        hidden = entry.hidden
        for depth, call in enumerate(entry.calls):
            block, weights = self.callable_block(depth), self.block(depth).computed
            hidden = first_tensor(
                functional_call(block, weights, (hidden, *call.args), call.kwargs)
            )
        logits = self.shell.leave(hidden.flatten(0, 1))
        self.shell.release()
        return logits

    def maps(self, depth: int, weights: dict[str, Tensor]) -> list[list[LinearMap]]:
        """The block's effective matrices, grouped by the input they read."""
        name, standing = self.block_name(depth), BlockStanding.of(self.config, depth)
        return [
            [
                LinearMap(
                    f"{name}.{p.name}",
                    p.effective(weights[p.key]),
                    gain=p.gain.of(weights) if p.gain else None,
                    standing=standing,
                    **p.about,
                )
                for p in group
            ]
            for group in self.block_layouts[depth].groups
        ]

    def examples(self) -> Iterator[LinearMap]:
        """Every matrix that could be compressed, without its weights (on the meta device) and
        without its gain."""
        for depth, block in enumerate(self.blocks):
            parameters = dict(block.named_parameters())
            for group in self.block_layouts[depth].groups:
                for place in group:
                    stored = torch.empty(parameters[place.key].shape, device="meta")
                    name, standing = self.block_name(depth), BlockStanding.of(self.config, depth)
                    whole, effective = f"{name}.{place.name}", place.effective(stored)
                    yield LinearMap(whole, effective, standing=standing, **place.about)
        for m in self.shell_maps():
            yield replace(m, weight=m.weight.to("meta"))

    def matrices(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Name and effective shape of every matrix of every block, routers left out."""
        for example in self.examples():
            if example.name.startswith(f"{self.blocks_path}."):
                yield example.name, tuple(example.weight.shape)

    def shell_maps(self) -> list[LinearMap]:
        """Embedding and unembedding, compressed only where a pattern asks for them; tied ones
        come once."""
        last = self.model.get_output_embeddings()
        maps: dict[int, LinearMap] = {}
        for name, module in self.shell.module.named_modules():
            if isinstance(module, nn.Embedding | nn.Linear) and id(module.weight) not in maps:
                role: Role = "unembedding" if module.weight is last.weight else "embedding"
                standing = BlockStanding.of(self.config, 0)
                own = LinearMap(name, module.weight.detach(), role=role, standing=standing)
                maps[id(module.weight)] = own
        return list(maps.values())

    def parameters(self) -> list[Parameter]:
        """Every parameter of the model and what kind of thing it is."""
        matrices = {name for name, _ in self.matrices()}
        places = {
            f"{self.block_name(d)}.{p.key}": f"{self.block_name(d)}.{p.name}"
            for d, layout in enumerate(self.block_layouts)
            for group in layout.groups
            for p in group
        }
        unembedding = self.model.get_output_embeddings()
        first_name: dict[int, str] = {}
        rows = []
        for module_name, module in self.model.named_modules():
            for parameter_name, parameter in module.named_parameters(recurse=False):
                full = f"{module_name}.{parameter_name}"
                tied = first_name.setdefault(id(parameter), full)
                name = places.get(full, module_name)
                if name in matrices and full in places:
                    kind: Kind = "block"
                else:
                    kind = _kind(full, parameter, module, unembedding=unembedding)
                rows.append(
                    Parameter(
                        name=full,
                        module=name,
                        kind=kind,
                        shape=tuple(parameter.shape),
                        dtype=parameter.dtype,
                        tied=None if tied == full else tied,
                    )
                )
        return rows


def _kind(name: str, tensor: Tensor, module: nn.Module, *, unembedding: nn.Module) -> Kind:
    """The kind of a parameter of this full name, which `module` holds."""
    path, _, parameter = name.rpartition(".")
    if module is unembedding and parameter == "weight":
        return "unembedding"
    if isinstance(module, nn.Embedding):
        return "embedding"
    if parameter == "bias" or parameter.endswith("_bias"):
        return "bias"
    if tensor.ndim == 1:
        return "norm"
    if is_router(module, path):
        return "router"
    return "other"


def structure(block: nn.Module) -> Hashable:
    """A block's class and the shapes of its parameters: equal for blocks that are built alike."""
    return type(block), tuple((n, tuple(p.shape)) for n, p in block.named_parameters())


def blocks_path(model: nn.Module, depth: int) -> str:
    """Where the blocks are: the outermost ModuleList as long as the configuration says. ModelError
    where there is none, or more than one."""
    lists = {
        name: len(module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList)
    }
    candidates: list[str] = [name for name, length in lists.items() if length == depth]
    outermost = [c for c in candidates if not any(c.startswith(f"{o}.") for o in candidates)]
    if len(outermost) != 1:
        seen = ", ".join(f"{name} ({length})" for name, length in lists.items()) or "none"
        raise ModelError(
            f"{type(model).__name__} has no single list of {count(depth, 'block')}; its lists "
            f"are: {seen}.",
            "one ModuleList as long as num_hidden_layers in config.json, holding the blocks.",
            "a decoder-only causal LM; bitlens list families names those that were tried.",
        )
    return outermost[0]
