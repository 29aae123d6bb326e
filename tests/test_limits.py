"""How large anything in the source may be, read off the syntax trees."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import bitlens

ROOT = Path(bitlens.__file__).parent
CLASS_LINES, FUNCTION_LINES, PARAMETERS, FIELDS = 200, 50, 7, 5
FILES = sorted(ROOT.rglob("*.py"))
COMMANDS, CALLS = ROOT / "cli", ROOT / "workflows" / "api.py"
"""Functions of these are what a user types: their parameters are the options there are."""


def lines(node: ast.ClassDef | ast.FunctionDef) -> int:
    """From the first line to the last."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def parameters(function: ast.FunctionDef) -> int:
    """Without the object or class that a method is of."""
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    return sum(argument.arg not in ("self", "cls") for argument in named)


def positional_record(node: ast.ClassDef) -> bool:
    """Is it a dataclass of five fields or more that may be made by position?"""
    made = [ast.unparse(d) for d in node.decorator_list if "dataclass" in ast.unparse(d)]
    fields = [
        one
        for one in node.body
        if isinstance(one, ast.AnnAssign) and "ClassVar" not in ast.unparse(one.annotation)
    ]
    by_name = made and ("kw_only=True" in made[0] or "KW_ONLY" in ast.unparse(node))
    return bool(made) and not by_name and len(fields) >= FIELDS


def typed(path: Path) -> bool:
    """Does the file hold the command line, or what is called from Python?"""
    return COMMANDS in path.parents or path == CALLS


def too_much(path: Path) -> Iterator[str]:
    """What in a file is larger than it may be."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef):
            if lines(node) > CLASS_LINES:
                yield f"class {node.name} has {lines(node)} lines"
            if positional_record(node):
                yield f"record {node.name} may be made by position"
        elif isinstance(node, ast.FunctionDef):
            if typed(path):
                continue
            if lines(node) > FUNCTION_LINES:
                yield f"{node.name} has {lines(node)} lines"
            if parameters(node) > PARAMETERS:
                yield f"{node.name} has {parameters(node)} parameters"


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_too_large(path: Path) -> None:
    """Classes of 200 lines, functions of 50 lines and 7 parameters; records of five fields and more
    are made by name."""
    assert not list(too_much(path))


def test_no_class_name_stands_twice() -> None:
    """One word, one thing."""
    homes: dict[str, list[str]] = defaultdict(list)
    for path in FILES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(path.relative_to(ROOT).as_posix())
    assert not {name: at for name, at in homes.items() if len(at) > 1}
