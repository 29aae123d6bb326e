"""What reaches a terminal, narrow or misled."""

import re
from pathlib import Path

import pytest

from .conftest import Command


def test_a_narrow_terminal_gets_numbers_one_after_the_other(
    audited: tuple[list[str], str],
    bitlens: Command,
    no_pictures: None,
    monkeypatch: pytest.MonkeyPatch,
):
    """Ten columns in eighty characters could not be read."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    out = re.sub(r"\x1b\[[0-9;]*m", "", bitlens(*audited[0]).out)
    table, _, _ = out.partition("±")
    assert re.search(r"^rtn:bits=4 *\n    bits 4\.\d+, size .* kB, perplexity", out, re.MULTILINE)
    assert max(map(len, table.splitlines())) <= 80


def test_names_do_not_steer_the_terminal(bitlens: Command, tmp_path: Path):
    """Control characters are shown, markup stays text."""
    name = f"{tmp_path}/\x1b[31m[bold]red"
    done = bitlens("audit", name, "--to", "rtn:bits=4", "--out", tmp_path / "out")
    assert done.code == 2
    assert "⟨U+001B⟩[31m[bold]red" in done.err
    assert "\x1b" not in done.err + done.out
