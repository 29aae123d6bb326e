"""What differs is read where it is, in the order of the positions that count."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from bitlens.engine.plan import make_plan
from bitlens.engine.swept_model import Reference
from bitlens.errors import BitlensError
from bitlens.models.block_runner import Block
from bitlens.models.layout import BlockWeights, Layout
from bitlens.models.shell import Call
from bitlens.workflows.diff.collect import DifferenceReader
from tests.support import tiny

TOKEN = 7


class PlantedBlock(Block):
    """Adds a direction to its output wherever it reads the embedding of one token."""

    planted: Tensor
    known: Tensor

    def __call__(
        self,
        hidden: Tensor,
        call: Call,
        sites: Sequence[str] = (),
        valid: Tensor | None = None,
        interventions: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    ) -> tuple[dict[str, Tensor], Tensor]:
        """As the block does, and the direction."""
        found, output = super().__call__(hidden, call, sites, valid, interventions)
        output = output + (hidden == self.known).all(-1, keepdim=True) * self.planted
        return dict.fromkeys(found, output), output


class PlantedTwin(Reference):
    """The reference, but for what its first block adds at one token."""

    def __init__(self, layout: Layout, planted: Tensor) -> None:
        super().__init__(layout)
        self.planted = planted

    def block(self, depth: int, weights: BlockWeights) -> Block:
        """The reference's, or the planted one."""
        if depth:
            return super().block(depth, weights)
        layout = self.layout
        block = PlantedBlock(
            layout.callable_block(0), layout.block_layouts[0], weights.computed, {}
        )
        block.planted = self.planted
        block.known = layout.shell.enter(torch.tensor([[TOKEN, TOKEN]]), None).hidden[0, 0]
        return block


def reader(memory: int) -> tuple[DifferenceReader, Tensor]:
    """A tiny model, a twin of it, and what the twin adds."""
    layout = tiny.layout("llama")
    planted = torch.linspace(-1, 1, layout.width)
    twins = {"planted": PlantedTwin(layout, planted)}
    return DifferenceReader(layout=layout, twins=twins, sites=["resid.0"], memory=memory), planted


def test_a_planted_difference_is_where_it_was_put() -> None:
    """At that token and nowhere else, in two sets of documents by one sweep; what is at positions
    that do not count is counted apart."""
    found, planted = reader(1 << 30)
    rows = [[3, TOKEN, 5, TOKEN], [TOKEN, 9, 9], [2, 4, TOKEN, 4, 4], [8, 8, 8]]
    corpus = tiny.corpus([[row] for row in rows])
    plans = [make_plan(corpus.of_units(units), "content", 0, 64) for units in ([0, 2], [1, 3])]
    for plan, read in zip(plans, found.rows(plans), strict=True):
        at = torch.from_numpy(read.at.token == TOKEN).float()[:, None]
        assert torch.allclose(read.difference["resid.0", "planted"], at * planted, atol=1e-6)
        assert len(read.at.token) == plan.positions
        told = [rows[d][o] for d, o in zip(read.at.document, read.at.offset, strict=True)]
        assert read.at.token.tolist() == told
        # One document begins with it.
        expected = float(planted.square().sum())
        assert read.uncounted["resid.0", "planted"] == pytest.approx(expected, rel=1e-5)
    assert np.isfinite(read.reference["resid.0"].numpy()).all()


def test_more_than_the_memory_holds_is_refused_before_it_is_read() -> None:
    """With how many tokens would fit."""
    found, _ = reader(6400)
    plan = make_plan(tiny.corpus([[40], [40]]), "content", 0, 64)
    with pytest.raises(BitlensError, match="half of the memory"):
        found.rows([plan])
