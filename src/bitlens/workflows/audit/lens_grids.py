"""What two models would say after every block of a few short texts: lens grids, token by token.

They are read by the small sweep over the texts on which patterns of heads are shown. The logit lens
(nostalgebraist 2020) hands what stands in the residual stream after a block to the last norm and
the unembedding.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitlens.engine.runs import REFERENCE
from bitlens.engine.step import Step
from bitlens.engine.swept_model import Reference, SweptModel
from bitlens.results.records import DetailTable
from bitlens.workflows.session import Session

GRID = "grid"
"""The table of them."""
WIDE, DEEP = 24, 12
"""Tokens of a grid, the last of its text; and blocks at most."""
ROWS = 64
"""Rows of logits that are held at a time."""


def depths(blocks: int) -> list[int]:
    """The blocks that are shown: all, or evenly spread ones with the first and the last."""
    spread = np.linspace(0, blocks - 1, min(DEEP, blocks)).round().astype(int)
    return [int(block) for block in np.unique(spread)]


@dataclass(frozen=True, eq=False, kw_only=True)
class LensGrids:
    """The states of some texts, and what the lens makes of them."""

    session: Session
    twins: Mapping[str, SweptModel]
    texts: Mapping[int, np.ndarray]
    """By their number in the sweep, the tokens of each."""
    states: dict[tuple[str, int, int], Tensor] = field(default_factory=dict)
    """`[tokens, width]`: by model, block and text, what predicts the last tokens of a text."""

    @cached_property
    def blocks(self) -> list[int]:
        """Those that are shown."""
        return depths(self.session.layout.depth)

    @property
    def sites(self) -> set[str]:
        """What the sweep must read for them."""
        return {f"resid.{block}" for block in self.blocks} if self.texts else set()

    def take(self, step: Step) -> None:
        """Keep what a step has of them."""
        texts = step.batch.document.view(step.batch.tokens.shape)[:, 0].tolist()
        for name, of in step.activations.items():
            for block in self.blocks:
                if (site := f"resid.{block}") in of and name not in step.again:
                    for row, text in enumerate(texts):
                        if text in self.texts:
                            mine = of[site][row, [place - 1 for place in self._places(text)]]
                            self.states[(name, block, text)] = mine

    def _places(self, text: int) -> range:
        """Of the tokens that are shown: nothing stands before the first of a text."""
        length = len(self.texts[text])
        return range(max(1, length - WIDE), length)

    @torch.no_grad()
    def table(self, twin: str) -> DetailTable:
        """A row a token and block: what stands first, and how far apart the two lenses are."""
        names = ("text", "place", "token", "block", "kl", "top_reference", "top_twin")
        columns: dict[str, list[Any]] = {name: [] for name in names}
        for row in self._rows(twin):
            for name, value in zip(names, row, strict=True):
                columns[name].append(value)
        return DetailTable(GRID, columns)

    def _rows(self, twin: str) -> Iterator[tuple[Any, ...]]:
        said = self.session.texts.token
        models = {REFERENCE: Reference(self.session.layout), twin: self.twins[twin]}
        for text, tokens in self.texts.items():
            for block in self.blocks:
                states = [self.states[(name, block, text)].split(ROWS) for name in models]
                places = iter(self._places(text))
                for pair in zip(*states, strict=True):
                    p, q = (
                        torch.log_softmax(model.leave(of).float(), dim=-1)
                        for model, of in zip(models.values(), pair, strict=True)
                    )
                    kl = torch.linalg.vecdot(p.exp(), p - q).tolist()
                    first = [of.argmax(dim=-1).tolist() for of in (p, q)]
                    for far, before, after in zip(kl, *first, strict=True):
                        place = next(places)
                        token = said(int(tokens[place]))
                        known = far if math.isfinite(far) else None
                        yield text, place, token, block, known, said(before), said(after)
