"""The public names."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import bitlens


@pytest.mark.parametrize("name", bitlens.__all__)
def test_public_names_are_there(name: str):
    """Each is imported when it is used, has words about it, and shows in dir()."""
    assert getattr(bitlens, name).__doc__
    assert name in dir(bitlens)


def test_nothing_else_shows():
    """What bitlens itself needs is no name of its."""
    assert dir(bitlens) == sorted([*bitlens.__all__, "__version__"])
    assert all(name == "__version__" or not name.startswith("_") for name in dir(bitlens))


def test_types_are_known_of_the_same_names():
    """A type checker reads the same names from imports that are never run."""
    tree = ast.parse(Path(bitlens.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    found = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module != "typing"
        for alias in node.names
    }
    assert found.keys() == set(bitlens.__all__) == bitlens._HOMES.keys()
    for name, (module, _, called) in (
        (name, home.partition(":")) for name, home in bitlens._HOMES.items()
    ):
        assert found[name] == f"{module}.{called or name}"


def test_importing_it_loads_nothing_else():
    """Neither torch nor anything that takes long; asking for errors neither."""
    code = "import sys; n = set(sys.modules); import bitlens; bitlens.InputError; dir(bitlens)"
    shown = "print(*sorted(m for m in set(sys.modules) - n if m.partition('.')[0] in {}))"
    heavy = "{'torch', 'transformers', 'numpy', 'pyarrow', 'altair', 'pandas', 'pydantic'}"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; {shown.format(heavy)}"], capture_output=True, text=True
    )
    assert (done.stdout, done.returncode) == ("\n", 0), done.stderr


def test_other_names_are_not():
    """As in any module."""
    with pytest.raises(AttributeError, match="audti"):
        bitlens.audti  # noqa: B018


def test_the_version_is_the_package_s():
    """Three numbers."""
    assert bitlens.__version__.count(".") == 2
