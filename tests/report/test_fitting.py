"""Tables that do not fit their texts are refused, not drawn."""

from typing import Any

import pytest

from bitlens.errors import BitlensError
from bitlens.report.sections.fitting import (
    context_fits,
    firing_fits,
    pattern_fits,
    require_fitting,
)

CONTEXT: dict[str, Any] = {"tokens": ["a", "b"], "reference": [0.0, 1.0], "twin": [1.0, 0.0],
                           "peak": 1}  # fmt: skip
FIRING: dict[str, Any] = {"reference": [1, 2], "twin": [0, 3], "bins_reference": [1],
                          "bins_twin": [2], "top": 0.5}  # fmt: skip
PATTERN: dict[str, Any] = {"text": 0, "reference": [255, 0, 255], "twin": [255, 9, 246]}


@pytest.mark.parametrize(
    "change", [{"peak": 2}, {"peak": -1}, {"twin": [1.0]}, {"tokens": []}, {"reference": []}]
)
def test_a_context_has_an_activation_a_token(change: dict[str, Any]) -> None:
    """And a peak among them."""
    assert context_fits(CONTEXT)
    assert not context_fits({**CONTEXT, **change})


@pytest.mark.parametrize("change", [{"twin": [1]}, {"bins_twin": []}, {"top": 0.0}])
def test_firings_are_pairs(change: dict[str, Any]) -> None:
    """With as many bins on either side, of something."""
    assert firing_fits(FIRING)
    assert not firing_fits({**FIRING, **change})


@pytest.mark.parametrize("change", [{"text": 1}, {"twin": [255]}, {"reference": []}])
def test_a_pattern_is_a_triangle(change: dict[str, Any]) -> None:
    """Of a text with two tokens three shares, in both models."""
    assert pattern_fits(PATTERN, {0: 2})
    assert not pattern_fits({**PATTERN, **change}, {0: 2})


def test_the_row_is_named() -> None:
    """With the table, what was expected and what to do."""
    require_fitting("contexts", [True, True])
    with pytest.raises(BitlensError, match="Row 1 of a table contexts"):
        require_fitting("contexts", [True, False])
