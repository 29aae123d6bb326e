"""Errors say what was found, what was expected and what to do, and none is empty."""

import ast
from pathlib import Path

import pytest

import bitlens
from bitlens.errors import BitlensError, failed

EMPTY = {"a twin.", "another.", "all of it.", "one.", "one or more.", "other settings.", "nothing."}


def test_no_part_of_an_error_says_nothing() -> None:
    """Neither a word for anything, nor a place for a whole error within one."""
    found = []
    for path in Path(bitlens.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "BitlensError":
                written = [part.value for part in node.args if isinstance(part, ast.Constant)]
                if EMPTY & set(written) or "str(error)" in ast.unparse(node):
                    found.append(f"{path.name}:{node.lineno} {written}")
    assert not found


@pytest.mark.parametrize(
    ("reason", "lines"),
    [
        ("its logits are not finite", ["twin failed: its logits are not finite", "finite numbers"]),
        (
            str(BitlensError("a holds inf.", "finite weights.", "--dtype float32")),
            ["twin failed: a holds inf.", "Expected: finite weights.", "Try: --dtype float32"],
        ),
    ],
)
def test_a_twin_s_own_reason_is_told_in_its_parts(reason: str, lines: list[str]) -> None:
    """Whether it was a sentence or an error of ours."""
    said = str(failed("twin", reason)).splitlines()
    assert len(said) == 3
    assert said[0] == lines[0]
    assert all(any(line in part for part in said) for line in lines)
