"""How audit, study and what reads results refuse."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Command

REFUSALS: list[tuple[list[str], str, str]] = [
    (["--to", "rtm:bits=4"], "no compression called 'rtm'", "Did you mean rtn"),
    (["--to", "rtn:bits=4,gruop=64"], "no setting called 'gruop'", "Did you mean group"),
    (["--to", "rtn:bits=1"], "bits is 1", "2 to 8"),
    (["--to", "rtn:bits=4,group=7"], "group=7 does not divide", "one of"),
    (["--to", "rtn:bits=4", "--analyses", "behavior"], "behavior", "Did you mean behaviour"),
    (["--to", "rtn:bits=4", "--sites", "residd.*"], "no site 'residd.*'", "mean resid.*?"),
    (["--to", "rtn:bits=4", "--text", "nowhere.jsonl"], "nowhere.jsonl", "folder"),
    (["--to", "rtn:bits=4", "--context", "9999"], "context is 9999", "--context"),
    (["--to", "rtn:bits=4", "--memory", "8"], "'8'", "8GB"),
    (["--to", "rtn:bits=4", "--allow", "everything"], "everything", "identical"),
    (["--to", "rtn:bits=4", "--controls", "casts"], "casts", "Did you mean cast"),
    (["--to", "rtn:bits=4", "--dtype", "float31"], "float31", "float32"),
    (["--to", "rtn:bits=4", "--device", "gpu"], "'gpu'", "cuda"),
    (["--to", "rtn:bits=4", "--tokens", "-5"], "tokens is -5", "0"),
    (["--to", "rtn:bits=4,exclude=[*]"], "leave no matrix", "patterns"),
    (["--to", "gptq:bits=4"], "no calibration documents are named", "--calibration FILE"),
    (["--to", "gptq:bits=4", "--calibration", "nowhere.txt"], "nowhere.txt", "folder"),
    (["--to", "gptq:bits=4,include=[embed_tokens]"], "looked up in", "mixed:"),
    (["--to", "rtn:bits=4", "--calibration-tokens", "-5"], "calibration_tokens is -5", "0"),
]


@pytest.mark.parametrize(("options", "found", "help"), REFUSALS, ids=lambda v: str(v)[-40:])
def test_mistakes_get_three_parts(
    bitlens: Command,
    llama: Path,
    short_texts: Path,
    tmp_path: Path,
    options: list[str],
    found: str,
    help: str,
):
    """What was found, what was expected, what to try; exit code 2 and no traceback."""
    text = [] if "--text" in options else ["--text", short_texts]
    done = bitlens("audit", llama, *options, *text, "--out", tmp_path / "out")
    assert done.code == 2
    parts = re.search(r"([^\n]*\n)Expected: ([^\n]+)\nTry: ([^\n]+)\n\Z", done.err)
    assert parts, done.err
    assert found in parts[1]
    assert help in parts[2] + parts[3]
    assert "Traceback" not in done.err


def no_config(folder: Path, llama: Path) -> Path:
    return folder


def cut_short(folder: Path, llama: Path) -> Path:
    for file in llama.iterdir():
        content = file.read_bytes()
        half = file.suffix == ".safetensors"
        (folder / file.name).write_bytes(content[: len(content) // 2] if half else content)
    return folder


def absent(folder: Path, llama: Path) -> Path:
    return llama.with_name("tiny-lama")


@pytest.mark.parametrize(
    ("make", "help"),
    [(no_config, "config.json"), (cut_short, "safetensors"), (absent, "tiny-llama")],
)
def test_models_that_are_none_are_refused(
    bitlens: Command, llama: Path, tmp_path: Path, make: Callable[..., Path], help: str
):
    """A folder without a model, weights that end too soon, a misspelt path."""
    (tmp_path / "model").mkdir()
    model = make(tmp_path / "model", llama)
    done = bitlens("audit", model, "--to", "rtn:bits=4", "--out", tmp_path / "out")
    assert done.code == 2
    assert str(model) in done.err
    assert help in done.err
    assert "Traceback" not in done.err


def test_folders_that_hold_no_results_are_refused(bitlens: Command, tmp_path: Path):
    """By what reads them, and by what would write over something else."""
    (tmp_path / "mine.txt").write_text("mine")
    for command in (["report", tmp_path], ["export", tmp_path], ["report", tmp_path / "none"]):
        done = bitlens(*command)
        assert done.code == 2
        assert "Expected:" in done.err
    done = bitlens("audit", "gpt2", "--to", "rtn:bits=4", "--out", tmp_path)
    assert done.code == 2
    assert "mine.txt" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_sae_that_is_not_there_is_said_before_anything_is_loaded(
    bitlens: Command, asked: list[Any], tmp_path: Path
):
    """By its option, or by its place in the file; with what was probably meant."""
    (tmp_path / "sae-late").mkdir()
    wrong = tmp_path / "sae-latte"
    done = bitlens("audit", "gpt2", "--to", "rtn:bits=4", "--sae", wrong, "--out", tmp_path / "o")
    assert (done.code, asked) == (2, [])
    assert done.err.startswith(f"--sae: there is no folder {wrong}.\nExpected: ")
    assert done.err.endswith("Try: Did you mean sae-late?\n")
    path = tmp_path / "study.yaml"
    path.write_text(
        f"models: [gpt2, {{name: other, saes: [{tmp_path / 'sae-late'}, {wrong}]}}]\n"
        "compressions: ['rtn:bits=4']\n"
    )
    done = bitlens("study", path, "--out", tmp_path / "o", "--check")
    assert done.code == 2
    assert done.err.startswith(f"models[1].saes[1]: there is no folder {wrong}.\n")


@pytest.mark.parametrize(
    ("options", "found", "help"),
    [
        (["--text", "nowhere.jsonl"], "There is no nowhere.jsonl", "folder"),
        (["--to", "checkpoint:/nope"], "no folder and no file /nope", "another path"),
        (["--calibration", "nowhere.txt"], "There is no nowhere.txt", "folder"),
        (["--tokens", "10 thousand"], "10 thousand is no number", "20k"),
        (["--seed", "99999999999999999999"], "99999999999999999999", "9223372036854775807"),
        (["--sae", ""], "named by an empty text", "SAE"),
        (["--text", ""], "named by an empty text", "file"),
        (["--to", "W4A16"], "'W4A16' is no compression", "gptq:bits=4,group=128"),
        (["--to", "noise:like=[" * 3000], "brackets more than 8 deep", "noise:like"),
    ],
    ids=lambda v: str(v)[-30:],
)
def test_mistakes_that_need_no_model_are_said_before_it_is_loaded(
    bitlens: Command,
    asked: list[Any],
    tmp_path: Path,
    options: list[str],
    found: str,
    help: str,
):
    """By the argument's own name; not even a hub that hangs would be asked."""
    done = bitlens("audit", "gpt2", "--to", "rtn:bits=4", *options, "--out", tmp_path / "out")
    assert (done.code, asked) == (2, [])
    assert done.err.count("\n") == 3
    assert found in done.err.splitlines()[0]
    assert help in done.err
    assert "compressions[" not in done.err
    assert "models[" not in done.err


WITHOUT_TORCH = [
    ["audit", "gpt2", "--to", "rtn:bits=4", "--analyses", "behavior"],
    ["audit", "gpt2", "--to", "rtn:bits=4", "--text", "nowhere.jsonl"],
    ["audit", "gpt2", "--to", "gptq:bits=4", "--calibration", "nowhere.jsonl"],
    ["audit", "gpt2", "--to", "rtn:bits=4", "--sae", "nowhere"],
    ["audit", "gpt2", "--to", "rtn:bits=4", "--memory", "8"],
    ["audit", "gpt2", "--to", "rtn:bits=4", "--quiet", "--json"],
    ["audit", "./nowhere", "--to", "rtn:bits=4"],
    ["audit", "gpt2", "--to", "rtm:bits=4"],
    ["compress", "gpt2", "--with", "rtn:bits=4", "--calibration", "nowhere.jsonl"],
    ["train-sae", "gpt2", "--site", "resid.1", "--text", "nowhere.jsonl"],
    ["fit", "gpt2", "--sae", "nowhere"],
    ["study", "nowhere.yaml"],
    ["study", "study.yaml"],
    ["report", "nowhere"],
]
"""Commands, but for where to write, that are refused."""


def test_what_is_wrong_is_said_before_torch_is_loaded(tmp_path: Path):
    """It takes seconds to load, and none of these mistakes needs it to be seen."""
    (tmp_path / "study.yaml").write_text(
        "models: [gpt2]\ncompressions: ['rtn:bits=4']\nanalyses: [behavior]\n"
    )
    code = (
        "import sys; from bitlens.cli import app; from bitlens.errors import BitlensError\n"
        f"for words in {WITHOUT_TORCH}:\n"
        "    where = {'compress': ['--save', 'o'], 'fit': [], 'report': []}\n"
        "    try: app([*words, *where.get(words[0], ['--out', 'o'])], standalone_mode=False)\n"
        "    except BitlensError: pass\n"
        "    else: sys.exit(f'{words} is not refused')\n"
        "    if 'torch' in sys.modules: sys.exit(f'{words} loads torch')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_tokens_are_counted_in_thousands(bitlens: Command, asked: list[Any], tmp_path: Path):
    """As people write them."""
    for text, count in {"10k": 10_000, "1M": 1_000_000, "20_000": 20_000}.items():
        bitlens("audit", "gpt2", "--to", "rtn:bits=4", "--tokens", text, "--out", tmp_path)
        assert asked.pop()[0].tokens == count


def test_answers_without_any_are_refused(bitlens: Command, llama: Path, tmp_path: Path):
    """They would quietly become the tokens of the class, after other texts."""
    given = ("steer", llama, "--to", "rtn:bits=4", "--out", tmp_path / "out")
    done = bitlens(*given, "--answers", " , ")
    assert done.code == 2
    assert "names no answer" in done.err
