"""`bench`: the example of the documentation, and what is refused."""

import json
from pathlib import Path

import pytest

from bitlens.results.benchmarks.folder import read_benchmarks
from bitlens.results.records import REFERENCE
from tests.support.commands import Command
from tests.support.doc_pages import DOCS

EXAMPLE = DOCS / "examples" / "benchmark"
ASKED = ("--benchmarks", f"next_code={EXAMPLE / 'next_code.jsonl'}", "--include-path", EXAMPLE)


@pytest.mark.slow
def test_the_example_runs_and_goes_on(bitlens: Command, tmp_path: Path) -> None:
    """The harness' YAML over a local file: the reference does far better than chance, two bits
    lose it, and that is said; the same command again computes nothing."""
    words = [
        "bench",
        "demo",
        "--to",
        "rtn:bits=2",
        "--controls",
        "none",
        *ASKED,
        "--out",
        tmp_path / "out",
    ]
    done = bitlens(*words)
    assert done.code == 0, done.err
    assert "rtn:bits=2 loses " in done.out
    assert "Compression costs right answers on" in (tmp_path / "out" / "report.html").read_text()
    found = read_benchmarks(tmp_path / "out")
    right = [o.score for o in found.of("bitlens-demo", REFERENCE, "next_code")]
    assert len(right) == 40
    assert sum(right) >= 32
    assert {len(depth.margins) for depth in found.depths} == {4}
    assert "nothing to compute" in bitlens(*words).out


@pytest.mark.slow
def test_beside_an_audit_it_is_a_section_and_rows(
    bitlens: Command, short_texts: Path, tmp_path: Path
) -> None:
    """The page has it, the export too."""
    words = [
        "--to",
        "rtn:bits=2",
        "--analyses",
        "behaviour",
        "--text",
        short_texts,
        "--controls",
        "none",
    ]
    out = tmp_path / "out"
    done = bitlens("audit", "demo", *words, "--tokens", 800, *ASKED, "--limit", 24, "--out", out)
    assert done.code == 0, done.err
    assert "What was asked" in (out / "report.html").read_text()
    exported = bitlens("export", out, "--format", "csv", "--out", tmp_path / "rows.csv")
    assert exported.code == 0
    assert ",benchmarks,recovery,logits,next_code," in (tmp_path / "rows.csv").read_text()


@pytest.mark.slow
def test_what_is_written_is_scored_and_kept(
    bitlens: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """GSM8K's metrics under the harness' names, each model's text with its end; batches are gone
    when all is there, and the same command again computes nothing."""
    rows = [{"question": f"What is {n} + 1?", "answer": f"It is #### {n + 1}"} for n in range(8)]
    path = tmp_path / "gsm8k.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setattr("bitlens.workflows.bench.generations.BUDGET", 6)
    out = tmp_path / "out"
    words = ["bench", "demo", "--to", "rtn:bits=2", "--controls", "none", "--out", out]
    done = bitlens(*words, "--benchmarks", f"gsm8k={path}")
    assert done.code == 0, done.err
    found = read_benchmarks(out)
    (task,) = found.tasks
    assert (task.version, task.shots, task.questions) == ("3.0", 5, 3)
    assert task.metrics == ("exact_match,strict-match", "exact_match,flexible-extract")
    assert len(found.outcomes) == 2 * 2 * 3
    for who in (REFERENCE, "rtn:bits=2"):
        texts = found.written("bitlens-demo", who, "gsm8k")
        assert [one.doc for one in texts] == [0, 1, 2]
        assert all(0 < one.tokens <= 6 for one in texts)
    assert all(one.shared is None for one in found.written("bitlens-demo", REFERENCE, "gsm8k"))
    assert not (out / "generations").exists()
    assert "nothing to compute" in bitlens(*words, "--benchmarks", f"gsm8k={path}").out


def test_code_is_not_run_unasked(bitlens: Command, tmp_path: Path) -> None:
    """Exit code 2 before a model is loaded, and the option that allows it."""
    path = tmp_path / "HumanEval.jsonl"
    path.write_text(json.dumps(dict.fromkeys(("task_id", "prompt", "entry_point", "test"), "f")))
    words = ("--benchmarks", f"humaneval={path}", "--out", tmp_path / "out")
    done = bitlens("bench", "demo", "--to", "rtn:bits=4", *words)
    assert done.code == 2
    assert "humaneval runs code that a model wrote" in done.err
    assert "--confirm-run-unsafe-code" in done.err


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ((), "--benchmarks names nothing"),
        (("--benchmarks", "mmlu_cs="), "mmlu_cs=FOLDER"),
        (("--benchmarks", "mmlu_cs=absent"), "There is no absent, which mmlu_cs"),
        (("--benchmarks", "mmlu_cs"), "no file of it is named"),
        (("--benchmarks", "mmlu_cs", "--limit", "0"), "limit"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    asked: tuple[str, ...], why: str, bitlens: Command, tmp_path: Path
) -> None:
    """Before a model is loaded, with what to type."""
    done = bitlens("bench", "demo", "--to", "rtn:bits=4", *asked, "--out", tmp_path / "out")
    assert done.code == 2
    assert why in done.err


def test_without_the_harness_the_extra_is_named(
    bitlens: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is no part of bitlens."""
    monkeypatch.setattr("bitlens.workflows.bench.harness.find_spec", lambda name: None)
    done = bitlens("bench", "demo", "--to", "rtn:bits=4", *ASKED, "--out", tmp_path / "out")
    assert done.code == 2
    assert "pip install 'bitlens[bench]'" in done.err
