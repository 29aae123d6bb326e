"""What each matrix of a block is for, and where its block stands in the model: what formats that
give some matrices more bits go by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from bitlens.models.block_layout import MatrixPlace

Role = Literal["query", "key", "value", "fused", "output", "up", "down", "embedding", "unembedding"]
"""`fused`: query, key and value in one. `up`: what reads the MLP's input, `down`: what reads its
neurons. `unembedding` is also an embedding that it is tied to."""

_READING: dict[str, Role] = {"q_proj": "query", "k_proj": "key", "v_proj": "value"}
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")


@dataclass(frozen=True, kw_only=True)
class BlockStanding:
    """Where a matrix stands, by the model's configuration."""

    family: str
    """As transformers calls it."""
    depth: int
    """Of its block, from 0."""
    blocks: int
    queries: int
    """Query heads for each head of keys."""
    experts: int
    """Of an MLP; 0: there are none."""

    @classmethod
    def of(cls, config: Any, depth: int) -> BlockStanding:
        """Of the block at this depth."""
        heads = config.num_attention_heads
        keys = 1 if getattr(config, "multi_query", False) else None
        if getattr(config, "new_decoder_architecture", False):
            keys = config.num_kv_heads
        keys = keys or getattr(config, "num_key_value_heads", None) or heads
        experts = [getattr(config, name, None) for name in _EXPERTS]
        return cls(
            family=config.model_type,
            depth=depth,
            blocks=config.num_hidden_layers,
            queries=heads // keys,
            experts=max((number for number in experts if number), default=0),
        )


def roles(groups: Sequence[Sequence[MatrixPlace]], mixing: str) -> dict[str, Role]:
    """What each place is for, by its key; `groups` read one input each, in the order they run,
    `mixing` is the attention module. Left out: maps of attention that are none of these."""
    attention = [p for group in groups for p in group if p.module.startswith(f"{mixing}.")]
    found: dict[str, Role] = {}
    for place in attention[:-1]:
        role = "fused" if place.fused else _READING.get(place.module.rpartition(".")[2])
        if role is not None:
            found[place.key] = role
    found |= {place.key: "output" for place in attention[-1:]}
    reading = False
    for group in groups:
        own = [place for place in group if place not in attention]
        # What reads a norm's output, or where there is none comes first, reads the MLP's input.
        first = bool(own) and not reading
        reading = reading or bool(own)
        found |= {place.key: "up" if first or place.gain else "down" for place in own}
    return found
