"""What stands around the blocks: the model's own code before the first and after the last.

No per-family code: the model runs its own forward with every block replaced by a stand-in that
records how it was called and hands its input on untouched. What the stand-ins recorded (masks,
position embeddings, sliding windows) is what each block is then called with; the hidden states
that the last stand-in hands on are what the final norm and the unembedding turn into logits.
"""

from collections.abc import Callable, Iterable, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bitlens.models.compute import computed, of_logits
from bitlens.models.rotary import RowByRow, length_dependent
from bitlens.models.strip import strip

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Call:
    """How the model calls one block, besides the hidden states."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def each(self, change: Callable[[Tensor], Tensor]) -> "Call":
        """The same call with every tensor in it changed."""

        def within(value: Any) -> Any:
            if isinstance(value, Tensor):
                return change(value)
            if isinstance(value, tuple):
                return tuple(within(v) for v in value)
            if isinstance(value, dict):
                return {k: within(v) for k, v in value.items()}
            return value

        return Call(within(self.args), within(self.kwargs))


@dataclass(frozen=True)
class Entry:
    """What the model hands to its blocks for one batch."""

    hidden: Tensor
    """`[rows, positions, width]`: the embedding site."""
    calls: tuple[Call, ...]
    """One per block."""


class _LastBlockReached(Exception):
    """Ends a recording before the final norm and the unembedding are computed for nothing."""


class _StandIn(nn.Module):
    def __init__(self, shell: "Shell", depth: int, block: nn.Module) -> None:
        super().__init__()
        self._shell = [shell]  # in a list, so that it is not registered as a submodule
        self._depth = depth
        self._block = [block]

    def __getattr__(self, name: str) -> Any:
        # Families read settings of their blocks (`attention_type`) on the way.
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["_block"][0], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._shell[0]._at_block(self._depth, args, kwargs)


class Shell:
    """The model without its blocks, run by its own forward.

    `compute` is the dtype it runs in, logits always in float32 at least; None: all of it in the one
    it is stored in. What stands before the
    blocks is cast when they are entered, what stands after them when they are left, and kept
    until the other side is asked for or it is released: never both, because an embedding and an
    unembedding of a large vocabulary are much of a model.
    """

    def __init__(
        self, model: nn.Module, blocks_path: str, compute: torch.dtype | None = None
    ) -> None:
        blocks = list(model.get_submodule(blocks_path).children())
        stand_ins = {
            f"{blocks_path}.{depth}": _StandIn(self, depth, block)
            for depth, block in enumerate(blocks)
        }
        self._rotaries = {path: RowByRow(found) for path, found in length_dependent(model)}
        self.module = strip(model, {**stand_ins, **self._rotaries}).eval()
        self._depth = len(blocks)
        self._compute = compute
        self._stored = next((p.dtype for p in blocks[0].parameters()), torch.float32)
        self._held: dict[tuple[str, torch.dtype, int], Tensor] = {}
        self._as_tuple = False
        self._until = self._depth - 1
        self._calls: list[Call] = []
        self._entry: Tensor | None = None
        self._injected: Tensor | None = None
        self._intern: dict[tuple[Any, ...], list[Tensor]] = {}

    @cached_property
    def _parameters(self) -> dict[str, nn.Parameter]:
        """By every name that a parameter has."""
        return dict(self.module.named_parameters(remove_duplicate=False))

    @cached_property
    def _first_name(self) -> dict[int, str]:
        """Of tied parameters the name that stands for them all."""
        return {id(parameter): name for name, parameter in self.module.named_parameters()}

    @cached_property
    def _entering(self) -> frozenset[str]:
        """Parameters of the modules that run before the first block."""
        ran: list[str] = []
        handles = [
            module.register_forward_pre_hook(lambda _module, _args, path=path: ran.append(path))
            for path, module in self.module.named_modules()
            if module is not self.module
        ]
        device = next(iter(self._parameters.values())).device
        try:
            self._run_to(torch.zeros((1, 2), dtype=torch.long, device=device), None, {}, 0)
        finally:
            for handle in handles:
                handle.remove()
        return frozenset(name for name in self._parameters if name.rpartition(".")[0] in ran)

    def release(self) -> None:
        """Let go of what was cast, and of masks that no batch is called with any more."""
        self._held.clear()
        self._intern.clear()

    @property
    def cast_bytes(self) -> int:
        """The most that casting takes at a time for the reference."""
        if self._compute is None:
            return 0
        entering, leaving = self._sides
        return max(
            self._bytes_to_cast(entering, self._compute),
            self._bytes_to_cast(leaving, of_logits(self._compute)),
        )

    @property
    def _sides(self) -> tuple[Set[str], Set[str]]:
        return self._entering, self._parameters.keys() - self._entering

    def cast_bytes_in(self, dtype: torch.dtype) -> int:
        """The most that casting to a twin's own dtype takes at a time."""
        return max(self._bytes_to_cast(side, dtype) for side in self._sides)

    def _bytes_to_cast(self, names: Iterable[str], dtype: torch.dtype) -> int:
        own = {id(self._parameters[name]): self._parameters[name] for name in names}
        cast = (p for p in own.values() if p.is_floating_point() and p.dtype != dtype)
        return sum(p.numel() for p in cast) * dtype.itemsize

    def _dressed(
        self, weights: Weights | None, dtype: torch.dtype | None, *, entering: bool
    ) -> dict[str, Tensor]:
        """The parameters of one side as they are computed with: a twin's where it has its own."""
        weights = weights or {}
        wanted = dtype or self._dtype(entering)
        if wanted is None:
            return dict(weights)
        side = self._sides[0 if entering else 1]
        firsts = {name: self._first_name[id(self._parameters[name])] for name in side}
        # What another twin has cast of this side is still wanted; of the other side it is not.
        here = set(firsts.values())
        self._held = {key: cast for key, cast in self._held.items() if key[0] in here}
        return {
            name: self._cast(first, weights.get(first), wanted, exactly=dtype is not None)
            for name, first in firsts.items()
        }

    def _dtype(self, entering: bool) -> torch.dtype | None:
        """What the reference computes one side in."""
        return self._compute if entering or self._compute is None else of_logits(self._compute)

    def _cast(self, name: str, own: Tensor | None, dtype: torch.dtype, exactly: bool) -> Tensor:
        """A parameter, or a twin's `own` in its place; `exactly`: whatever the family keeps wider
        is narrowed too."""
        parameter = self._parameters[name].detach() if own is None else own
        key = (name, dtype, id(own))
        if key not in self._held:
            stored = parameter.dtype if exactly or own is not None else self._stored
            self._held[key] = computed(parameter, stored, dtype)
        return self._held[key]

    def _at_block(self, depth: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        hidden = args[0] if args else kwargs.pop("hidden_states")
        last = depth == self._until
        if self._injected is not None:
            return self._hand_on(self._injected if last else hidden)
        if depth == 0:
            self._entry = hidden
        self._calls.append(Call(args[1:], kwargs).each(self._shared))
        if last:
            raise _LastBlockReached
        return self._hand_on(hidden)

    def _hand_on(self, hidden: Tensor) -> Tensor | tuple[Tensor]:
        return (hidden,) if self._as_tuple else hidden

    def returns_tuple(self, value: bool) -> None:
        """Families whose model unpacks what a block returns want it packed."""
        self._as_tuple = value

    @property
    def hands_on_tuples(self) -> bool:
        """Whether this is one of them."""
        return self._as_tuple

    def _shared(self, value: Tensor) -> Tensor:
        """Masks and position embeddings are the same for most batches, and for all twins: keep
        one of each of the last."""
        known = self._intern.setdefault((value.shape, value.dtype, value.device), [])
        for other in known:
            if other is value or torch.equal(other, value):
                return other
        known.append(value)
        del known[:-8]
        return value

    @torch.no_grad()
    def enter(
        self,
        tokens: Annotated[Tensor, "rows positions"],
        mask: Tensor | None,
        weights: Weights | None = None,
        until: int | None = None,
        dtype: torch.dtype | None = None,
    ) -> Entry:
        """What are the blocks called with? `tokens` and `mask` are `[rows, positions]`.

        `weights` replace the shell's own parameters by name (other embeddings); `until` is the
        last block to ask for; `dtype` is what a twin computes in that has its own.
        """
        until = self._depth - 1 if until is None else until
        return self._run_to(tokens, mask, self._dressed(weights, dtype, entering=True), until)

    @torch.no_grad()
    def _run_to(
        self, tokens: Tensor, mask: Tensor | None, weights: dict[str, Tensor], until: int
    ) -> Entry:
        self._calls, self._entry, self._injected = [], None, None
        self._until = until
        for rotary in self._rotaries.values():
            rotary.lengths = None if mask is None else mask.sum(dim=1)
        with suppress(_LastBlockReached):
            functional_call(
                self.module,
                weights,
                args=(),
                kwargs={"input_ids": tokens, "attention_mask": mask, "use_cache": False},
                tie_weights=False,
            )
        assert self._entry is not None
        assert len(self._calls) == self._until + 1
        return Entry(self._entry, tuple(self._calls))

    @torch.no_grad()
    def leave(
        self,
        hidden: Annotated[Tensor, "positions width"],
        weights: Weights | None = None,
        dtype: torch.dtype | None = None,
    ) -> Annotated[Tensor, "positions vocabulary"]:
        """Final norm, unembedding and what the family does after it.

        `hidden` is `[positions, width]` after the last block, any positions in any order;
        the result is `[positions, vocabulary]`.
        """
        dressed = self._dressed(weights, dtype, entering=False)
        self._injected = hidden[None].to(dtype or self._dtype(entering=False) or hidden.dtype)
        self._until = self._depth - 1
        for rotary in self._rotaries.values():
            rotary.lengths = None
        try:
            output = functional_call(
                self.module,
                dressed,
                args=(),
                kwargs={
                    "input_ids": torch.zeros(
                        (1, hidden.shape[0]), dtype=torch.long, device=hidden.device
                    ),
                    "use_cache": False,
                },
                tie_weights=False,
            )
        finally:
            self._injected = None
        return output.logits[0]
