"""Running a command as a shell does."""

import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from bitlens import cli
from bitlens.config.study import Study
from bitlens.results.store import Store
from tests.support.commands import Command, Outcome


@pytest.fixture
def bitlens(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Run a command as the shell would, in this process."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["bitlens", *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capfd.readouterr()
        return Outcome(code, out, err)

    return run


@pytest.fixture(scope="session")
def audited(
    llama: Path, short_texts: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[str], str]:
    """An audit of a tiny model: its arguments, the folder last, and what it printed."""
    folder = tmp_path_factory.mktemp("cli") / "results"
    arguments = ["audit", llama, "--to", "rtn:bits=4", "--to", "prune:sparsity=0.3"]
    arguments += ["--analyses", "behaviour", "--text", short_texts, "--out", folder]
    words = [str(argument) for argument in arguments]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as out:
        patch.setattr(sys, "argv", ["bitlens", *words])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    assert not stop.value.code, out.getvalue()
    return words, out.getvalue()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Study, Path, str, bool]]:
    """What would have been run, instead of running it."""
    calls: list[tuple[Study, Path, str, bool]] = []

    def run(
        study: Study,
        out: Path,
        command: str,
        log: Any,
        keep_going: bool,
        replace: bool,
        given: Any,
    ) -> Store:
        calls.append((study, out, command, keep_going))
        raise KeyboardInterrupt

    monkeypatch.setattr("bitlens.workflows.audit.run.run", run)
    return calls
