"""compress and inspect: a twin as a folder, and what is in it."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from bitlens.config.study import Study
from bitlens.report.text.numbers import size
from tests.support.commands import Command


def test_a_twin_is_written_and_shown(
    bitlens: Command, llama: Path, other_texts: Path, tmp_path: Path
):
    """What it was calibrated on, what the whole of it takes, and where it is; beside its
    reference, a row a matrix."""
    words = ["compress", llama, "--with", "gptq:bits=3,group=32", "--calibration", other_texts]
    done = bitlens(*words, "--save", tmp_path / "twin")
    assert done.code == 0, done.err
    first, total, stored, saved = done.out.splitlines()
    assert first.startswith("Calibrating gptq:bits=3,group=32 on 24 documents of calibration.jsonl")
    assert re.fullmatch(
        r"\d+\.\d\d bits per weight over all [\d,]+ parameters, \d+ kB when packed; "
        r"\d+\.\d% of them changed; "
        r"3\.50 bits per weight over what was compressed\.",
        total,
    )
    taken = (tmp_path / "twin" / "model.safetensors").stat().st_size
    assert stored.endswith(f"with every weight stored in full, it takes {size(taken)}.")
    assert saved == f"Saved: {tmp_path / 'twin'}"
    shown = bitlens("inspect", llama, "--twin", tmp_path / "twin")
    assert shown.code == 0, shown.err
    assert total.removesuffix(".") in shown.out
    assert re.search(
        r"layers\.0\.mlp\.down_proj +block +gptq:bits=3,group=32 +3\.50 +32 +\S+ kB +\d", shown.out
    )
    alone = bitlens("inspect", llama)
    assert alone.code == 0
    assert "float32" in alone.out
    assert "gptq" not in alone.out


def test_a_folder_that_is_there_is_not_written_over(bitlens: Command, llama: Path, tmp_path: Path):
    """It is refused before anything is made."""
    (tmp_path / "mine").write_text("mine")
    done = bitlens("compress", llama, "--with", "rtn:bits=4", "--save", tmp_path)
    assert (done.code, done.out) == (2, "")
    assert f"{tmp_path} is there already." in done.err
    assert "another --save" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--with", "rtm:bits=4"], "no compression called 'rtm'"),
        (["--with", "prune:match=[rtn:bits=4]"], "no text to compare on"),
        (["--with", "checkpoint:x"], "is a model already"),
        (["--with", "gptq:bits=4", "--calibration", "nowhere.txt"], "nowhere.txt"),
        (["--with", "rtn:bits=4", "--calibration", "nowhere.txt"], "There is no nowhere.txt"),
        (["--with", "nothing"], "nothing changes no weight of tiny-llama"),
        (["--with", "rtn:bits=4", "--context", "9999"], "context is 9999"),
    ],
)
def test_what_cannot_be_compressed_leaves_nothing(
    bitlens: Command, llama: Path, tmp_path: Path, words: list[str], found: str
):
    """Three parts, exit code 2, no folder."""
    done = bitlens("compress", llama, *words, "--save", tmp_path / "twin")
    assert done.code == 2
    assert found in done.err
    assert "Expected: " in done.err
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []


def test_documents_that_nothing_reads_are_said_not_to_be(
    bitlens: Command, llama: Path, other_texts: Path, tmp_path: Path
):
    """The folder is written all the same; with the embedded model nobody named any."""
    words = ["compress", llama, "--with", "rtn:bits=4", "--calibration", other_texts]
    done = bitlens(*words, "--save", tmp_path / "twin")
    assert done.code == 0
    assert f"Nothing is calibrated here: {other_texts} is not read." in done.out
    done = bitlens("compress", "demo", "--with", "rtn:bits=4", "--save", tmp_path / "demo")
    assert done.code == 0
    assert "not read" not in done.out


def test_what_is_no_twin_cannot_be_inspected(
    bitlens: Command, llama: Path, gpt2: Path, tmp_path: Path
):
    """Another architecture, and nothing at all."""
    done = bitlens("inspect", llama, "--twin", gpt2)
    assert done.code == 2
    assert "tiny-gpt2 is a gpt2, tiny-llama a llama." in done.err
    done = bitlens("inspect", llama, "--twin", tmp_path / "none")
    assert done.code == 2
    assert "There is no folder" in done.err


@pytest.mark.parametrize("name", ["a,b", "[a]", "a[1],run=b"])
def test_a_path_with_commas_and_brackets_is_inspected(
    bitlens: Command, llama: Path, tmp_path: Path, name: str
):
    """As it is; where a compression is written down, in brackets. Unpaired ones are refused."""
    folder = shutil.copytree(llama, tmp_path / name)
    shown = bitlens("inspect", llama, "--twin", folder)
    assert shown.code == 0, shown.err
    spec = f"checkpoint:[{folder}]" if "," in name else f"checkpoint:{folder}"
    assert f"{spec}: float32, run as" in shown.out
    assert "down_proj" in shown.out
    refused = bitlens("inspect", llama, "--twin", tmp_path / "a]b")
    assert refused.code == 2
    assert "whose brackets pair up" in refused.err


def test_all_options_reach_the_compression(
    bitlens: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Those of the model and of calibration, and nothing that measures."""
    calibration = tmp_path / "c.txt"
    calibration.write_text("words")
    asked: list[Study] = []

    def save(study: Study, out: Path, log: Any) -> None:
        asked.append(study)
        raise KeyboardInterrupt

    monkeypatch.setattr("bitlens.workflows.compress.save", save)
    bitlens(
        *("compress", "gpt2", "--with", "gptq:bits=4", "--save", tmp_path),
        *("--calibration", calibration, "--calibration_tokens", 12, "--context", 34, "--bos", "no"),
        *("--seed", 5, "--device", "cpu", "--dtype", "bfloat16", "--revision", "v1"),
        *("--compute", "float16", "--trust-remote-code"),
    )
    model = {"revision": "v1", "dtype": "bfloat16", "device": "cpu", "trust_remote_code": True}
    model["compute"] = "float16"
    assert asked == [
        Study.model_validate(
            {
                "models": [{"name": "gpt2", **model}],
                "compressions": ["gptq:bits=4"],
                "controls": [],
                "calibration": str(calibration),
                "calibration_tokens": 12,
                "context": 34,
                "bos": "no",
                "seeds": [5],
            }
        )
    ]
