"""The action for GitHub: its steps are run as that service runs them, and the example fits it."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from bitlens import cli
from tests.support.gate_stores import gate_store

ROOT = Path(__file__).parents[1]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.yml"))
BASH = ["bash", "--noprofile", "--norc", "-eo", "pipefail"]
"""How GitHub runs a step whose shell is bash."""


def ran(folder: Path, program: str, **given: str) -> tuple[int, str, str]:
    """The gate's step with these inputs, `bitlens` being this program: its exit code, what it put
    out, and the job's summary. The step that installs is not run: there is a bitlens."""
    inputs = {name: of.get("default", "") for name, of in ACTION["inputs"].items()} | given
    install, gate = ACTION["runs"]["steps"]
    assert install["if"] == "inputs.install == 'true'"
    assert install["run"] == 'python -m pip install "$GITHUB_ACTION_PATH"'
    binaries = folder / "bin"
    binaries.mkdir()
    (binaries / "bitlens").write_text(f"#!/bin/sh\n{program}\n", encoding="utf-8")
    (binaries / "bitlens").chmod(0o755)
    env = {name: inputs[value.split(".")[1].split(" ")[0]] for name, value in gate["env"].items()}
    env |= {"PATH": f"{binaries}:/usr/bin:/bin", "PYTHONPATH": str(ROOT / "src")}
    files = {name: folder / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    script = folder / "step.sh"
    script.write_text(gate["run"], encoding="utf-8")
    done = subprocess.run(
        [*BASH, str(script)],
        cwd=folder,
        env=env | {name: str(path) for name, path in files.items()},
        capture_output=True,
        text=True,
    )
    return done.returncode, *(path.read_text(encoding="utf-8") for path in files.values())


def test_steps_say_how_they_run() -> None:
    """A composite action's steps name their shell, and what a user gives is no part of a script."""
    assert ACTION["runs"]["using"] == "composite"
    for step in ACTION["runs"]["steps"]:
        assert step["shell"] == "bash"
        assert "${{" not in step["run"]


@pytest.mark.slow
def test_a_run_that_fails_stops_the_job(tmp_path: Path) -> None:
    """With its verdict as output, its summary on the job's page, and every number as XML. Spaces
    and commands in names are names, and no model's library is loaded to read numbers."""
    gate_store(tmp_path / "a $(touch pwned) run")
    (tmp_path / "my rules.yaml").write_text("rules: [{metric: behaviour.kl, at_most: 0.01}]")
    code, output, summary = ran(
        tmp_path,
        f'exec {sys.executable} -X importtime -m bitlens "$@" 2> imports',
        run="a $(touch pwned) run",
        rules="my rules.yaml",
        junit="out/gate.xml",
    )
    assert (code, output) == (1, "verdict=fail\n")
    assert summary.startswith("## Gate: FAIL. 1 rule fails.\n")
    assert (tmp_path / "out" / "gate.xml").is_file()
    assert not (tmp_path / "pwned").exists()
    loaded = {line.split("|")[-1].strip() for line in (tmp_path / "imports").open(encoding="utf-8")}
    assert "bitlens.results.gating.gate" in loaded
    assert not loaded & {"torch", "transformers", "scipy.stats"}


@pytest.mark.parametrize(
    ("code", "verdict"), [(0, "pass"), (1, "fail"), (2, "undecided"), (3, "error"), (4, "error")]
)
def test_every_exit_code_has_its_word(tmp_path: Path, code: int, verdict: str) -> None:
    """And is the step's own; the gate is asked with what was given, and with nothing else."""
    program = f'printf "%s\\n" "$@" > asked; exit {code}'
    found = ran(tmp_path, program, run="-r", baseline="before")
    told = "The gate could not be asked: see the log of this step.\n"
    assert found == (code, f"verdict={verdict}\n", told)
    asked = (tmp_path / "asked").read_text().split("\n")
    assert asked[:3] == ["gate", "--rules", "rules.yaml"]
    assert asked[5:] == ["--baseline", "before", "--", "-r", ""]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_can_be_copied(path: Path) -> None:
    """It gives the action inputs that it has, and types commands that there are."""
    jobs: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    ours = [step["with"] for step in steps if "/bitlens@" in step.get("uses", "")]
    assert ours
    for given in ours:
        assert given.keys() <= ACTION["inputs"].keys()
        assert {name for name, of in ACTION["inputs"].items() if of.get("required")} <= given.keys()
    lines = [line for step in steps for line in step.get("run", "").splitlines()]
    typed = [shlex.split(line)[1:] for line in lines if line.startswith("bitlens ")]
    assert typed
    command: Any = typer.main.get_command(cli.app)
    for words in typed:
        with command.make_context("bitlens", words[:1]) as context:
            _, below, _ = command.resolve_command(context, words[:1])
            below.make_context(words[0], words[1:], parent=context)
