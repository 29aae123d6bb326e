"""Which room and which test may import which, read off the syntax trees; and what must start
without torch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import bitlens

ROOT = Path(bitlens.__file__).parent
TESTS = Path(__file__).parent
GROUND = {"errors", "progress", "registry", "seeds"}
"""What everybody may use: it knows nothing of the rest."""
ALLOWED: dict[str, set[str]] = {
    "results": set(),
    "demo": set(),
    "models": {"results"},
    "data": {"results"},
    "engine": {"results", "models", "data"},
    "compression": {"engine", "models", "data", "results"},
    "sae": {"engine", "models", "data", "results"},
    "analyses": {"engine", "sae", "models", "data", "results"},
    "report": {"results"},
    "config": {"analyses", "compression", "sae", "models", "data", "results", "demo"},
    "workflows": {"config", "report", "analyses", "sae", "compression", "engine", "models"}
    | {"data", "results", "demo"},
    "cli": {"workflows", "config", "report", "results"},
}
"""The rooms of bitlens, and what each may import besides the ground."""
MOST_ROWS, MOST_PAIRS = 13, 40
TORCH_FREE = {"results", "report", "config", "cli", "demo"}
"""Rooms that neither torch nor transformers may be imported in: what is read without a model."""
ENTRIES = ALLOWED.keys() | GROUND | {"__init__", "__main__"}
SHARED_BY_ANALYSES = {"correlation", "known", "predictions", "written"}
"""Modules of the analyses that are no analysis."""


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Every module that a file imports, wherever in it; each file is read once."""
    return tuple(imported(path))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module is not None
            yield node.module
            # `from bitlens.compression import spec` imports a module too.
            yield from (f"{node.module}.{name.name}" for name in node.names)


def room(path: Path) -> str:
    """The module or package directly below bitlens."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


FILES = sorted(ROOT.rglob("*.py"))


def test_every_room_has_its_row() -> None:
    """Twelve rooms and the ground; a new one says what it may import, and a removed one leaves."""
    assert {room(path) for path in FILES} == ENTRIES
    assert len(ALLOWED) <= MOST_ROWS
    assert sum(map(len, ALLOWED.values())) <= MOST_PAIRS


def test_no_row_allows_more_than_is_used() -> None:
    """What nobody needs any more is taken back."""
    used: dict[str, set[str]] = {name: set() for name in ALLOWED}
    for path in FILES:
        for name in imports(path):
            top, _, rest = name.partition(".")
            if top == "bitlens" and rest and room(path) in ALLOWED:
                used[room(path)].add(rest.split(".")[0])
    assert {name: seen & ALLOWED.keys() - {name} for name, seen in used.items()} == ALLOWED


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_import_what_the_table_allows(path: Path) -> None:
    """bitlens' own modules by the table; torch and transformers only where models are."""
    own = room(path)
    allowed = GROUND | ALLOWED.get(own, {"cli"} if own == "__main__" else set())
    for name in imports(path):
        top, _, rest = name.partition(".")
        # Its names are of every room; each is imported when it is asked for.
        if top == "bitlens" and rest and own != "__init__":
            used = rest.split(".")[0]
            assert used == own or used in allowed, f"{path} imports {name}"
        # What safetensors raises, it raises without torch.
        if top in ("torch", "transformers", "safetensors", "accelerate") and name not in (
            "safetensors",
            "safetensors.SafetensorError",
        ):
            assert own not in TORCH_FREE | {"errors", "registry"}, f"{path} imports {name}"


def test_the_table_has_no_circles() -> None:
    """The rooms can be put in an order, the lower ones knowing nothing of the higher."""
    left = dict(ALLOWED)
    while left:
        free = {name for name, allowed in left.items() if not allowed & left.keys()}
        assert free, f"a circle among {sorted(left)}"
        left = {name: allowed for name, allowed in left.items() if name not in free}


def of_methods() -> Iterator[tuple[str, str]]:
    """Every file of a method or an analysis, and the package it is in."""
    for package in ("compression.methods", "analyses"):
        for path in (ROOT / package.replace(".", "/")).rglob("*.py"):
            if path.stem != "__init__":
                yield package, path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize(("package", "file"), list(of_methods()))
def test_methods_do_not_import_each_other(package: str, file: str) -> None:
    """One method a file or a folder: adding one, or taking one away, touches no other."""
    own = file.removeprefix(package.replace(".", "/") + "/").split("/")[0].removesuffix(".py")
    for name in imports(ROOT / file):
        if name.startswith(f"bitlens.{package}."):
            other = name.removeprefix(f"bitlens.{package}.").split(".")[0]
            at = ROOT / package.replace(".", "/") / other
            is_module = at.is_dir() or at.with_suffix(".py").exists()
            assert not is_module or other in SHARED_BY_ANALYSES | {own}, f"{file} imports {name}"


def test_no_test_imports_another() -> None:
    """Nor a conftest, whose fixtures come by name: what several tests need is in tests/support."""
    found = {
        f"{path.relative_to(TESTS)}: {name}"
        for path in TESTS.rglob("*.py")
        for name in imports(path)
        if name.startswith("tests.")
        and any(part == "conftest" or part.startswith("test_") for part in name.split("."))
    }
    assert found == set()


@pytest.mark.parametrize(
    "code",
    [
        "import bitlens",
        "import bitlens.results.records, bitlens.results.store, bitlens.results.export",
        "import bitlens.results.estimates, bitlens.results.stats.intervals",
        "import bitlens.results.stats.contrasts, bitlens.results.stats.multiple",
        "import bitlens.results.insights.prediction, bitlens.results.insights.shared",
        "import bitlens.results.insights.measured, bitlens.results.files.reading",
        "import bitlens.report.build",
        "import bitlens.config.study, bitlens.config.sae_study, bitlens.config.field_docs",
        "import bitlens.cli",
        "import bitlens; bitlens.Study; bitlens.Store; bitlens.load_study; bitlens.__version__",
        "import bitlens.config.study as c; refused(lambda: c.audit_of('demo', 'rtm:bits=4'))",
        "import bitlens.config.study as c; refused(lambda: c.audit_of('demo', 'INT4'))",
    ],
)
def test_results_are_read_without_torch(code: str) -> None:
    """Neither torch nor transformers is loaded by what does not need a model, mistakes that are
    seen without one included."""
    loaded = "set(sys.modules) & {'torch', 'transformers'}"
    given = "import sys, unittest; from bitlens.errors import BitlensError"
    refused = "refused = lambda call: unittest.TestCase().assertRaises(BitlensError, call)"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{given}; {refused}; {code}; sys.exit(' '.join({loaded}) or None)",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
