"""list: names with their meaning."""

import inspect
import re

import pytest

from bitlens.compression.compression import COMPRESSIONS
from bitlens.compression.spec_settings import settings_of
from tests.support.commands import Command


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("compressions", ["rtn", "uniform grid", "noise", "compressions NAME shows"]),
        ("analyses", ["behaviour", "geometry", "cosine"]),
        ("families", ["GPT-2", "gpt_neox", "Qwen3-MoE", "Conv1D"]),
        ("metrics", ["behaviour.kl\n", "nats", "higher", "level", "Kullback"]),
    ],
)
def test_lists_say_what_there_is(bitlens: Command, what: str, expected: list[str]):
    """Names with their meaning; nothing is cut off."""
    done = bitlens("list", what)
    assert done.code == 0
    for word in expected:
        assert word in done.out
    assert re.sub(r"\b\w+_p?\d+ …\s+\w+_p?\d+", "", done.out).count("…") == 0


@pytest.mark.parametrize("what", ["compressions", "analyses", "families", "metrics"])
def test_lists_are_for_reading_where_no_terminal_says_how_wide(bitlens: Command, what: str):
    """A hundred columns at most, and no list of more than a screen's breadth."""
    assert max(map(len, bitlens("list", what).out.splitlines())) <= 100


def test_no_two_compressions_ask_the_same():
    """A reader tells them apart by their questions."""
    questions = [COMPRESSIONS[name].question for name in COMPRESSIONS]
    assert len(set(questions)) == len(questions)


def test_metrics_that_differ_in_a_number_are_one_entry(bitlens: Command):
    """Thresholds and percentiles by their ends; the others in full."""
    out = " ".join(bitlens("list", "analyses").out.split())
    assert "kl, kl_p50 … kl_p999, kl_max" in out
    assert "induction_kept_10 … induction_kept_90, induction_mean_change, induction_score" in out
    assert "l0, alive" in out
    assert "kept_50" not in out


def test_compressions_fit_on_a_screen(bitlens: Command):
    """A line each, however many there are, at a hundred columns or little more."""
    lines = bitlens("list", "compressions").out.splitlines()
    assert len(lines) == len(list(COMPRESSIONS)) + 3
    assert max(map(len, lines)) <= 110


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_a_compression_says_what_it_does_and_takes(bitlens: Command, name: str):
    """Every setting with its default and meaning, and below them the whole of its description."""
    out = bitlens("list", "compressions", name).out
    for setting in settings_of(COMPRESSIONS[name]):
        assert re.search(rf"^ ?{setting} +\S", out, re.MULTILINE)
    assert (inspect.getdoc(COMPRESSIONS[name]) or "").splitlines()[-1] in out


def test_a_setting_by_hand(bitlens: Command):
    out = bitlens("list", "compressions", "gptq").out
    assert re.search(r"bits +required +A whole number\. 2 to 8\.", out)
    assert re.search(r"damping +0\.01 +A finite number\. Share of the mean of x²", out)
    assert re.search(r"exclude +none +Shell patterns in brackets", out)


def test_names_that_there_are_not(bitlens: Command):
    """The nearest is named; other lists take none."""
    done = bitlens("list", "compressions", "gtpq")
    assert done.code == 2
    assert "gptq" in done.err
    assert "Traceback" not in done.err
    done = bitlens("list", "metrics", "kl")
    assert done.code == 2
    assert "list metrics is given a name, kl." in done.err
