"""Whose business the user's folder is, and machines where there is none."""

import os
from pathlib import Path

import pytest

from bitlens.results.files.home import home, lend_home, with_home, without_home


@pytest.mark.parametrize(
    ("folder", "written", "expected"),
    [
        ("/home/al", "audit /home/al/m --out /home/alice/x", "audit ~/m --out /home/alice/x"),
        ("/home/al", "/home/al", "~"),
        ("/home/al", "/mnt/home/al/m", "/mnt/home/al/m"),
        ("/ho", "/home2/m", "/home2/m"),
        ("/", "audit a/b /c/d", "audit a/b /c/d"),
    ],
)
def test_home_is_not_named(
    folder: str, written: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's folder becomes ~, other paths, and all of them where home is /, stay."""
    monkeypatch.setattr(Path, "home", lambda: Path(folder))
    assert without_home(written) == expected


def test_what_is_written_can_be_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path there and back."""
    monkeypatch.setattr(Path, "home", lambda: Path("/home/al"))
    for path in ("/home/al/m", "/home/alice/m", "gpt2", "~al/m", "a~/m"):
        assert with_home(without_home(path)) == path


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's: nothing is renamed and nothing fails."""

    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", none)
    assert home() is None
    monkeypatch.setenv("HOME", "unset later")
    monkeypatch.delenv("USER", raising=False)
    lend_home()
    assert Path(os.environ["HOME"]).is_dir()
    assert os.environ["USER"]
    monkeypatch.delenv("USER")
    assert (without_home("/home/al/m"), with_home("~/m")) == ("/home/al/m", "~/m")
