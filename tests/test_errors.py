"""Errors say what was found, what was expected and what to do, and none is empty."""

import ast
import re
from pathlib import Path

import pytest

import bitlens
from bitlens.errors import BitlensError, failed
from bitlens.sae.formats.load import load_sae

TYPES = {"BitlensError", *(kind.__name__ for kind in BitlensError.__subclasses__())}
EMPTY = {"a twin.", "another.", "all of it.", "one.", "one or more.", "other settings.", "nothing."}


def test_no_part_of_an_error_says_nothing() -> None:
    """Neither a word for anything, nor a place for a whole error within one."""
    found = []
    for path in Path(bitlens.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in TYPES:
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


def test_every_type_is_raised_and_public() -> None:
    """A caller can catch each by itself, or all together; none is there for nothing."""
    source = "".join(
        path.read_text(encoding="utf-8") for path in Path(bitlens.__file__).parent.rglob("*.py")
    )
    assert len(TYPES) == 7
    for name in TYPES:
        assert issubclass(getattr(bitlens, name), BitlensError)
        assert re.search(rf"(raise|return) {name}\(", source), name


def test_what_is_at_fault_has_its_type(tmp_path: Path) -> None:
    """A setting, a model, a text, an SAE, a folder of results: the error says which."""
    (tmp_path / "empty.txt").touch()
    text = str(tmp_path / "empty.txt")
    with pytest.raises(bitlens.InputError, match="rtm"):
        bitlens.parse_spec("rtm:bits=4")
    with pytest.raises(bitlens.ModelError, match="nowhere"):
        bitlens.audit(str(tmp_path / "nowhere"), to=["rtn:bits=4"], out=tmp_path / "out")
    with pytest.raises(bitlens.DataError, match=r"empty\.txt"):
        bitlens.audit("demo", to=["rtn:bits=4"], text=text, out=tmp_path / "b")
    with pytest.raises(bitlens.SaeError, match="SAE"):
        load_sae(tmp_path)
    with pytest.raises(bitlens.ResultsError, match="holds no results"):
        bitlens.Store.open(tmp_path)
