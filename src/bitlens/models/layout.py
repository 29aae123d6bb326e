"""Where things are in a transformer, found by what they do and checked when the model loads.

No table of families: the blocks are the one ModuleList as long as the configuration says, and
inside a block attention and MLP are the two modules whose outputs, added to the block's input,
give the block's output (attention being the one that looks at other positions).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from transformers.pytorch_utils import Conv1D

from bitlens.compress.compression import Map
from bitlens.errors import BitlensError
from bitlens.models.shell import Call, Entry, Shell, strip

Kind = Literal["block", "router", "embedding", "unembedding", "norm", "bias", "other"]

INTERLEAVED = frozenset({"gpt_neox", "gpt_neox_japanese", "bloom"})
"""Families whose fused query-key-value rows are [head, qkv, size], not [qkv, head, size]."""


@dataclass(frozen=True)
class Place:
    """Where one effective matrix lives in a block and how to turn it to `[out, in]`."""

    module: str
    """Path inside the block."""
    parameter: str
    """`weight`, or the name of a fused expert parameter."""
    transposed: bool
    """Stored as `[in, out]` (GPT-2's Conv1D) or `[expert, in, out]`."""
    head_size: int | None = None
    fused: Literal["contiguous", "interleaved", "grouped"] | None = None

    @property
    def name(self) -> str:
        """Path inside the block; fused expert parameters add their own name."""
        return self.module if self.parameter == "weight" else f"{self.module}.{self.parameter}"

    @property
    def key(self) -> str:
        return f"{self.module}.{self.parameter}"

    def effective(self, stored: Tensor) -> Tensor:
        """`[out, in]` or `[expert, out, in]`; a view."""
        return stored.transpose(-1, -2) if self.transposed else stored

    def stored(self, effective: Tensor) -> Tensor:
        """Back to how the family stores it."""
        return effective.transpose(-1, -2).contiguous() if self.transposed else effective


@dataclass(frozen=True)
class BlockLayout:
    """Names inside one block, relative to it."""

    attention: str
    """Its output is what attention adds to the residual stream."""
    mlp: str
    """Its output is what the MLP adds."""
    pattern: str
    """The attention module proper: returns its weights under eager attention."""
    heads: str | None
    """The output projection: its input is the heads' outputs side by side."""
    neurons: str | None
    """The MLP's last map: its input is the neurons."""
    groups: tuple[tuple[Place, ...], ...]
    """Matrices that read the same input stand together, in the order data meets them."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of the model, for the table of what was compressed."""

    name: str
    module: str
    kind: Kind
    shape: tuple[int, ...]
    dtype: torch.dtype
    tied: str | None = None
    """The other name it goes by."""


class Layout:
    """A model with the names of its parts, checked on its own activations."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model.eval()
        self.config = model.config.get_text_config()
        self.blocks_path = blocks_path(model, self.config.num_hidden_layers)
        self.blocks: list[nn.Module] = list(model.get_submodule(self.blocks_path))
        self.shell = Shell(model, self.blocks_path)
        try:
            self.block_layouts = self._examine()
        except (TypeError, ValueError) as error:
            # Its own forward, or a block, wants something else than hidden states.
            raise BitlensError(
                f"{type(model).__name__} cannot be run block by block: {error}.",
                "blocks that take hidden states and hand hidden states on.",
                "another model; families that were tried: bitlens list families.",
            ) from error

    @property
    def depth(self) -> int:
        return len(self.blocks)

    @property
    def width(self) -> int:
        return int(self.config.hidden_size)

    @property
    def dtype(self) -> torch.dtype:
        return next(p.dtype for p in self.blocks[0].parameters())

    @property
    def vocabulary(self) -> int:
        return int(self.config.vocab_size)

    def block_name(self, depth: int) -> str:
        return f"{self.blocks_path}.{depth}"

    def _examine(self) -> list[BlockLayout]:
        """Examine one block of each structure; blocks of one structure share the answer."""
        entry = self._probe_entry()
        found: dict[Any, BlockLayout] = {}
        layouts = []
        for depth, block in enumerate(self.blocks):
            structure = (
                type(block),
                tuple((n, tuple(p.shape)) for n, p in block.named_parameters()),
            )
            if structure not in found:
                found[structure] = _examine_block(
                    self.block_name(depth), block, entry.hidden, entry.calls[depth], self.config
                )
            layouts.append(found[structure])
        return layouts

    @torch.no_grad()
    def _probe_entry(self) -> Entry:
        device = next(p.device for p in self.shell.module.parameters() if p.device.type != "meta")
        generator = torch.Generator().manual_seed(0)
        tokens = torch.randint(0, self.vocabulary, (2, 12), generator=generator).to(device)
        first = self.shell.enter(tokens, None, until=0)
        weights = self.weights(0)
        output = functional_call(
            self.callable_block(0),
            weights,
            (first.hidden, *first.calls[0].args),
            first.calls[0].kwargs,
        )
        self.shell.returns_tuple(isinstance(output, tuple | list))
        return self.shell.enter(tokens, None)

    def weights(self, depth: int) -> dict[str, Tensor]:
        """Parameters of a block by name relative to it; read from disk where they live there.

        Together with `callable_block` this is all that running a block needs. Buffers come too
        when the block is offloaded, because then they are offloaded with it.
        """
        return block_weights(self.blocks[depth])

    def callable_block(self, depth: int) -> nn.Module:
        """The block's code without offloading hooks, to be called with weights of one's choice."""
        return strip(self.blocks[depth])

    @torch.no_grad()
    def forward(self, tokens: Tensor) -> Tensor:
        """`[rows, positions]` to `[rows * positions, vocabulary]`, block by block."""
        entry = self.shell.enter(tokens, None)
        hidden = entry.hidden
        for depth, call in enumerate(entry.calls):
            block, weights = self.callable_block(depth), self.weights(depth)
            hidden = first_tensor(
                functional_call(block, weights, (hidden, *call.args), call.kwargs)
            )
        return self.shell.leave(hidden.flatten(0, 1))

    def maps(self, depth: int, weights: dict[str, Tensor]) -> list[list[Map]]:
        """The block's effective matrices, grouped by the input they read."""
        name = self.block_name(depth)
        return [
            [
                Map(f"{name}.{p.name}", p.effective(weights[p.key]), p.head_size, p.fused)
                for p in group
            ]
            for group in self.block_layouts[depth].groups
        ]

    def matrices(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Name and effective shape of every matrix of every block, without reading weights."""
        for depth, block in enumerate(self.blocks):
            parameters = dict(block.named_parameters())
            for group in self.block_layouts[depth].groups:
                for place in group:
                    shape = tuple(parameters[place.key].shape)
                    if place.transposed:
                        shape = (*shape[:-2], shape[-1], shape[-2])
                    yield f"{self.block_name(depth)}.{place.name}", shape

    def shell_maps(self) -> list[Map]:
        """Embedding and unembedding, compressed only where a pattern asks for them; tied ones
        come once."""
        maps, seen = [], set()
        for name, module in self.shell.module.named_modules():
            if isinstance(module, nn.Embedding | nn.Linear) and id(module.weight) not in seen:
                seen.add(id(module.weight))
                maps.append(Map(name, module.weight.detach()))
        return maps

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
                    kind = _kind(module, module_name, parameter_name, parameter, unembedding)
                rows.append(
                    Parameter(
                        full,
                        name,
                        kind,
                        tuple(parameter.shape),
                        parameter.dtype,
                        None if tied == full else tied,
                    )
                )
        return rows


def _kind(
    module: nn.Module, path: str, parameter: str, tensor: Tensor, unembedding: nn.Module
) -> Kind:
    if module is unembedding and parameter == "weight":
        return "unembedding"
    if isinstance(module, nn.Embedding):
        return "embedding"
    if parameter == "bias" or parameter.endswith("_bias"):
        return "bias"
    if tensor.ndim == 1:
        return "norm"
    if _is_router(module, path):
        return "router"
    return "other"


def _is_router(module: nn.Module, path: str) -> bool:
    routers = ("gate", "router", "shared_expert_gate")
    return "Router" in type(module).__name__ or path.rsplit(".", 1)[-1] in routers


def blocks_path(model: nn.Module, depth: int) -> str:
    """Where the blocks are: the outermost ModuleList as long as the configuration says."""
    lists = {
        name: len(module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList)
    }
    candidates = [name for name, length in lists.items() if length == depth]
    outermost = [c for c in candidates if not any(c.startswith(f"{o}.") for o in candidates)]
    if len(outermost) != 1:
        seen = ", ".join(f"{name} ({length})" for name, length in lists.items()) or "none"
        raise BitlensError(
            f"{type(model).__name__} has no single list of {depth} blocks; its lists are: {seen}.",
            "one ModuleList as long as num_hidden_layers in config.json, holding the blocks.",
            "a decoder-only causal LM; bitlens list families names those that were tried.",
        )
    return outermost[0]


def block_weights(block: nn.Module) -> dict[str, Tensor]:
    """Parameters of a block by relative name; with its buffers too where it is offloaded."""
    from accelerate.utils import align_module_device, has_offloaded_params

    offloaded = any(has_offloaded_params(m) for m in block.modules())
    if not offloaded:
        return {name: parameter.detach() for name, parameter in block.named_parameters()}
    weights: dict[str, Tensor] = {}
    for path, module in block.named_modules():
        prefix = f"{path}." if path else ""
        with align_module_device(module):
            own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
            weights |= {prefix + name: tensor.detach() for name, tensor in own}
    return weights


@dataclass
class _Seen:
    """One module's call during the examination of a block."""

    path: str
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Tensor


def first_tensor(output: Any) -> Tensor:
    """Modules return a tensor, or a tuple (GPT: a list) that starts with it."""
    return output[0] if isinstance(output, tuple | list) else output


def _record(block: nn.Module, weights: dict[str, Tensor], hidden: Tensor, call: Call) -> Any:
    seen: list[_Seen] = []
    handles = []
    for path, module in block.named_modules():

        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any, path: str = path) -> None:
            tensor = first_tensor(output)
            if path and isinstance(tensor, Tensor):
                seen.append(_Seen(path, module, args, kwargs, tensor))

        handles.append(module.register_forward_hook(hook, with_kwargs=True))
    try:
        output = functional_call(block, weights, (hidden, *call.args), call.kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return seen, output


def _widen(value: Any) -> Any:
    """Float32 throughout, so that sums can be compared tightly whatever the model's dtype."""
    if isinstance(value, Tensor):
        return value.float() if value.is_floating_point() else value
    if isinstance(value, tuple):
        return tuple(_widen(v) for v in value)
    if isinstance(value, dict):
        return {k: _widen(v) for k, v in value.items()}
    return value


@torch.no_grad()
def _examine_block(
    name: str, block: nn.Module, hidden: Tensor, call: Call, config: Any
) -> BlockLayout:
    code = strip(block)
    weights = _widen(block_weights(block))
    device = next(iter(weights.values())).device
    hidden, call = (
        _to(_widen(hidden), device),
        Call(_to(_widen(call.args), device), _to(_widen(call.kwargs), device)),
    )
    # Probe states of ordinary size: right after an embedding they can be tiny, and a sum of
    # three terms of different size would be checked loosely.
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(hidden.shape, generator=generator).to(device)
    hidden = hidden + noise * hidden.std().clamp_min(0.1)
    seen, output = _record(code, weights, hidden, call)
    attention, mlp = _find_additions(name, code, weights, seen, hidden, first_tensor(output))
    mixing = _mixing_child(name, code, weights, seen)
    groups = _find_groups(code, weights, seen, mixing, config)
    inside_attention = [p for g in groups for p in g if p.module.startswith(f"{mixing}.")]
    inside_mlp = [p for g in groups for p in g if not p.module.startswith(f"{mixing}.")]
    return BlockLayout(
        attention=attention,
        mlp=mlp,
        pattern=mixing,
        heads=inside_attention[-1].module if inside_attention else None,
        neurons=_last_dense(inside_mlp),
        groups=tuple(tuple(group) for group in groups),
    )


def _last_dense(places: list[Place]) -> str | None:
    return places[-1].module if places and places[-1].parameter == "weight" else None


def _to(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(_to(v, device) for v in value)
    if isinstance(value, dict):
        return {k: _to(v, device) for k, v in value.items()}
    return value


def _find_additions(
    name: str,
    block: nn.Module,
    weights: dict[str, Tensor],
    seen: list[_Seen],
    hidden: Tensor,
    output: Tensor,
) -> tuple[str, str]:
    """The two modules whose outputs, added to the block's input, give its output.

    Where several modules give the same tensor (attention, its projection, its dropout), the
    outermost is meant. Attention runs before the MLP in every family, parallel ones included.
    """
    outputs = [s for s in seen if s.output.numel() == hidden.numel()]
    tensors = torch.stack([s.output.reshape(hidden.shape) for s in outputs])
    remainder = output - hidden
    scale = remainder.abs().amax()
    best: list[tuple[int, int, int, int]] = []
    for i in range(len(outputs)):
        errors = (remainder - tensors[i] - tensors).abs().amax(dim=(1, 2, 3))
        for j in torch.nonzero(errors <= 1e-4 * scale).flatten().tolist():
            if i != j:
                depth = outputs[i].path.count("."), outputs[j].path.count(".")
                best.append((sum(depth), depth[0], i, j))
    order = {path: k for k, (path, _) in enumerate(block.named_modules())}
    if not best:
        raise BitlensError(
            f"{name} ({type(block).__name__}): the residual stream does not add up. No two of "
            f"its modules give outputs whose sum is what the block adds to its input "
            f"(looked at {', '.join(s.path for s in outputs)}).",
            "a pre-norm (or sandwich-norm) block: output = input + attention + MLP.",
            "another model; families that were tried: bitlens list families.",
        )
    shallowest = min(b[0] for b in best)
    pairs = {
        tuple(sorted((outputs[i].path, outputs[j].path), key=lambda p: _ran(p, seen)))
        for total, _, i, j in best
        if total == shallowest
    }
    first = min(pairs, key=lambda pair: (order[pair[0]], order[pair[1]]))
    return first[0], first[1]


def _ran(path: str, seen: list[_Seen]) -> int:
    return next(k for k, s in enumerate(seen) if s.path == path)


def _mixing_child(
    name: str, block: nn.Module, weights: dict[str, Tensor], seen: list[_Seen]
) -> str:
    """The one child that looks at other positions: called again with its first position
    changed, only its outputs at later positions can tell."""
    mixing = []
    for s in seen:
        if "." in s.path:
            continue
        own = {k[len(s.path) + 1 :]: v for k, v in weights.items() if k.startswith(f"{s.path}.")}
        args, kwargs = list(s.args), dict(s.kwargs)
        source: Any = args if args and isinstance(args[0], Tensor) else kwargs
        key: Any = 0 if source is args else "hidden_states"
        if key != 0 and key not in kwargs:
            continue
        changed = source[key].clone()
        if changed.ndim != 3:
            continue
        changed[:, 0] += 1 + changed[:, 0].flip(-1)
        source[key] = changed
        again = first_tensor(functional_call(s.module, own, tuple(args), kwargs))
        if again.ndim == 3 and not torch.allclose(
            again[:, 1:], s.output[:, 1:], rtol=1e-5, atol=1e-6 * float(s.output.abs().amax())
        ):
            mixing.append(s.path)
    if len(mixing) != 1:
        raise BitlensError(
            f"{name} ({type(block).__name__}) has {len(mixing)} parts that look at other "
            f"positions ({', '.join(mixing) or 'none'}).",
            "exactly one attention module in a block.",
            "another model; families that were tried: bitlens list families.",
        )
    return mixing[0]


def _find_groups(
    block: nn.Module,
    weights: dict[str, Tensor],
    seen: list[_Seen],
    mixing: str,
    config: Any,
) -> list[list[Place]]:
    """Matrices in the order they run (a module's call begins when its input exists), those
    that read the same tensor together."""
    groups: dict[Any, list[Place]] = {}
    for s in seen:
        if _is_router(s.module, s.path):
            continue
        inputs = s.args[0] if s.args else s.kwargs.get("hidden_states")
        if isinstance(s.module, nn.Linear | Conv1D):
            place = Place(s.path, "weight", isinstance(s.module, Conv1D))
            groups.setdefault((inputs.data_ptr(), inputs.numel()), []).append(place)
        else:
            stacks = [n for n, p in s.module.named_parameters(recurse=False) if p.ndim == 3]
            for parameter in stacks:
                transposed = bool(getattr(s.module, "is_transposed", False))
                groups[(s.path, parameter)] = [Place(s.path, parameter, transposed)]
    ordered = list(groups.values())
    head_size = getattr(config, "head_dim", None) or (
        config.hidden_size // config.num_attention_heads
    )
    reading = [g for g in ordered if g[0].module.startswith(f"{mixing}.")][:-1]
    for group in reading:
        inside = [p for p in group if p.module.startswith(f"{mixing}.")]
        fused: Literal["contiguous", "interleaved", "grouped"] | None = None
        if len(inside) == 1 and config.model_type in INTERLEAVED:
            fused = "interleaved"
        elif len(inside) == 1:
            kv_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
            fused = "contiguous" if kv_heads == config.num_attention_heads else "grouped"
        group[:] = [
            replace(p, head_size=int(head_size), fused=fused) if p in inside else p for p in group
        ]
    return ordered
