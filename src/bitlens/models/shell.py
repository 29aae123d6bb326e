"""What stands around the blocks: the model's own code before the first and after the last.

No per-family code: the model runs its own forward with every block replaced by a stand-in that
records how it was called and hands its input on untouched. What the stand-ins recorded (masks,
position embeddings, sliding windows) is what each block is then called with; the hidden states
that the last stand-in hands on are what the final norm and the unembedding turn into logits.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bitlens.models.rotary import RowByRow, length_dependent
from bitlens.models.shell_parameters import ShellParameters, Weights
from bitlens.models.strip import strip


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
    it is stored in. What stands before the blocks is cast when they are entered, what stands after
    them when they are left; `parameters` holds it.
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
        stored = next((p.dtype for p in blocks[0].parameters()), torch.float32)
        self.parameters = ShellParameters(self.module, stored, compute, self._entering)
        self._as_tuple = False
        self._until = self._depth - 1
        self._calls: list[Call] = []
        self._entry: Tensor | None = None
        self._injected: Tensor | None = None
        self._intern: dict[tuple[Any, ...], list[Tensor]] = {}

    def _entering(self) -> frozenset[str]:
        """Names of the parameters of the modules that run before the first block."""
        ran: list[str] = []
        handles = [
            module.register_forward_pre_hook(lambda _module, _args, path=path: ran.append(path))
            for path, module in self.module.named_modules()
            if module is not self.module
        ]
        device = next(iter(self.parameters.named.values())).device
        try:
            self._run_to(torch.zeros((1, 2), dtype=torch.long, device=device), None, {}, 0)
        finally:
            for handle in handles:
                handle.remove()
        return frozenset(name for name in self.parameters.named if name.rpartition(".")[0] in ran)

    def release(self) -> None:
        """Let go of what was cast, and of masks that no batch is called with any more."""
        self.parameters.release()
        self._intern.clear()

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
        return self._run_to(
            tokens, mask, self.parameters.dressed(weights, dtype, entering=True), until
        )

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

    def leave(
        self,
        hidden: Annotated[Tensor, "positions width"],
        weights: Weights | None = None,
        dtype: torch.dtype | None = None,
    ) -> Annotated[Tensor, "positions vocabulary"]:
        """Final norm, unembedding and what the family does after it.

        `hidden` is `[positions, width]` after the last block, any positions in any order;
        the result is `[positions, vocabulary]`. Gradients are followed where it asks for them.
        """
        with torch.set_grad_enabled(hidden.requires_grad and torch.is_grad_enabled()):
            return self._leave(hidden, weights, dtype)

    def _leave(self, hidden: Tensor, weights: Weights | None, dtype: torch.dtype | None) -> Tensor:
        dressed = self.parameters.dressed(weights, dtype, entering=False)
        wanted = dtype or self.parameters.dtype(entering=False) or hidden.dtype
        self._injected = hidden[None].to(wanted)
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
        logits: Tensor = output.logits[0]
        return logits
