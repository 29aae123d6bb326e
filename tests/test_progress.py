"""Bars on a real terminal, narrow and wide, with and without more than ASCII."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import time

import pytest

from bitlens.progress import ProgressBar

CODE = """
from bitlens.cli.terminal import on_terminal
from bitlens.progress import ProgressBar
with on_terminal():
    with ProgressBar("sweep", "tokens", 20_094) as bar:
        for block in range(24):
            bar.at(f"block {block + 1} of 24")
            bar.add(20_094 / 24)
    with ProgressBar("report", "parts", 2) as bar:
        bar.step("first screen")
        bar.step("features")
"""


def drawn(columns: int, **environment: str) -> str:
    """What a terminal of so many columns is sent."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "TERM"))}
    subprocess.run(
        [sys.executable, "-c", CODE],
        stderr=theirs,
        env={**kept, "TERM": "xterm", "LANG": "C.UTF-8", **environment},
        check=True,
    )
    os.close(theirs)
    found = b""
    while True:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:
            break
        if not part:
            break
        found += part
    os.close(ours)
    return found.decode()


@pytest.mark.parametrize("columns", [80, 120])
def test_a_bar_fits_its_terminal(columns: int) -> None:
    """Blocks, tokens and the time that is left are read whole; no line is broken."""
    lines = drawn(columns).replace("\n", "\r").split("\r")
    last = next(line for line in reversed(lines) if line.startswith("sweep"))
    assert last.startswith("sweep: 100 %|")
    assert "20.1k of 20.1k tokens, block 24 of 24, 00:00 left" in last
    assert max(map(len, lines)) <= columns
    report = next(line for line in reversed(lines) if line.startswith("report"))
    assert "1 of 2 parts, features" in report


def test_a_terminal_without_signs_gets_letters() -> None:
    """Under LANG=C, which Python itself takes for UTF-8."""
    assert drawn(80, LANG="C").isascii()
    assert not drawn(80).isascii()


def test_a_terminal_that_cannot_go_back_gets_no_bar() -> None:
    """It would fill with halves of lines."""
    assert drawn(80, TERM="dumb") == ""


def test_a_log_is_told_every_five_minutes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No terminal: 400 of 1,000 tokens were there, 300 more take 6 minutes, so the last 300 take 6;
    between two lines nothing is said."""
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with ProgressBar("sweep", "tokens", 1000) as bar:
        bar.at("block 3 of 12")
        bar.add(400)
        now = 360.0
        bar.add(300)
        now = 361.0
        bar.add(1)
    assert capsys.readouterr().err == (
        "sweep: 700 of 1,000 tokens, block 3 of 12, about 6 min left\n"
    )
