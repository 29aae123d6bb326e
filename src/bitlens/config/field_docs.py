"""The meaning of a setting: the string under its field, as its author wrote it."""

import ast
import inspect
import textwrap
from dataclasses import is_dataclass
from itertools import pairwise


def meanings(cls: type) -> dict[str, str]:
    """The strings under the fields of a dataclass and of those it inherits from, on one line."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if is_dataclass(base):
            found |= _written(base)
    return found


def _written(cls: type) -> dict[str, str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    body = tree.body[0].body  # type: ignore[attr-defined]
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }
