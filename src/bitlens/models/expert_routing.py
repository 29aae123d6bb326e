"""Where a block sends each token: its router's scores and the experts' call, in one form.

Found by what modules are given and hand out, with no table of families: experts are called with
states, with the numbers of the chosen experts and with their weights; the router is what hands out
a score for each expert. Whatever becomes of the scores in between (groups, biases, normalising),
what the experts are called with is what counts.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

ROUTER, EXPERTS = "router", "experts"
"""Kinds of sites of blocks that route: whom each token is sent to (`Routing`), and what each of
those experts adds to it. Nobody names them: an analysis reads them."""

Scores = Literal["softmax", "sigmoid", "probabilities"]
"""What the router's scores become weights by."""


@dataclass(frozen=True)
class Routing:
    """A router's decision; as the one tensor that a site is, all of it side by side (`packed`)."""

    chosen: Annotated[Tensor, "*positions k"]
    """Numbers of the experts, int64."""
    weights: Annotated[Tensor, "*positions k"]
    """What each one's output is multiplied with."""
    scores: Annotated[Tensor, "*positions experts"]
    """Logarithm of what the router gives every expert, up to a constant at each position."""

    @classmethod
    def of(cls, packed: Annotated[Tensor, "*positions packed"]) -> "Routing":
        """The inverse of `packed`."""
        k = int(packed.flatten()[0])
        _, chosen, weights, scores = packed.tensor_split((1, 1 + k, 1 + 2 * k), dim=-1)
        return cls(chosen.long(), weights, scores)

    @property
    def packed(self) -> Annotated[Tensor, "*positions packed"]:
        """How many are chosen, which, their weights, and all scores; float32."""
        k = torch.full_like(self.scores[..., :1], self.chosen.shape[-1])
        return torch.cat([k, self.chosen.float(), self.weights.float(), self.scores], dim=-1)


@dataclass(frozen=True)
class Added:
    """What each chosen expert adds to a token, taken apart from the form of the site `experts`."""

    numbers: Annotated[Tensor, "*positions k"]
    """int64."""
    outputs: Annotated[Tensor, "*positions k width"]
    """Weighted."""
    count: int
    """How many experts there are."""

    @classmethod
    def of(cls, packed: Annotated[Tensor, "*positions k packed"]) -> "Added":
        """The inverse of `packed`."""
        return cls(packed[..., 1].long(), packed[..., 2:], int(packed.flatten()[0]))

    @property
    def packed(self) -> Annotated[Tensor, "*positions k packed"]:
        """How many there are, its number and what it adds, expert by expert; float32."""
        count = torch.full_like(self.outputs[..., :1], self.count)
        return torch.cat([count, self.numbers[..., None].to(count), self.outputs], dim=-1)


@dataclass(frozen=True)
class Arguments:
    """What a module is called with."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def __getitem__(self, place: int | str) -> Any:
        return self.args[place] if isinstance(place, int) else self.kwargs[place]

    def having(self, place: int | str, value: Tensor) -> "Arguments":
        """The same with another tensor in one place, in the type of the one before."""
        value = value.to(self[place])
        if isinstance(place, str):
            return replace(self, kwargs={**self.kwargs, place: value})
        return replace(self, args=(*self.args[:place], value, *self.args[place + 1 :]))

    @property
    def tensors(self) -> dict[int | str, Tensor]:
        """Those that are tensors, by where they stand."""
        found: dict[int | str, Tensor] = {}
        found.update((n, value) for n, value in enumerate(self.args) if isinstance(value, Tensor))
        found.update((n, value) for n, value in self.kwargs.items() if isinstance(value, Tensor))
        return found


@dataclass(frozen=True, kw_only=True)
class RouterPlace:
    """The router and the experts of one block, and how they are called."""

    router: str
    """Path of the module that hands out scores."""
    output: int
    """Which element of what it hands out they are; -1: all of it."""
    experts: str
    """Path of the module that is called with numbers and weights."""
    numbers: int | str
    """Which argument of that call holds the numbers of the chosen."""
    weights: int | str
    """Which holds their weights."""
    count: int
    """How many experts there are."""
    chosen: int
    """How many of them each token is sent to."""
    scores: Scores

    def scores_of(self, output: Any) -> Annotated[Tensor, "tokens experts"]:
        """What the router hands out, as `Routing` has it."""
        found = output if self.output < 0 else output[self.output]
        found = found.float().reshape(-1, self.count)
        if self.scores == "probabilities":
            return torch.log(found.clamp_min(1e-30))
        return logsigmoid(found) if self.scores == "sigmoid" else found

    def routing(self, scores: Tensor, called: Arguments) -> Routing:
        """A decision from the scores and what the experts are called with."""
        chosen = called[self.numbers]
        k = chosen.shape[-1]
        return Routing(chosen.reshape(-1, k), called[self.weights].reshape(-1, k), scores)

    def forced(self, routing: Routing, called: Arguments) -> Arguments:
        """What the experts are called with, with another decision in it."""
        shape = called[self.numbers].shape
        called = called.having(self.numbers, routing.chosen.reshape(shape))
        return called.having(self.weights, routing.weights.reshape(shape))

    def added(self, experts: nn.Module, called: Arguments) -> Added:
        """What each chosen expert adds. The experts are called once for each of the `k`, with that
        one alone; what they hand out is the sum of these."""
        chosen, weights = called[self.numbers], called[self.weights]
        added = []
        for slot in range(chosen.shape[-1]):
            alone = called.having(self.numbers, chosen[..., slot : slot + 1])
            alone = alone.having(self.weights, weights[..., slot : slot + 1])
            added.append(experts.forward(*alone.args, **alone.kwargs).float().flatten(0, -2))
        return Added(chosen.flatten(0, -2), torch.stack(added, dim=1), self.count)

    def blank(self, kind: str, width: int) -> Annotated[Tensor, "1 *columns"]:
        """Of the shape of what is read of one token at a site of this kind."""
        chosen, weights = torch.arange(self.chosen)[None], torch.ones(1, self.chosen)
        if kind == EXPERTS:
            return Added(chosen, torch.zeros(1, self.chosen, width), self.count).packed
        return Routing(chosen, weights, torch.zeros(1, self.count)).packed


@contextmanager
def forcing(
    code: nn.Module, place: RouterPlace, intervention: Callable[[Tensor], Tensor]
) -> Iterator[None]:
    """While this lasts, the experts are called with what `intervention` makes of the router's
    decision (`Routing.packed`)."""
    scores: list[Tensor] = []

    def hear(_module: nn.Module, _args: Any, output: Any) -> None:
        scores[:] = [place.scores_of(output)]

    def change(_module: nn.Module, args: Any, kwargs: Any) -> Any:
        called = Arguments(args, kwargs)
        packed = place.routing(scores[0], called).packed
        called = place.forced(Routing.of(intervention(packed)), called)
        return called.args, dict(called.kwargs)

    with _hooks(
        code.get_submodule(place.router).register_forward_hook(hear),
        code.get_submodule(place.experts).register_forward_pre_hook(change, with_kwargs=True),
    ):
        yield


@contextmanager
def hearing(
    code: nn.Module, place: RouterPlace, kind: str, catch: Callable[[Tensor], None]
) -> Iterator[None]:
    """While this lasts, `catch` is given what stands at a site of this kind: `[tokens, packed]` of
    `router` (`Routing`), `[tokens, k, packed]` of `experts` (`Added`)."""
    scores: list[Tensor] = []

    def hear(_module: nn.Module, _args: Any, output: Any) -> None:
        scores[:] = [place.scores_of(output)]

    def look(module: nn.Module, args: Any, kwargs: Any, _output: Any) -> None:
        called = Arguments(args, kwargs)
        if kind == EXPERTS:
            catch(place.added(module, called).packed)
        else:
            catch(place.routing(scores[0], called).packed)

    with _hooks(
        code.get_submodule(place.router).register_forward_hook(hear),
        code.get_submodule(place.experts).register_forward_hook(look, with_kwargs=True),
    ):
        yield


@contextmanager
def _hooks(*handles: Any) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class _HeardCall:
    path: str
    module: nn.Module
    called: Arguments
    output: Any


def find_router(
    code: nn.Module,
    run: Callable[[], Any],
    tokens: int,
    is_router: Callable[[nn.Module, str], bool],
) -> RouterPlace | None:
    """The router and experts of a block that `run` runs on so many `tokens`; None where no part of
    it is called with numbers and weights of experts."""
    heard: list[_HeardCall] = []

    def hear(path: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        heard.append(_HeardCall(path, module, Arguments(args, kwargs), output))

    handles = [
        module.register_forward_hook(partial(hear, path), with_kwargs=True)
        for path, module in code.named_modules()
        if path
    ]
    with _hooks(*handles):
        run()
    # The outermost runs last.
    for n in reversed(range(len(heard))):
        stacks = [p for p in heard[n].module.parameters() if p.ndim == 3]
        decision = _decision(heard[n].called, tokens)
        if stacks and decision:
            routers = [call for call in heard[:n] if is_router(call.module, call.path)]
            return _with_scores(heard[n], decision, len(stacks[0]), [*routers, *heard[:n]])
    return None


def _decision(called: Arguments, tokens: int) -> tuple[int | str, int | str] | None:
    """Where numbers and weights stand in a call: two tensors of one shape, a few for each token."""
    given = called.tensors
    for at, numbers in given.items():
        if numbers.is_floating_point() or numbers.dtype == torch.bool or numbers.ndim < 2:
            continue
        for other, weights in given.items():
            alike = weights.is_floating_point() and weights.shape == numbers.shape
            if alike and numbers.shape[:-1].numel() == tokens:
                return at, other
    return None


def _with_scores(
    experts: _HeardCall,
    decision: tuple[int | str, int | str],
    count: int,
    before: Sequence[_HeardCall],
) -> RouterPlace | None:
    """With the first of the calls before that hands out a score for each expert and token."""
    numbers, weights = (experts.called[place] for place in decision)
    tokens = numbers.shape[:-1].numel()
    for call in before:
        whole = isinstance(call.output, Tensor)
        for n, part in enumerate([call.output] if whole else call.output or ()):
            fits = isinstance(part, Tensor) and part.is_floating_point()
            if fits and part.shape[-1] == count and part.numel() == tokens * count:
                flat = (t.flatten(0, -2) for t in (part.float(), numbers, weights.float()))
                return RouterPlace(
                    router=call.path,
                    output=-1 if whole else n,
                    experts=experts.path,
                    numbers=decision[0],
                    weights=decision[1],
                    count=count,
                    chosen=numbers.shape[-1],
                    scores=_kind(*flat),
                )
    return None


def _kind(scores: Tensor, chosen: Tensor, weights: Tensor) -> Scores:
    """What makes these weights of these scores, but for a factor at each token."""
    if bool((scores >= 0).all()) and torch.allclose(
        scores.sum(-1), torch.ones_like(scores[:, 0]), atol=1e-3
    ):
        return "probabilities"

    def makes(values: Tensor) -> bool:
        of_chosen = values.gather(-1, chosen)
        if chosen.shape[-1] == 1:
            return torch.allclose(of_chosen, weights, rtol=1e-3)
        one, other = (v / v.sum(-1, keepdim=True) for v in (of_chosen, weights))
        return torch.allclose(one, other, rtol=1e-3, atol=1e-4)

    return "sigmoid" if makes(scores.sigmoid()) and not makes(scores.softmax(-1)) else "softmax"
