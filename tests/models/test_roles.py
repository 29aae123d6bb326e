"""What each matrix of a block is for, in every family."""

from collections import Counter

import pytest

from bitlens.models.roles import BlockStanding
from tests.support import tiny

DOWN = {"c_proj", "fc2", "fc_out", "dense_4h_to_h", "down_proj"}
OUTPUT = {"o_proj", "out_proj", "dense", "c_proj"}


@pytest.mark.parametrize("family", tiny.NAMES)
def test_a_block_has_one_of_each(family: str) -> None:
    """Query, key and value, each or in one; one output; and what reads the neurons, by the names
    that families give it."""
    layout = tiny.layout(family)
    for depth in range(layout.depth):
        maps = [m for group in layout.maps(depth, layout.weights(depth)) for m in group]
        counts = Counter(m.role for m in maps)
        reading = [counts[role] for role in ("query", "key", "value", "fused")]
        assert reading in ([1, 1, 1, 0], [0, 0, 0, 1])
        assert counts["output"] == counts["down"] == 1 <= counts["up"]
        leaves = {m.role: m.name.rpartition(".")[2] for m in maps}
        assert leaves["down"] in DOWN
        assert leaves["output"] in OUTPUT
        assert {m.standing.depth for m in maps} == {depth}
    last = [m.name for m in layout.shell_maps() if m.role == "unembedding"]
    assert len(last) == 1
    assert last[0] == "lm_head" or layout.config.tie_word_embeddings


@pytest.mark.parametrize(
    ("family", "queries", "experts"),
    [("llama", 2, 0), ("gpt2", 1, 0), ("falcon", 4, 0), ("falcon-40b", 2, 0), ("mixtral", 2, 4)],
)
def test_where_a_block_stands(family: str, queries: int, experts: int) -> None:
    """Four heads of queries; two of keys, four, one, two, two."""
    standing = BlockStanding.of(tiny.layout(family).config, 1)
    assert (standing.depth, standing.blocks) == (1, 3)
    assert (standing.queries, standing.experts) == (queries, experts)
