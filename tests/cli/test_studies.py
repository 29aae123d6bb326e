"""study: its grid, and what goes on after a failure."""

import re
from pathlib import Path

import pytest

from bitlens.results.store import Store
from tests.support.commands import Command


@pytest.mark.slow
def test_a_study_goes_on_after_a_failure_and_says_so(
    bitlens: Command, llama: Path, short_texts: Path, no_pictures: None, tmp_path: Path
):
    """What could be measured is there; what could not has its reason; the exit code is 1."""
    path = tmp_path / "study.yaml"
    path.write_text(
        f"models: [{llama}]\ncompressions: ['rtn:bits=4', 'rtn:bits=4,group=7']\n"
        f"controls: []\nanalyses: [behaviour]\ntext: {short_texts}\n"
    )
    done = bitlens("study", path, "--out", tmp_path / "grid")
    assert done.code == 1
    assert "\nrtn:bits=4: It " in done.out
    assert "rtn:bits=4,group=7: It could not be measured: " in done.out
    assert "Failed:" in done.err
    assert "does not divide" in done.err
    assert (tmp_path / "grid" / "report.html").exists()


@pytest.mark.slow
def test_a_study_says_what_to_calibrate_on(
    bitlens: Command, llama: Path, short_texts: Path, no_pictures: None, tmp_path: Path
):
    """And what is allowed: documents that are evaluated too, which its checks then say."""
    path = tmp_path / "study.yaml"
    path.write_text(
        f"models: [{llama}]\ncompressions: ['gptq:bits=4']\ncontrols: []\nanalyses: [behaviour]\n"
        f"text: {short_texts}\ncalibration: {short_texts}\ncalibration_tokens: 500\n"
    )
    done = bitlens("study", path, "--out", tmp_path / "grid")
    assert done.code == 2
    assert "with the calibration documents" in done.err
    path.write_text(path.read_text() + "allow: [overlap]\n")
    done = bitlens("study", path, "--out", tmp_path / "grid")
    assert done.code == 0, done.err
    checks = {c["name"]: c for c in Store.open(tmp_path / "grid").manifest()["checks"]}
    overlap = checks["calibration and evaluation are apart"]
    assert overlap["passed"] is False
    assert overlap["detail"].endswith("which was allowed")


@pytest.mark.parametrize("kind", ["", "train: {site: resid.1, width: [8x], tokens: [1000]}\n"])
@pytest.mark.parametrize("check", [[], ["--check"]])
def test_a_study_that_asks_to_run_code_is_refused(
    bitlens: Command, tmp_path: Path, kind: str, check: list[str]
):
    """With the option to type; also where it is only checked."""
    path = tmp_path / "study.yaml"
    path.write_text(
        "models: [{name: evil, trust_remote_code: true}]\ncompressions: ['rtn:bits=4']\n"
        f"text: a.txt\n{kind}"
    )
    done = bitlens("study", path, "--out", tmp_path / "grid", *check)
    assert done.code == 2
    assert "asks to run code that comes with evil" in done.err
    assert "Try: read that code, then --trust-remote-code." in done.err


def test_a_study_is_checked_without_running(bitlens: Command, tmp_path: Path):
    """The grid and the number of its cells, what it needs and what it does not know of; nothing
    is loaded, fetched or written."""
    path = tmp_path / "study.yaml"
    path.write_text(
        "models: [gpt2, nowhere]\ncompressions: ['rtn:bits=4', 'rtn:bits=3', 'rtn:bits=8']\n"
        "analyses: [behaviour]\nseeds: [0, 1]\ntext: a.txt\n"
    )
    done = bitlens("study", path, "--out", tmp_path / "grid", "--check")
    assert done.code == 0
    assert "gpt2, nowhere" in done.out
    for told in ("saes: +none", "text: +a.txt", "tokens: +65,536 at most"):
        assert re.search(told, done.out)
    assert "\n12 cells, and those of the controls.\n" in done.out
    assert re.search("from the hub: gpt2, nowhere\nnot here: +a.txt\n", done.out)
    assert done.out.count("needs the hub") == 2
    path.write_text(path.read_text() + "controls: []\ntokens: 0\n")
    done = bitlens("study", path, "--out", tmp_path / "grid", "--check")
    assert "\n12 cells.\n" in done.out
    assert re.search("tokens: +all", done.out)
    assert not (tmp_path / "grid").exists()


def test_a_check_tells_what_a_model_costs_and_what_does_not_fit_it(
    bitlens: Command, llama: Path, tmp_path: Path
):
    """Of a folder's configuration: its weights are not touched, and may be missing."""
    folder, path = tmp_path / "bare", tmp_path / "study.yaml"
    folder.mkdir()
    (folder / "config.json").write_bytes((llama / "config.json").read_bytes())
    text = f"models: [{folder}]\ncompressions: ['rtn:bits=4']\nanalyses: [behaviour]\n"
    path.write_text(text)
    done = bitlens("study", path, "--out", tmp_path / "o", "--check")
    assert done.code == 0, done.err
    assert re.search("from the hub: nothing\nnot here: +nothing\n", done.out)
    assert re.search(r"bare +[\d,]+ +[\d.]+ kB +3 +[\d.]+ [MG]FLOP", done.out)
    path.write_text(text.replace("rtn:bits=4", "rtn:bits=4,group=7"))
    done = bitlens("study", path, "--out", tmp_path / "o", "--check")
    assert done.code == 2
    assert done.err.startswith("bare: ")
    assert "does not divide" in done.err


@pytest.mark.slow
def test_a_study_of_trained_saes_is_checked_and_run_in_parts(
    bitlens: Command, llama: Path, short_texts: Path, tmp_path: Path
):
    """The axes with what is left of them, how many SAEs and what they cost; then the page. A part
    of an audit's study is refused, and of this one what is not on an axis."""
    path, out = tmp_path / "study.yaml", tmp_path / "out"
    path.write_text(
        "train: {site: resid.0, width: [1x, 2x], k: [4], tokens: [800, 1600], seed: [0, 1, 2],"
        f" held_out: 500}}\nmodels: ['{llama}']\ncompressions: ['rtn:bits=4']\n"
        f"text: '{short_texts}'\n"
    )
    part = ["--only", "seed=0,1", "--only", "width=1x", "--only", "tokens=800"]
    done = bitlens("study", path, "--out", out, *part, "--check")
    assert done.code == 0, done.err
    assert re.search(r"width: +1x\n", done.out)
    assert re.search(r"seed: +0, 1\n", done.out)
    assert re.search(r"\nall +4 ", done.out)
    assert "TFLOP" in done.out
    assert not out.exists()
    done = bitlens("study", path, "--out", out, *part)
    assert done.code == 0, done.err
    assert f"Report: {out / 'report.html'}" in done.out.replace("\n", "")
    done = bitlens("study", path, "--out", out, "--only", "width=3x")
    assert done.code == 2
    assert "--only width=3x is not in this study" in done.err
    other = tmp_path / "audit.yaml"
    other.write_text(f"models: ['{llama}']\ncompressions: ['rtn:bits=4']\n")
    done = bitlens("study", other, "--out", out, "--only", "width=1x")
    assert done.code == 2
    assert "trains no SAEs" in done.err
