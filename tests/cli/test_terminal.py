"""What reaches a terminal, narrow or misled."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tqdm import tqdm

from bitlens.cli.terminal import on_terminal, show
from bitlens.report.page.parts import Column, Table
from tests.support.commands import Command


def test_a_narrow_terminal_gets_numbers_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Ten columns in eighty characters could not be read."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    titles = [Column(f"a number {n}", numeric=True) for n in range(10)]
    show(Table((Column("twin"), *titles), (("rtn:bits=4", *["0.125 ±0.01"] * 10),)))
    out = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert re.search(r"^rtn:bits=4 *\n    a number 0 0.125 ±0.01, a number 1", out, re.MULTILINE)
    assert max(map(len, out.splitlines())) <= 80


def test_names_do_not_steer_the_terminal(bitlens: Command, tmp_path: Path):
    """Control characters are shown, markup stays text."""
    name = f"{tmp_path}/\x1b[31m[bold]red"
    done = bitlens("audit", name, "--to", "rtn:bits=4", "--out", tmp_path / "out")
    assert done.code == 2
    assert "⟨U+001B⟩[31m[bold]red" in done.err
    assert "\x1b" not in done.err + done.out


def test_what_libraries_print_does_not_steer_it_either(capfd: pytest.CaptureFixture[str]):
    """Warnings, logging and plain prints go through the same streams; colours are dropped, bars
    keep their line."""
    with on_terminal():
        print("x\x1b[31mRED\x1b]0;owned\x07\r.")
        handler = logging.StreamHandler()
        record = logging.LogRecord("a", logging.WARNING, "", 0, "t\x1b[2J\u202e", None, None)
        handler.emit(record)
        for _ in tqdm(range(2), file=sys.stderr, disable=False):
            pass
    out, err = capfd.readouterr()
    assert out == "xRED⟨U+001B⟩]0;owned⟨U+0007⟩⟨U+000D⟩.\n"
    assert err.startswith("t⟨U+001B⟩[2J⟨U+202E⟩\n\r  0%")
    assert "\x1b" not in err
    assert "U+000D" not in err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_every_terminal_gets_a_table(encoding: str):
    """Signs become letters where it does not have them, everything else its number."""
    code = (
        "import sys; from bitlens.cli.terminal import on_terminal, log, show;"
        "from bitlens.report.page.parts import Column, Table;"
        "columns = Column('name', False), Column('KL', True);"
        "table = Table(columns, (('日\\udce9', '2 ±1'),), '→ −');"
        "context = on_terminal(); context.__enter__(); show(table); log('é', err=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=True,
    )
    out, err = done.stdout.decode(encoding), done.stderr.decode(encoding)
    if encoding == "utf-8":
        assert "日⟨U+DCE9⟩   2 ±1" in out
        assert out.endswith("→ −\n")
    else:
        assert f"\\u65e5<U+DCE9> | 2 {'+-' if encoding == 'ascii' else '±'}1" in out
        assert out.endswith("-> -\n")
    assert err == ("\\u00e9\n" if encoding == "ascii" else "é\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("output", "code"), [("> /dev/full", 2), ("| head -n 1", 0), (">&-", 0), ("<&- 2>&-", 0)]
)
def test_output_that_goes_nowhere_ends_nothing(tmp_path: Path, output: str, code: int):
    """A full disk is said at the end, a reader that left and closed streams are not; what came
    after the print was done each time, and nothing was printed into its file."""
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, typer\n"
        "from pathlib import Path\n"
        "from bitlens import cli\n"
        "app = typer.Typer()\n"
        "@app.command()\n"
        "def run():\n"
        "    with open('results', 'w') as file:\n"
        "        for _ in range(40_000): cli.log('a line')\n"
        "        file.write('whole')\n"
        "cli.app = app\n"
        "cli.main()\n"
    )
    command = f"set -o pipefail; {sys.executable} {program} {output}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, (tmp_path / "results").read_text()) == (code, "whole")
    assert "Traceback" not in done.stderr
    assert ("could not be written: No space left on device" in done.stderr) == (code == 2)


def test_exported_text_does_not_steer_a_terminal(
    audited: tuple[list[str], str], bitlens: Command, monkeypatch: pytest.MonkeyPatch
):
    """Into a file it goes as it is; a terminal gets what is visible."""
    monkeypatch.setattr("bitlens.results.export.export", lambda *_: b"model,\x1b[31mred\n")
    assert "\x1b[31mred" in bitlens("export", audited[0][-1]).out
    monkeypatch.setattr("bitlens.cli.terminal.Terminal.isatty", lambda _: True, raising=False)
    assert "⟨U+001B⟩[31mred" in bitlens("export", audited[0][-1]).out
