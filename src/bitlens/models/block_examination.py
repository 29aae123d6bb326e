"""The examination of one block: its parts, found by what its modules do, with no table of families.

Attention and MLP are the two modules whose outputs, added to the block's input, give the block's
output, attention being the one that looks at other positions. Matrices belong together when they
read the same tensor.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from transformers.pytorch_utils import Conv1D

from bitlens.errors import ModelError
from bitlens.models.block_layout import BlockLayout, MatrixPlace
from bitlens.models.expert_routing import RouterPlace, find_router
from bitlens.models.norms import Gain, gain_of, writers
from bitlens.models.roles import roles
from bitlens.models.shell import Call
from bitlens.models.strip import strip

INTERLEAVED = frozenset({"gpt_neox", "gpt_neox_japanese", "bloom", "falcon"})
"""Families whose fused query-key-value rows are [head, qkv, size], not [qkv, head, size]."""


@torch.no_grad()
def examine(name: str, block: nn.Module, *, hidden: Tensor, call: Call, config: Any) -> BlockLayout:
    """What one block is made of, found by running it once on `hidden` (`[rows, positions, width]`).

    Raises BitlensError where what it adds to the stream, or the one module that looks at other
    positions, cannot be told.
    """
    code = strip(block)
    stored = block_weights(block)
    device = next(iter(stored.values())).device

    def widen(tensor: Tensor) -> Tensor:
        """Float32, so that sums can be compared tightly whatever the model's dtype."""
        return tensor.to(device).float() if tensor.is_floating_point() else tensor.to(device)

    weights = {name: widen(tensor) for name, tensor in stored.items()}
    hidden, call = widen(hidden), call.each(widen)
    # Probe states of ordinary size: right after an embedding they can be tiny, and a sum of
    # three terms of different size would be checked loosely.
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(hidden.shape, generator=generator).to(device)
    hidden = hidden + noise * hidden.std().clamp_min(0.1)
    given = hidden.clone()
    seen, output = _record(code, weights, given, call)
    in_place = not torch.equal(given, hidden) or any(s.changed for s in seen)
    attention, mlp = _find_additions(name, code, seen, hidden=hidden, output=first_tensor(output))
    mixing = _mixing_child(name, code, weights, seen)
    groups = _with_roles(_find_groups(weights, seen, mixing, config), mixing)
    written = writers(
        lambda hidden, weights: first_tensor(_run(code, weights, hidden, call)),
        hidden,
        weights,
        [p.key for group in groups for p in group],
    )
    added = (attention, mlp)
    groups = [
        [replace(p, writes=p.key in written, adds=_adds(p, added, weights, hidden)) for p in group]
        for group in groups
    ]
    inside_attention = [p for g in groups for p in g if p.module.startswith(f"{mixing}.")]
    inside_mlp = [p for g in groups for p in g if not p.module.startswith(f"{mixing}.")]
    return BlockLayout(
        attention=attention,
        mlp=mlp,
        pattern=mixing,
        heads=inside_attention[-1].module if inside_attention else None,
        neurons=_last_dense(inside_mlp),
        groups=tuple(tuple(group) for group in groups),
        in_place=in_place,
        routing=_routing(code, weights, hidden, call),
    )


def _routing(
    code: nn.Module, weights: dict[str, Tensor], hidden: Tensor, call: Call
) -> RouterPlace | None:
    """Its router and experts, if any of its parameters are fused experts."""
    if all(tensor.ndim != 3 for tensor in weights.values()):
        return None
    tokens = hidden.shape[0] * hidden.shape[1]
    return find_router(code, lambda: _run(code, weights, hidden.clone(), call), tokens, is_router)


def _adds(
    place: MatrixPlace, added: tuple[str, str], weights: Mapping[str, Tensor], hidden: Tensor
) -> bool:
    """Is what this matrix makes part of what one of these modules adds, as it stands?"""
    rows = place.effective(weights[place.key]).shape[-2]
    within = any(f"{place.name}.".startswith(f"{path}.") for path in added)
    return within and place.gain is None and rows == hidden.shape[-1]


@dataclass(kw_only=True)
class _TracedModule:
    """One module's call during the examination of a block, copied while it lasted: the block may
    go on to add to any of it in place."""

    path: str
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Tensor
    read: Any
    """Its first argument itself, which keeps its place in memory; so does `made`, its output."""
    made: Tensor

    @property
    def changed(self) -> bool:
        return not torch.equal(self.made, self.output)


def first_tensor(output: Any) -> Tensor:
    """Modules return a tensor, or a tuple (GPT: a list) that starts with it."""
    hidden: Tensor = output[0] if isinstance(output, tuple | list) else output
    return hidden


def _record(block: nn.Module, weights: dict[str, Tensor], hidden: Tensor, call: Call) -> Any:
    seen: list[_TracedModule] = []
    handles = []
    for path, module in block.named_modules():

        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any, path: str = path) -> None:
            tensor = first_tensor(output)
            if path and isinstance(tensor, Tensor):
                copy = Call(args, kwargs).each(Tensor.clone)
                seen.append(
                    _TracedModule(
                        path=path,
                        module=module,
                        args=copy.args,
                        kwargs=copy.kwargs,
                        output=tensor.clone(),
                        read=args[0] if args else None,
                        made=tensor,
                    )
                )

        handles.append(module.register_forward_hook(hook, with_kwargs=True))
    try:
        output = _run(block, weights, hidden, call)
    finally:
        for handle in handles:
            handle.remove()
    return seen, output


def _run(block: nn.Module, weights: Mapping[str, Tensor], hidden: Tensor, call: Call) -> Any:
    return functional_call(block, dict(weights), (hidden, *call.args), call.kwargs)


def _last_dense(places: list[MatrixPlace]) -> str | None:
    return places[-1].module if places and places[-1].parameter == "weight" else None


def _find_additions(
    name: str,
    block: nn.Module,
    seen: list[_TracedModule],
    *,
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
        raise ModelError(
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


def _ran(path: str, seen: list[_TracedModule]) -> int:
    return next(k for k, s in enumerate(seen) if s.path == path)


def _mixing_child(
    name: str, block: nn.Module, weights: dict[str, Tensor], seen: list[_TracedModule]
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
        raise ModelError(
            f"{name} ({type(block).__name__}) has {len(mixing)} parts that look at other "
            f"positions ({', '.join(mixing) or 'none'}).",
            "exactly one attention module in a block.",
            "another model; families that were tried: bitlens list families.",
        )
    return mixing[0]


def _find_groups(
    weights: dict[str, Tensor],
    seen: list[_TracedModule],
    mixing: str,
    config: Any,
) -> list[list[MatrixPlace]]:
    """Matrices in the order they run (a module's call begins when its input exists), those
    that read the same tensor together."""
    groups: dict[Any, list[MatrixPlace]] = {}
    gains: dict[tuple[int, int], Gain] = {}
    for s in seen:
        if is_router(s.module, s.path):
            continue
        if isinstance(s.module, nn.Linear | Conv1D):
            read = _memory(s.read)
            transposed, gain = isinstance(s.module, Conv1D), gains.get(read)
            place = MatrixPlace(s.path, "weight", transposed=transposed, gain=gain)
            groups.setdefault(read, []).append(place)
            continue
        gain = gain_of(s.path, s.module, s.args, weights)
        if gain is not None:
            gains[_memory(s.made)] = gain
        stacks = [n for n, p in s.module.named_parameters(recurse=False) if p.ndim == 3]
        for parameter in stacks:
            transposed = bool(getattr(s.module, "is_transposed", False))
            # The last stack reads what the others made of the module's input.
            read = _memory(s.read) if s.args and parameter != stacks[-1] else (0, 0)
            place = MatrixPlace(s.path, parameter, transposed=transposed, gain=gains.get(read))
            groups[(s.path, parameter)] = [place]
    ordered = list(groups.values())
    head_size = getattr(config, "head_dim", None) or (
        config.hidden_size // config.num_attention_heads
    )
    reading = [g for g in ordered if g[0].module.startswith(f"{mixing}.")][:-1]
    for group in reading:
        inside = [p for p in group if p.module.startswith(f"{mixing}.")]
        fused: Literal["contiguous", "interleaved", "grouped"] | None = None
        if len(inside) == 1:
            rows = inside[0].effective(weights[inside[0].key]).shape[-2]
            if rows != 3 * config.num_attention_heads * head_size:
                fused = "grouped"
            else:
                fused = "interleaved" if config.model_type in INTERLEAVED else "contiguous"
        group[:] = [
            replace(p, head_size=int(head_size), fused=fused) if p in inside else p for p in group
        ]
    return ordered


def _with_roles(groups: list[list[MatrixPlace]], mixing: str) -> list[list[MatrixPlace]]:
    found = roles(groups, mixing)
    return [[replace(place, role=found.get(place.key)) for place in group] for group in groups]


def _memory(tensor: Tensor) -> tuple[int, int]:
    """Where a tensor lies and its size: equal for views of one tensor, however shaped."""
    return tensor.data_ptr(), tensor.numel()


def is_router(module: nn.Module, path: str) -> bool:
    """Whether a module decides which experts run: routers are never compressed."""
    routers = ("gate", "router", "shared_expert_gate")
    return "Router" in type(module).__name__ or path.rsplit(".", 1)[-1] in routers


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
