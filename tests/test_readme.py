"""What the README says to type works, on a tiny model where it names a large one."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bitlens import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


CALIBRATION = "".join(
    f'{{"text": "{" ".join(str(n * n % 9973) for n in range(begin, begin + 120))}"}}\n'
    for begin in range(0, 1200, 120)
)
"""Apart from the texts and from each other, and more positions than a model is wide."""
COMMANDS = [line for block in blocks("bash") for line in block.splitlines()]


def make_targets(commands: list[str]) -> list[str]:
    return [command.split()[1] for command in commands if command.startswith("make ")]


def shortened(texts: Path) -> str:
    """As many documents, each of a third of the length."""
    lines = [json.loads(line)["text"] for line in texts.read_text(encoding="utf-8").splitlines()]
    return "".join(json.dumps({"text": line[: len(line) // 3]}) + "\n" for line in lines)


@pytest.fixture
def folder(
    tmp_path: Path,
    gpt2: Path,
    tiny_folder: Callable[..., Path],
    short_texts: Path,
    few_sequences: None,
    no_pictures: None,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A folder in which its models are tiny ones and the files exist that the README names."""
    shutil.copytree(gpt2, tmp_path / "gpt2")
    shutil.copytree(tiny_folder("gpt_neox"), tmp_path / "EleutherAI" / "pythia-70m")
    (tmp_path / "texts.jsonl").write_text(shortened(short_texts), encoding="utf-8")
    (tmp_path / "calibration.jsonl").write_text(CALIBRATION, encoding="utf-8")
    study = blocks("yaml")[0] + "text: texts.jsonl\n"
    (tmp_path / "study.yaml").write_text(study, encoding="utf-8")
    (tmp_path / "src").symlink_to(ROOT / "src")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("webbrowser.open", lambda url: False)
    return tmp_path


def test_every_command_is_one_that_is_tested():
    """The README names make and bitlens, nothing else."""
    assert {command.split()[0] for command in COMMANDS} == {"make", "bitlens"}


@pytest.mark.parametrize("target", make_targets(COMMANDS))
def test_make_has_what_the_readme_names(target: str):
    """Every target exists, and its recipe can be expanded."""
    make = shutil.which("make")
    if make is None:
        pytest.skip("there is no make here")
    done = subprocess.run([make, "-n", "-C", str(ROOT), target], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_commands_work_one_after_the_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """As they stand there; the demo's texts are replaced by short ones, SAEs are small."""
    for command in COMMANDS:
        if not command.startswith("bitlens "):
            continue
        words = shlex.split(command)
        if words[1] == "audit" and "--text" not in words:
            words += ["--text", "texts.jsonl"]
        if words[1] == "repair":
            words += ["--calibration", "calibration.jsonl"]
        if words[1] == "train-sae":
            words += ["--tokens", "3000", "--width", "2x", "--k", "8"]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert not stop.value.code, f"{command}: {capsys.readouterr().err}"
    for name in ("results", "results-3", "results-16", "results-sae", "grid"):
        assert (folder / name / "report.html").exists()
    assert (folder / "results.csv").read_text().startswith("model,compression,bits,")


@pytest.mark.slow
def test_the_python_example_works(folder: Path, capsys: pytest.CaptureFixture[str]):
    """About eight lines, from a model to numbers with intervals, a chart and a twin."""
    (example,) = blocks("python")
    assert len(example.splitlines()) <= 9
    exec(example.replace('out="results"', 'out="results", text="texts.jsonl"'), {})
    out = capsys.readouterr().out
    assert re.search(r"^  \w+ +rtn:bits=4,group=64: same top token \d", out, re.MULTILINE)
    assert re.search(r"^\d +rtn:bits=4,group=64 +\d\.\d+", out, re.MULTILINE)
    assert (folder / "cosine.svg").exists()
    assert out.endswith("report.html\n")


def test_the_readme_is_short():
    """Under 200 lines."""
    assert len(README.splitlines()) < 200
