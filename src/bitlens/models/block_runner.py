"""One block with weights of one's choice: it runs, and what is asked for is heard on the way."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bitlens.errors import ModelError
from bitlens.models.attending import KeptKeysAndValues, keeping
from bitlens.models.block_examination import first_tensor
from bitlens.models.block_layout import BlockLayout, MatrixPlace
from bitlens.models.expert_routing import EXPERTS, ROUTER, RouterPlace, forcing, hearing
from bitlens.models.matmul_hooks import at_products
from bitlens.models.shell import Call
from bitlens.models.sites import WRITTEN, site


class Rounding(Protocol):
    """What becomes of a matrix's input before it is multiplied: rounded, say."""

    def round(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """`x` (`[..., in]`) rounded; `valid` (`[rows, positions]`) is 0 at padding."""
        ...

    def expert(self, index: int) -> "Rounding":
        """The rounding of one expert's input, where a matrix is a stack of experts."""
        ...


class Block:
    """A block's code with the weights of one twin.

    `weights` replace the code's own parameters by name; `roundings` say, by a place's key, how
    what its matrix is multiplied with is rounded first, and `kept` how keys and values are read
    back.
    """

    def __init__(
        self,
        code: nn.Module,
        names: BlockLayout,
        weights: Mapping[str, Tensor],
        roundings: Mapping[str, Rounding] | None = None,
        kept: KeptKeysAndValues | None = None,
    ) -> None:
        self.code, self.names, self.kept = code, names, kept
        self.weights = dict(weights)
        self.roundings = dict(roundings or {})
        own = chain(self.weights.values(), code.parameters())
        some = next(tensor for tensor in own if tensor.is_floating_point())
        self._device, self._dtype = some.device, some.dtype
        self.writer: Tensor | None = None
        """`[heads, size, coordinates]`, from a head's output to what it writes, where the site
        `written` is to be read (`bitlens.models.written`)."""

    def output_projection(self) -> Tensor:
        """`[width, columns]`, what attention's heads are multiplied with, side by side."""
        place = self.names.projection
        return place.effective(self.weights[place.key])

    def __call__(
        self,
        hidden: Tensor,
        call: Call,
        sites: Sequence[str] = (),
        valid: Tensor | None = None,
        interventions: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    ) -> tuple[dict[str, Tensor], Tensor]:
        """What is at these sites, and the block's output. `hidden` is `[rows, positions, width]`;
        `valid` `[rows, positions]` is 0 at padding. `interventions`: by kind of site (`attn`,
        `mlp`, `heads`, `neurons`), what becomes of it. BitlensError for a kind that the block
        does not have."""
        interventions = interventions or {}
        # A branch may come from a run of another dtype.
        hidden = hidden.to(self._device, self._dtype)
        if self.names.in_place:
            # Other runs may stand on the same states.
            hidden = hidden.clone()
        call = call.each(lambda tensor: tensor.to(self._device))
        with ExitStack() as listening:
            kinds = [site(s).kind for s in sites]
            early = [kind for kind in kinds if kind != WRITTEN]
            # Before what listens, which then hears what was put in place.
            listening.enter_context(_replacing(self.code, self.names, interventions))
            caught = listening.enter_context(_capture(self.code, self.names, early))
            if self.roundings:
                listening.enter_context(self._rounding(hidden, valid))
            if self.kept is not None:
                attention = self.code.get_submodule(self.names.pattern)
                listening.enter_context(keeping(attention, self.kept))
            # After what rounds: heads write what is multiplied.
            late = [kind for kind in kinds if kind == WRITTEN]
            multiplied = listening.enter_context(_capture(self.code, self.names, late))
            output = first_tensor(
                functional_call(self.code, self.weights, (hidden, *call.args), call.kwargs)
            )
        caught |= {"resid": output, **{k: self._written(z) for k, z in multiplied.items()}}
        return {s: _with_batch(caught[site(s).kind], hidden) for s in sites}, output

    def _written(self, outputs: Tensor) -> Tensor:
        """`[..., columns]` of all heads side by side to `[..., heads, coordinates]`."""
        assert self.writer is not None, "share_coordinates was not called"
        by_head = outputs.float().unflatten(-1, (len(self.writer), -1))
        return torch.einsum("...hs,hsc->...hc", by_head, self.writer)

    def _rounding(self, hidden: Tensor, valid: Tensor | None) -> Any:
        places = [p for group in self.names.groups for p in group if p.key in self.roundings]

        def rounded(place: MatrixPlace, x: Tensor, expert: int | None) -> Tensor:
            rounding = self.roundings[place.key]
            if expert is not None:
                return rounding.expert(expert).round(x)
            return rounding.round(_with_batch(x, hidden), valid).view_as(x)

        return at_products(self.code, places, self.weights, rounded)


def _with_batch(value: Tensor, hidden: Tensor) -> Tensor:
    """Some families flatten rows and positions inside the block (OPT's MLP)."""
    rows, positions = hidden.shape[:2]
    if value.shape[0] == rows * positions and value.shape[0] != rows:
        by_row: Tensor = value.unflatten(0, (rows, positions))
        return by_row
    return value


_INPUTS = ("heads", WRITTEN, "neurons")
"""Kinds of sites that are what a module is given."""


def _path(names: BlockLayout, kind: str) -> str:
    """The module whose input or output a kind of site is."""
    paths = {
        "attn": names.attention,
        "mlp": names.mlp,
        "heads": names.heads,
        WRITTEN: names.heads,
        "neurons": names.neurons,
    }
    path = paths[kind]
    if path is None:
        raise ModelError(
            f"This block has no {kind} that one module is given.",
            f"a block with {' or '.join(k for k, found in paths.items() if found)}.",
            "a site that every block has, such as resid.0.",
        )
    return path


def _router(names: BlockLayout) -> RouterPlace:
    if names.routing is None:
        raise ModelError(
            "This block has no router: every token meets all of its MLP.",
            "a block whose MLP is a mixture of experts.",
            "a site that every block has, such as resid.0.",
        )
    return names.routing


@contextmanager
def _replacing(
    code: nn.Module, names: BlockLayout, interventions: Mapping[str, Callable[[Tensor], Tensor]]
) -> Iterator[None]:
    """Let modules hand out, or be given, something else, and stop it."""

    def output_of(intervention: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
            changed = intervention(first_tensor(output))
            return (changed, *output[1:]) if isinstance(output, tuple) else changed

        return hook

    def input_of(intervention: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
        return lambda _module, args: (intervention(args[0]), *args[1:])

    handles = []
    with ExitStack() as routing:
        for kind, intervention in interventions.items():
            if kind == ROUTER:
                routing.enter_context(forcing(code, _router(names), intervention))
                continue
            module = code.get_submodule(_path(names, kind))
            if kind in _INPUTS:
                handles.append(module.register_forward_pre_hook(input_of(intervention)))
            else:
                handles.append(module.register_forward_hook(output_of(intervention)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


@contextmanager
def _capture(
    code: nn.Module, names: BlockLayout, kinds: Sequence[str]
) -> Iterator[dict[str, Tensor]]:
    """Listen to the modules whose inputs or outputs are asked for, and stop listening."""
    caught: dict[str, Tensor] = {}
    handles = []

    def catch(kind: str, value: Tensor) -> None:
        caught[kind] = value.clone() if names.in_place else value

    def output_of(kind: str, element: int) -> Callable[..., None]:
        def hook(module: nn.Module, _args: Any, output: Any) -> None:
            value = output[element] if isinstance(output, tuple) else output
            if value is None:
                raise ModelError(
                    f"{type(module).__name__} hands out no {kind}.",
                    "eager attention, which keeps its weights.",
                    "model.set_attn_implementation('eager') before anything is read.",
                )
            catch(kind, value)

        return hook

    def input_of(kind: str) -> Callable[..., None]:
        def hook(_module: nn.Module, args: Any) -> None:
            catch(kind, args[0])

        return hook

    routing = ExitStack()
    for kind in kinds:
        if kind in (ROUTER, EXPERTS):
            routing.enter_context(hearing(code, _router(names), kind, partial(catch, kind)))
        elif kind == "pattern":
            module = code.get_submodule(names.pattern)
            handles.append(module.register_forward_hook(output_of(kind, 1)))
        elif kind != "resid":
            module = code.get_submodule(_path(names, kind))
            if kind in _INPUTS:
                handles.append(module.register_forward_pre_hook(input_of(kind)))
            else:
                handles.append(module.register_forward_hook(output_of(kind, 0)))
    try:
        with routing:
            yield caught
    finally:
        for handle in handles:
            handle.remove()
