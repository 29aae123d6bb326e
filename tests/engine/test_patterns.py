"""Sums over the keys of attention patterns: against SciPy, strip by strip."""

import pytest
import torch
from scipy.special import entr

from bitlens.engine.patterns import STRIP, entropy, over_keys


@pytest.mark.parametrize("queries", [1, STRIP, STRIP + 6])
def test_entropy_is_that_of_scipy(queries: int) -> None:
    """Of queries that see all keys but those after them, fewer than a strip, one strip, and more:
    the entropies of SciPy over all keys, and exactly 0 where all rests on one."""
    keys = STRIP + 6
    draw = torch.Generator().manual_seed(0)
    ahead = torch.ones(queries, keys).triu(keys - queries + 1).bool()
    scores = 3 * torch.randn(2, 3, queries, keys, generator=draw)
    pattern = scores.masked_fill(ahead, -torch.inf).softmax(dim=-1)
    pattern[0, 0, -1] = torch.eye(keys)[0]
    found = over_keys(entropy, pattern)
    expected = torch.from_numpy(entr(pattern.double().numpy()).sum(axis=-1)).float()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert found[0, 0, -1] == 0
