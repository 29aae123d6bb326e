"""The command line as a whole: help, misuse, and how it stops."""

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from bitlens import cli
from tests.support.commands import Command, Outcome


def test_help_is_quick_and_needs_no_torch():
    """Less than a second of work on a busy machine; neither torch nor numpy is loaded."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = (
        "import sys\nfrom bitlens.cli import app\n"
        "try: app(['audit', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'rich', 'numpy', 'pyarrow'}\n"
        "sys.exit(' '.join(set(sys.modules) & heavy) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert "--to SPEC" in done.stdout
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 1


@pytest.mark.parametrize("command", sorted(get_command(cli.app).commands))  # type: ignore[attr-defined]
def test_every_command_explains_itself(bitlens: Command, command: str):
    """Its help says what it does, in full sentences and without a cut."""
    done = bitlens(command, "--help")
    assert done.code == 0
    assert command in bitlens("--help").out
    assert "..." not in bitlens("--help").out.split("Commands:")[1]


def test_ctrl_c_is_one_line(bitlens: Command, asked: list[Any], tmp_path: Path):
    """It says that nothing is lost; shells expect 130."""
    done = bitlens("audit", "gpt2", "--to", "rtn:bits=4", "--out", tmp_path)
    assert done == Outcome(
        130,
        "",
        "Stopped. What was complete is kept; the same command does the rest.\n",
    )


@pytest.mark.parametrize("arguments", [["audt"], ["audit"], ["export", "x", "--format", "xls"]])
def test_misuse_of_the_command_line_exits_with_2(bitlens: Command, arguments: list[str]):
    """As every program does; with the usage, without a traceback."""
    done = bitlens(*arguments)
    assert done.code == 2
    assert "Usage:" in done.err
    assert "Traceback" not in done.err


def test_the_module_is_the_command():
    """`python -m bitlens` where the command is not on the path."""
    done = subprocess.run(
        [sys.executable, "-m", "bitlens", "list", "nothing"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "80"},
    )
    assert done.returncode == 2
    assert "bitlens list" in done.stderr
