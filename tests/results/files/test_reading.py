"""Files that somebody else wrote: none makes us wait, and none takes more than is said."""

import ast
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

import bitlens
from bitlens.errors import BitlensError
from bitlens.results.files.reading import open_regular, read_bytes, read_json, refuse_bomb


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    """Bytes and JSON, at the bound too."""
    (tmp_path / "a.json").write_bytes(b'{"a": [1, 2]}')
    assert read_bytes(tmp_path / "a.json", 13) == b'{"a": [1, 2]}'
    assert read_json(tmp_path / "a.json") == {"a": [1, 2]}


def test_pipes_devices_and_folders_are_refused(tmp_path: Path) -> None:
    """At once: opening a pipe that nobody writes to would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(BitlensError, match="is a folder, a pipe or a device"):
            open_regular(path)


@pytest.mark.parametrize("name", ["none", "a\0b"])
def test_what_is_not_there_is_said(tmp_path: Path, name: str) -> None:
    """With its name."""
    with pytest.raises(BitlensError, match="cannot be read"):
        read_bytes(tmp_path / name)


def test_a_file_above_the_bound_is_not_read(tmp_path: Path) -> None:
    """By its size, before a byte of it is in memory: this one has a hole of a terabyte."""
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(BitlensError, match=r"larger than 1,000 bytes"):
        read_bytes(tmp_path / "large", 1000)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("{", "is not JSON"),
        (b"\xff", "is not JSON"),
        ("9" * 5000, "is not JSON"),
    ],
    ids=["lists", "objects", "cut", "no text", "endless number"],
)
def test_json_that_is_none(tmp_path: Path, text: str | bytes, found: str) -> None:
    """However it is broken, it is said in three parts."""
    (tmp_path / "a.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BitlensError, match=rf"a\.json.*{found}"):
        read_json(tmp_path / "a.json")


@pytest.mark.slow
def test_an_archive_of_nothing_is_a_bomb(tmp_path: Path) -> None:
    """What would take a thousand times its size is refused; numbers are not."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("W_enc.npy", bytes(100_000_000))
    assert len(file.getvalue()) < 200_000
    with pytest.raises(BitlensError, match="would unpack to 100,000,000"):
        refuse_bomb(file.getvalue(), tmp_path / "params.npz")
    file = io.BytesIO()
    np.savez_compressed(file, a=np.random.default_rng(0).normal(size=3_000_000))
    refuse_bomb(file.getvalue(), tmp_path / "params.npz")
    refuse_bomb(b"no archive", tmp_path / "params.npz")


OURS = {
    "compression/checkpoints/codes.py",
    "models/checksums.py",
    "models/files.py",
    "sae/formats/releases.py",
    "sae/training/checkpoint.py",
    "workflows/sae_study/results.py",
}
"""What they open or parse came with a package, was imported before, or is part of what was opened
so."""
READERS = (
    *("compression/checkpoints", "compression/methods", "compression/numerics", "data", "models"),
    *("sae", "workflows/repair_sae", "workflows/sae_study"),
)


def test_files_from_elsewhere_are_opened_in_one_way() -> None:
    """No module that reads them opens a path, or parses JSON, by itself."""
    root = Path(bitlens.__file__).parent
    found = []
    for path in (path for name in READERS for path in (root / name).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            whose = ast.unparse(node.func.value)
            parses = whose == "json" and node.func.attr in ("load", "loads")
            opens = node.func.attr in ("read_text", "read_bytes", "open")
            # A class opens what it is; `reading` is the one way, and `builder` opens twins.
            opens &= whose not in ("reading", "builder") and not whose[0].isupper()
            if (parses or opens) and path.relative_to(root).as_posix() not in OURS:
                found.append(f"{path.relative_to(root)}:{node.lineno} {ast.unparse(node.func)}")
    assert not found
