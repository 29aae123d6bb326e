"""What attention reads: keys and values, met where the model's own code hands them to attention."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from bitlens.errors import ModelError

_ROTARY = "apply_rotary_pos_emb"


class KeptKeysAndValues(Protocol):
    """What becomes of keys and values that are kept for the tokens that follow."""

    @property
    def before_rotary(self) -> bool:
        """Whether keys are kept as they are before rotary embeddings turn them."""
        ...

    def keys(self, keys: Tensor) -> Tensor:
        """`[rows, heads, positions, size]` as they are read back."""
        ...

    def values(self, values: Tensor) -> Tensor:
        """`[rows, heads, positions, size]` as they are read back."""
        ...

    def where(self, positions: int, device: torch.device) -> tuple[Tensor, Tensor] | None:
        """Which keys, and which values, each query reads back, `[positions, positions]` of queries
        by what they read; the others it has as they were. None: all of them."""
        ...


def can_keep(attention: nn.Module) -> bool:
    """Does this attention module hand keys and values to an attention function of transformers?
    Where it multiplies them itself, nobody can meet them."""
    return getattr(_home(attention), "ALL_ATTENTION_FUNCTIONS", None) is ALL_ATTENTION_FUNCTIONS


def key_heads(config: Any) -> tuple[int, int]:
    """How many heads keys have, which are those of values, and how many channels each."""
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    return getattr(config, "num_key_value_heads", None) or heads, size


@contextmanager
def keeping(attention: nn.Module, kept: KeptKeysAndValues) -> Iterator[None]:
    """While this lasts, attention reads keys and values back as they were kept.

    The mask's exceptions are exact: what a query has as it was, and what it reads back, stand side
    by side in one softmax, each key masked in all copies but one. ModelError for attention that
    multiplies keys and values itself."""
    given = ALL_ATTENTION_FUNCTIONS.get_interface
    home, turning = _home(attention), _Turning()
    met = []

    def interface(implementation: str, default: Callable[..., Any]) -> Callable[..., Any]:
        inner = given(implementation, default)

        def attend(
            module: nn.Module,
            query: Tensor,
            key: Tensor,
            value: Tensor,
            attention_mask: Tensor | None,
            **rest: Any,
        ) -> tuple[Tensor, Tensor | None]:
            met.append(module)
            keys = turning.kept(key, kept) if kept.before_rotary else kept.keys(key)
            read = _side_by_side(kept, (key, keys), (value, kept.values(value)), attention_mask)
            output, weights = inner(module, query, *read, **rest)
            return output, _folded(weights, key.shape[-2])

        return attend

    turned = getattr(home, _ROTARY, None)
    # An attribute of the instance stands before the method of its class.
    ALL_ATTENTION_FUNCTIONS.__dict__["get_interface"] = interface
    if turned is not None and kept.before_rotary:
        setattr(home, _ROTARY, turning.listening(turned))
    try:
        yield
    finally:
        del ALL_ATTENTION_FUNCTIONS.__dict__["get_interface"]
        if turned is not None:
            setattr(home, _ROTARY, turned)
    if not met:
        raise ModelError(
            f"{type(attention).__name__} multiplies keys and values itself.",
            "attention by one of transformers' attention functions, where they can be met.",
            "another model, or a compression of its weights.",
        )


class _Turning:
    """Keys before rotary embeddings, and how they are turned."""

    def __init__(self) -> None:
        self._last: tuple[Tensor, Callable[[Tensor], Tensor]] | None = None

    def listening(self, turned: Callable[..., Any]) -> Callable[..., Any]:
        """The model's own function, remembering what it was called with."""

        def listen(query: Tensor, key: Tensor, *args: Any, **kwargs: Any) -> Any:
            self._last = (key, lambda other: turned(query, other, *args, **kwargs)[1])
            return turned(query, key, *args, **kwargs)

        return listen

    def kept(self, key: Tensor, kept: KeptKeysAndValues) -> Tensor:
        """The keys that attention is given, had they been kept before they were turned; those of a
        model without rotary embeddings as they are."""
        if self._last is None:
            return kept.keys(key)
        (before, turn), self._last = self._last, None
        if before.shape[:-1] != key.shape[:-1] or before.shape[-1] > key.shape[-1]:
            raise ModelError(
                f"Keys of shape {tuple(before.shape)} are turned and {tuple(key.shape)} attended.",
                "keys that are turned whole, or their first coordinates.",
                "kv:rope=after.",
            )
        size = before.shape[-1]
        back = kept.keys(torch.cat([before, key[..., size:]], -1))
        return torch.cat([turn(back[..., :size]), back[..., size:]], -1)


def _side_by_side(
    kept: KeptKeysAndValues,
    keys: tuple[Tensor, Tensor],
    values: tuple[Tensor, Tensor],
    mask: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Keys, values and mask in which every query finds each of them once, as it was or as it is
    read back."""
    key = keys[0]
    positions = key.shape[-2]
    where = kept.where(positions, key.device)
    if where is None:
        return keys[1], values[1], mask
    if mask is None:
        below = torch.ones(positions, positions, dtype=torch.bool, device=key.device).tril()
        mask = key.new_zeros(positions, positions).masked_fill(~below, torch.finfo(key.dtype).min)
        mask = mask[None, None]
    chosen_keys, chosen_values, masks = [], [], []
    for of_keys in (0, 1):
        for of_values in (0, 1):
            here = (where[0] == bool(of_keys)) & (where[1] == bool(of_values))
            if here.tril().any():
                chosen_keys.append(keys[of_keys])
                chosen_values.append(values[of_values])
                boolean = mask.dtype == torch.bool
                hidden = False if boolean else torch.finfo(mask.dtype).min
                masks.append(mask.masked_fill(~here, hidden))
    return torch.cat(chosen_keys, -2), torch.cat(chosen_values, -2), torch.cat(masks, -1)


def _folded(weights: Tensor | None, positions: int) -> Tensor | None:
    """Attention weights of copies side by side, as one pattern."""
    if weights is None or weights.shape[-1] == positions:
        return weights
    pattern: Tensor = weights.unflatten(-1, (-1, positions)).sum(-2)
    return pattern


def _home(attention: nn.Module) -> Any:
    return sys.modules[type(attention).__module__]
