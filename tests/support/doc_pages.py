"""What the documentation tells people to type: pages and notebooks, taken apart."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(
    path
    for path in DOCS.rglob("*.md")
    if path.parent.name not in ("adr", "reference", "gallery", "notebooks")
)
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))


def named(path: Path) -> str:
    """A page as a test is called by it."""
    return path.relative_to(DOCS).as_posix()


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    text = path.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def cells(path: Path, kind: str = "code") -> list[str]:
    """The cells of a notebook, of code or of text."""
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == kind]


def shown(cell: str, names: dict[str, Any]) -> Iterator[Any]:
    """Run a cell as a notebook does, and hand out what its last line shows, where it does."""
    tree = ast.parse(cell)
    last = tree.body[-1]
    ends = isinstance(last, ast.Expr) and not ast.unparse(last).startswith("print(")
    body = ast.Module(tree.body[:-1] if ends else tree.body, type_ignores=[])
    exec(compile(body, "<cell>", "exec"), names)
    if ends:
        yield eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)  # type: ignore[attr-defined]
