"""Files and folders appear whole, in their place, and from one process at a time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bitlens.errors import BitlensError
from bitlens.results.files.writing import alone, new_folder, unfinished, whole, write


@pytest.fixture
def gone() -> int:
    """The number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("name", ["out.html", ".out.html.{}.writing"])
def test_a_link_is_replaced_and_not_written_through(tmp_path: Path, name: str) -> None:
    """Whether it has the file's name or that of the file while it is written."""
    (tmp_path / "bashrc").write_text("precious")
    folder = tmp_path / "store"
    folder.mkdir()
    name = name.format(os.getpid())
    (folder / name).symlink_to(tmp_path / "bashrc")
    write(folder / "out.html", b"<html>")
    assert (tmp_path / "bashrc").read_text() == "precious"
    assert [path.name for path in folder.iterdir()] == ["out.html"]
    assert not (folder / "out.html").is_symlink()


def test_a_file_is_made_anew_and_never_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link that appears after the look at what is there is an error, not followed."""
    (tmp_path / "bashrc").write_text("precious")
    monkeypatch.setattr("bitlens.results.files.writing._forget", lambda path: None)
    (tmp_path / f".out.{os.getpid()}.writing").symlink_to(tmp_path / "bashrc")
    with pytest.raises(BitlensError, match="cannot be written: File exists"):
        write(tmp_path / "out", b"x")
    assert (tmp_path / "bashrc").read_text() == "precious"


def test_what_the_dead_began_is_removed(tmp_path: Path, gone: int) -> None:
    """Not what a living process is writing, nor what another file's is."""
    names = {n: f".{n}.{pid}.writing" for n, pid in (("a", gone), ("b", gone), ("c", 1))}
    for name in names.values():
        (tmp_path / name).write_bytes(b"half")
    write(tmp_path / "a", b"x")
    write(tmp_path / "c", b"x")
    assert {path.name for path in tmp_path.iterdir()} == {"a", names["b"], "c", names["c"]}
    assert all(map(unfinished, names.values()))
    assert not unfinished("a")


def test_a_file_has_the_rights_that_the_user_gives(tmp_path: Path) -> None:
    """As any file that is written, under the umask of the user; a folder too."""
    before = os.umask(0o077)
    try:
        write(tmp_path / "file", b"x")
        with new_folder(tmp_path / "folder", "--save") as aside:
            write(aside / "file", b"x")
    finally:
        os.umask(before)
    for path, rights in (("file", 0o600), ("folder", 0o700), ("folder/file", 0o600)):
        assert (tmp_path / path).stat().st_mode & 0o777 == rights


def test_one_at_a_time(tmp_path: Path) -> None:
    """A second process is told whose turn it is, and finds nothing of the lock afterwards."""
    with alone(tmp_path / "out"):
        with pytest.raises(BitlensError) as caught, alone(tmp_path / "out"):
            pass
        assert f"by another run (process {os.getpid()})" in caught.value.found
    with alone(tmp_path / "out"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_dead_hold_no_lock(tmp_path: Path) -> None:
    """What a killed process left is taken over."""
    code = (
        "import os, pathlib, sys; from bitlens.results.files.writing import alone\n"
        "with alone(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    with alone(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    """It would empty the file it leads to."""
    (tmp_path / "bashrc").write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".lock").symlink_to(tmp_path / "bashrc")
    with pytest.raises(BitlensError, match="cannot be written"), alone(tmp_path / "out"):
        pass
    assert (tmp_path / "bashrc").read_text() == "precious"


def test_where_there_are_no_locks_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network file systems have none."""

    def none(*arguments: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("bitlens.results.files.writing.flock", none)
    with alone(tmp_path / "out"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("left", ["folder", "file", "link"])
def test_a_new_folder_takes_the_place_of_what_a_killed_run_left(tmp_path: Path, left: str) -> None:
    """And what a link there leads to stays."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis").write_text("precious")
    aside = tmp_path / ".out.writing"
    if left == "folder":
        aside.mkdir()
        (aside / "half").write_text("half")
    elif left == "file":
        aside.write_text("half")
    else:
        aside.symlink_to(tmp_path / "mine")
    with new_folder(tmp_path / "out", "--out") as folder:
        write(folder / "whole", b"x")
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "out"}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["whole"]
    assert (tmp_path / "mine" / "thesis").read_text() == "precious"


def test_nobody_else_fills_the_same_new_folder(tmp_path: Path) -> None:
    """The second is told at once, not after its work."""
    with (
        new_folder(tmp_path / "out", "--save"),
        pytest.raises(BitlensError, match="being written by another run"),
        new_folder(tmp_path / "out", "--save"),
    ):
        pass


def test_an_error_of_what_fills_it_stays_what_it_is(tmp_path: Path) -> None:
    """That a model cannot be read does not say that the folder cannot be written."""
    with pytest.raises(FileNotFoundError), new_folder(tmp_path / "a" / "out", "--save"):
        (tmp_path / "nothing").read_text()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_filled_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("before")
    with pytest.raises(BitlensError, match="cannot be written: No space"), whole(tmp_path / "file"):
        raise OSError(28, "No space left on device")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]
