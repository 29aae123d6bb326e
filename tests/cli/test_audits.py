"""demo and audit: what they print and leave behind."""

import re
from pathlib import Path
from typing import Any

import pytest

from bitlens.cli import audits as cli
from bitlens.config.study import Study
from bitlens.demo import model_path
from bitlens.results.store import Store
from tests.support.commands import Command


@pytest.mark.slow
def test_an_audit_ends_with_a_table_a_sentence_a_twin_and_the_page(
    audited: tuple[list[str], str],
):
    """And says before it starts what it will cost."""
    words, out = audited
    doubt, cost, rest = out.split("\n", 2)
    assert doubt.startswith("Doubtful: tiny-llama predicts texts.jsonl with a loss of")
    assert re.search("^✗ 1. the reference can read the text: .* is marked ✗1.$", rest, re.MULTILINE)
    assert "twins" in cost
    assert "tokens" in cost
    assert re.search(r"^ +twin +bits +size +same top$", rest, re.MULTILINE)
    assert re.search(r"^(broken|undecided|intact|damaged|changed) +rtn:bits=4 ", rest, re.MULTILINE)
    assert re.search(r"^rtn:bits=4: It ", rest, re.MULTILINE)
    assert re.search(r"^prune:sparsity=0.3: It ", rest, re.MULTILINE)
    page = Path(rest.strip().splitlines()[-1].removeprefix("Report: "))
    assert page == Path(words[-1]) / "report.html"
    assert page.stat().st_size > 100_000


@pytest.mark.slow
def test_the_store_says_which_command_made_it(audited: tuple[list[str], str]):
    """To be run again."""
    words, _ = audited
    assert Store.open(words[-1]).manifest()["command"].startswith("bitlens audit ")


@pytest.mark.slow
def test_the_same_command_again_computes_nothing(audited: tuple[list[str], str], bitlens: Command):
    """The cells stay as they are; the table is printed once more."""
    words, out = audited
    cells = sorted(Path(words[-1]).glob("cells/*/*"))
    before = [path.stat().st_mtime_ns for path in cells]
    done = bitlens(*words)
    assert done.code == 0, done.err
    assert [path.stat().st_mtime_ns for path in cells] == before
    doubt, _, time, memory, rest = out.split("\n", 4)
    assert time.startswith("It takes about ")
    assert memory.startswith("Memory, ")
    nothing = "tiny-llama: every cell is there already; nothing to compute."
    assert done.out == f"{doubt}\n{nothing}\n{rest}"


def test_all_options_reach_the_study(bitlens: Command, asked: list[Any], tmp_path: Path):
    """Lists by commas, words and numbers as they are; written with - or _."""
    text, calibration = tmp_path / "t.txt", tmp_path / "c.txt"
    for file in (text, calibration):
        file.write_text("words")
    bitlens(
        *("audit", "gpt2", "--to", "rtn:bits=4", "--to", "prune:sparsity=0.5"),
        *("--controls", "none", "--analyses", "behaviour,geometry", "--text", text),
        *("--tokens", 12, "--context", 34, "--bos", "no", "--positions", "all"),
        *("--calibration", calibration, "--calibration-tokens", 56),
        *("--labelled", "code,truth", "--labelled-place", "mean"),
        *("--tasks", "ioi,induction", "--categories", "depth", "--chat-template"),
        *("--system", "Be brief.", "--thinking", "no"),
        *("--sites", "resid.*,attn.0", "--seed", 5, "--interval", "bootstrap"),
        *("--device", "cpu", "--dtype", "bfloat16", "--revision", "v1", "--device_map", "auto"),
        *("--compute", "float16"),
        *("--memory", "8GB", "--allow", "identical,overlap,poor-fit", "--trust_remote_code"),
        *(
            "--benchmarks",
            f"mmlu_cs={tmp_path},gsm8k",
            "--limit",
            7,
            "--confirm-run-unsafe-code",
            "--include-path",
            tmp_path,
        ),
        *("--sae", tmp_path, "--sae", tmp_path.parent, "--out", tmp_path),
    )
    study, out, command, keep_going = asked[0]
    assert study.to_dict() == {
        "models": [
            {
                "name": "gpt2",
                "revision": "v1",
                "dtype": "bfloat16",
                "compute": "float16",
                "device": "cpu",
                "device_map": "auto",
                "trust_remote_code": True,
                "saes": [str(tmp_path), str(tmp_path.parent)],
            }
        ],
        "compressions": ["rtn:bits=4", "prune:sparsity=0.5"],
        "controls": [],
        "controls_on": None,
        "analyses": ["behaviour", "geometry", "causal"],
        "text": str(text),
        "tokens": 12,
        "until": None,
        "calibration": str(calibration),
        "calibration_tokens": 56,
        "labelled": ["code", "truth"],
        "labelled_place": "mean",
        "tasks": ["ioi", "induction"],
        "categories": "depth",
        "chat_template": True,
        "system": "Be brief.",
        "thinking": "no",
        "context": 34,
        "bos": "no",
        "positions": "all",
        "sites": ["resid.*", "attn.0"],
        "seeds": [5],
        "interval": "bootstrap",
        "memory": "8GB",
        "allow": ["identical", "overlap", "poor-fit"],
        "benchmarks": [f"mmlu_cs={tmp_path}", "gsm8k"],
        "limit": 7,
        "include_path": str(tmp_path),
        "confirm_run_unsafe_code": True,
    }
    assert out == tmp_path
    assert command.startswith("bitlens audit gpt2 --to rtn:bits=4 ")
    assert not keep_going


def test_without_options_the_study_has_its_defaults(
    bitlens: Command, asked: list[Any], tmp_path: Path
):
    """The command line adds none of its own."""
    bitlens("audit", "gpt2", "--to", "rtn:bits=4", "--out", tmp_path)
    assert asked[0][0] == Study.model_validate({"models": ["gpt2"], "compressions": ["rtn:bits=4"]})


@pytest.mark.slow
def test_the_demo_audits_the_embedded_model(
    bitlens: Command,
    few_sequences: None,
    no_pictures: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
):
    """8, 4 and 3 bits and pruning, each with its control; here on few tokens."""
    monkeypatch.setattr(cli, "DEMO_TOKENS", 512)
    done = bitlens("demo", "--out", tmp_path / "demo")
    assert done.code == 0, done.err
    for text in ("rtn:bits=8", "rtn:bits=4", "rtn:bits=3", "prune:sparsity=0.3"):
        assert f"\n{text}: It " in done.out
        assert re.search(rf"^[a-z]+ +{re.escape(text)} ", done.out, re.MULTILINE)
    assert str(model_path()) not in (tmp_path / "demo" / "manifest.json").read_text()


@pytest.mark.slow
def test_documents_that_are_evaluated_are_not_calibrated_on(
    bitlens: Command, llama: Path, short_texts: Path, no_pictures: None, tmp_path: Path
):
    """Unless that is allowed; then the page says so."""
    words = ["audit", llama, "--to", "gptq:bits=4", "--controls", "none"]
    words += ["--analyses", "behaviour", "--text", short_texts, "--calibration", short_texts]
    done = bitlens(*words, "--out", tmp_path / "out")
    assert (done.code, done.out.count("Report:")) == (2, 0)
    assert "24 of 24 evaluation documents (100%) share a tenth or more" in done.err
    assert "Try: another --calibration FILE or --text, or --allow overlap" in done.err
    done = bitlens(*words, "--allow", "overlap", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert "which was allowed" in (tmp_path / "out" / "report.html").read_text()
