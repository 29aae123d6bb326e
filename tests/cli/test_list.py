"""list: names with their meaning."""

import re

import pytest

from .conftest import Command


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("compressions", ["rtn", "bits", "required", "2 to 8", "noise", "exclude", "restricted"]),
        ("analyses", ["behaviour", "geometry", "cosine"]),
        ("families", ["GPT-2", "gpt_neox", "Qwen3-MoE", "Conv1D"]),
        ("metrics", ["behaviour.kl ", "nats", "higher", "level", "Kullback"]),
    ],
)
def test_lists_say_what_there_is(bitlens: Command, what: str, expected: list[str]):
    """Names with their meaning; a pipe gets whole lines."""
    done = bitlens("list", what)
    assert done.code == 0
    for word in expected:
        assert word in done.out
    assert re.sub(r"\b\w+_p?\d+ … \w+_p?\d+", "", done.out).count("…") == 0


def test_metrics_that_differ_in_a_number_are_one_entry(bitlens: Command):
    """Thresholds and percentiles by their ends; the others in full."""
    out = bitlens("list", "analyses").out
    assert "kl, kl_p50 … kl_p999, kl_max" in out
    assert "induction_kept_10 … induction_kept_90, induction_rank" in out
    assert "l0, alive" in out and "kept_50" not in out
