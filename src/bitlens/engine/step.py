"""A step of a sweep: what was asked for at one depth of one batch; and what a sweep hands on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from bitlens.engine.plan import TokenBatch
from bitlens.models.shell import Call

Hidden = dict[tuple[str, int], Tensor]
"""States between blocks, by run and batch."""
Calls = dict[tuple[str, int], tuple[Call, ...]]
"""What every block is called with besides, by entry key and batch."""
Progress = Callable[[int], None]
"""Is told how many tokens have passed another block, or which depth they have come to."""


def silent(number: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Step:
    """What was asked for at one depth of one batch."""

    batch: TokenBatch
    depth: int
    """-1 for the embedding, the number of blocks for logits."""
    activations: Mapping[str, Mapping[str, Tensor]]
    """By run and site: `[rows, positions, ...]`; logits `[n, vocabulary]`, computed each time
    they are asked for, because those of all runs at once would not fit."""
    index: Tensor
    """`[n]`: flattened positions to look at; for logits, the rows in order."""
    again: frozenset[str] = frozenset()
    """Runs that an earlier step of this batch and depth held already: the reference's stand
    beside one twin's after another."""
    shared: dict[str, Any] = field(default_factory=dict)
    """What is made of those, for all steps of the batch and depth."""
