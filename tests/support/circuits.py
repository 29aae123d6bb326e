"""Prompts for models that were built by hand, a tokenizer of whole words, and patching with plain
forward hooks on a whole model."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bitlens.analyses.causal.nodes import Node
from bitlens.analyses.causal.scores import PairScoresOf, PairSweep, Room
from bitlens.data.circuit_tasks.prompts import At, PromptPair, TaskPrompts
from bitlens.engine.runs import REFERENCE, ForwardRun
from bitlens.engine.swept_model import SweptModel
from bitlens.models.layout import Layout

ROOM = Room(batch_tokens=4096, hidden_bytes=1 << 30)


class WordTokenizer:
    """Words with the space before them are tokens, and so is every other character; of numbers
    every `digits` digits are one. Some words it does not know are two."""

    bos_token_id = None
    all_special_ids: tuple[int, ...] = ()

    def __init__(self, digits: int = 2, broken: Sequence[str] = ()) -> None:
        self._cut = re.compile(rf" ?\d{{1,{digits}}}| ?[A-Za-z]+| ?[^A-Za-z\d]", re.ASCII)
        self._broken, self._known = set(broken), dict[str, int]()
        for text in map(chr, range(33, 127)):
            self(text)

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        words = [
            part
            for word in self._cut.findall(text)
            for part in ((word[:2], word[2:]) if word.strip() in self._broken else (word,))
        ]
        return {"input_ids": [self._known.setdefault(w, len(self._known)) for w in words]}

    def __len__(self) -> int:
        return len(self._known)

    def decode(self, tokens: Sequence[int]) -> str:
        texts = list(self._known)
        return "".join(texts[n] for n in tokens)

    def batch_decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        return [self.decode(row) for row in rows]


def repeats(
    task: str = "induction", pairs: int = 30, vocabulary: int = 32, at: At = "all", seed: int = 0
) -> TaskPrompts:
    """`... A B ... C D ... A` and then B; in the corrupt prompt A and C have changed places. Token
    0 is left out: it is the copier's BOS."""
    draw = np.random.default_rng(seed)
    made = []
    for _ in range(pairs):
        *others, a, b, c, d = (int(n) for n in draw.permutation(vocabulary - 2)[:12] + 2)
        first, second = others[:3], others[3:]
        clean = (*first, a, b, *second, c, d, a)
        corrupt = (*first, c, b, *second, a, d, a)
        pair = PromptPair(clean=clean, corrupt=corrupt, right=(b,), wrong=(d,), shown="shown")
        made.append(pair)
    return TaskPrompts(task=task, choosing=tuple(made[:8]), scoring=tuple(made[8:]), at=at)


def last_scores(logits: Tensor, pairs: Sequence[PromptPair]) -> Tensor:
    """`[pairs, 2]` of whole forwards over rows that are clean and corrupt in turn: the right
    token's logit less the wrong one's, at the last position."""
    rows = [
        logits[row, -1, pair.right[0]] - logits[row, -1, pair.wrong[0]]
        for n, pair in enumerate(pairs)
        for row in (2 * n, 2 * n + 1)
    ]
    return torch.stack(rows).view(-1, 2)


def tokens(pairs: Sequence[PromptPair]) -> Tensor:
    """Clean and corrupt in turn; all of one length."""
    return torch.tensor([row for pair in pairs for row in (pair.clean, pair.corrupt)])


def partner(value: Tensor) -> Tensor:
    """What the other row of every two has."""
    return value.view(-1, 2, *value.shape[1:]).flip(1).reshape(value.shape)


@contextmanager
def put(model: nn.Module, layout: Layout, values: Mapping[Node, Tensor]) -> Iterator[None]:
    """Let nodes of a whole model have these values, by plain hooks on its modules."""
    handles = []
    for node, value in values.items():
        module = model.get_submodule(_path(layout, node))
        if node.head is None:
            handles.append(module.register_forward_hook(lambda *_, value=value: value))
        else:

            def before(_: Any, args: Any, node: Node = node, value: Tensor = value) -> Any:
                changed = args[0].clone()
                changed[..., node.columns] = value
                return (changed, *args[1:])

            handles.append(module.register_forward_pre_hook(before))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def values(
    model: nn.Module, layout: Layout, nodes: Sequence[Node], rows: Tensor
) -> dict[Node, Tensor]:
    """What nodes are in a whole model's own forward over these rows of tokens, or of embeddings."""
    found: dict[Node, Tensor] = {}
    handles = []
    for node in nodes:
        module = model.get_submodule(_path(layout, node))
        if node.head is None:

            def after(_: Any, __: Any, output: Tensor, node: Node = node) -> None:
                found[node] = output.clone()

            handles.append(module.register_forward_hook(after))
        else:

            def given(_: Any, args: Any, node: Node = node) -> None:
                found[node] = args[0][..., node.columns].clone()

            handles.append(module.register_forward_pre_hook(given))
    given_as = "inputs_embeds" if rows.is_floating_point() else "input_ids"
    model(**{given_as: rows}, use_cache=False)
    for handle in handles:
        handle.remove()
    return found


def _path(layout: Layout, node: Node) -> str:
    block = layout.block_layouts[node.block]
    inner = block.mlp if node.head is None else block.heads
    return f"{layout.block_name(node.block)}.{inner}"


def swept(
    layout: Layout, twins: Mapping[str, SweptModel], runs: Sequence[ForwardRun], task: TaskPrompts
) -> PairScoresOf:
    """The scores of runs over a task's pairs, and those of all models as they are."""
    own = [ForwardRun(name, name) for name in (REFERENCE, *twins)]
    sweep = PairSweep(
        layout,
        twins,
        [*own, *runs],
        [task],
        choosing=False,
        room=Room(batch_tokens=96, hidden_bytes=1 << 30),
    )
    return sweep.scores()
