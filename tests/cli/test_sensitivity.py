"""`bitlens sensitivity` and `bitlens plan`, as they are typed."""

import pytest

from tests.support.commands import Command


@pytest.mark.parametrize(
    ("words", "found", "remedy"),
    [
        (("sensitivity", "demo", "--with", "rtn:bits=4", "--measure", "klm"), "klm is no", "kl?"),
        (("sensitivity", "demo", "--with", "rtm:bits=4"), "'rtm'", "rtn?"),
        (("sensitivity", "dmeo", "--with", "rtn:bits=4"), "dmeo", "demo?"),
        (("sensitivity", "demo", "--with", "rtn:bits=4", "--measure", ","), "nothing", "kl"),
        (
            ("sensitivity", "demo", "--with", "rtn:bits=4", "--measure", "benchmark"),
            "which",
            "--benchmarks NAME=FILE",
        ),
        (
            ("sensitivity", "demo", "--with", "rtn:bits=4", "--top", "2", "--engine", "ray"),
            "--engine",
            "leave --engine out",
        ),
    ],
)
def test_what_is_misspelt_is_told_with_what_was_meant(
    bitlens: Command, words: tuple[str, ...], found: str, remedy: str
) -> None:
    """Exit code 2, in three parts, and no traceback."""
    outcome = bitlens(*words, "--out", "never")
    assert outcome.code == 2
    first, _, *rest = outcome.err.strip().split("\n")
    assert found in first
    assert remedy in rest[-1]
