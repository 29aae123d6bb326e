"""Laws of which positions count."""

import numpy as np
import pytest

from bitlens.data.positions import Rule, counted
from bitlens.errors import BitlensError

TOKENS = np.array([[1, 5, 6, 7], [5, 1, 6, 0], [5, 0, 0, 0]])
"""1 is BOS; 0 pads, and is a token of its own elsewhere."""
LENGTHS = np.array([4, 3, 1])


@pytest.mark.parametrize(
    ("rule", "bos_id", "expected"),
    [
        ("content", 1, [[0, 1, 1, 1], [0, 0, 1, 0], [0, 0, 0, 0]]),
        ("content", None, [[0, 1, 1, 1], [0, 1, 1, 0], [0, 0, 0, 0]]),
        ("all", 1, [[1, 1, 1, 1], [1, 1, 1, 0], [1, 0, 0, 0]]),
        ("last", 1, [[0, 0, 0, 1], [0, 0, 1, 0], [1, 0, 0, 0]]),
    ],
)
def test_rules_by_hand(rule: Rule, bos_id: int | None, expected: list[list[int]]) -> None:
    """Each rule on three short rows, worked by hand."""
    assert (counted(TOKENS, LENGTHS, rule, bos_id) == np.array(expected, bool)).all()


@pytest.mark.parametrize("rule", ["content", "all", "last"])
def test_padding_never_counts(rule: Rule) -> None:
    """More padding, whatever its token, changes nothing and counts nowhere."""
    for pad in (0, 1, 5):
        wide = np.pad(TOKENS, ((0, 0), (0, 3)), constant_values=pad)
        result = counted(wide, LENGTHS, rule, 1)
        assert (result[:, :4] == counted(TOKENS, LENGTHS, rule, 1)).all()
        assert not result[:, 4:].any()


def test_the_last_token_of_a_document_is_in_its_last_row() -> None:
    """Of a document of two rows the first has none; other rules do not ask where it ends."""
    ends = np.array([False, True, True])
    last = counted(TOKENS, LENGTHS, "last", 1, ends)
    assert last.astype(int).tolist() == [[0, 0, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]]
    assert (counted(TOKENS, LENGTHS, "all", 1, ends) == counted(TOKENS, LENGTHS, "all", 1)).all()


def test_unknown_rule_is_refused() -> None:
    """A rule that does not exist lists those that do."""
    with pytest.raises(BitlensError, match="content, all, last"):
        counted(TOKENS, LENGTHS, "first", 1)  # type: ignore[arg-type]
