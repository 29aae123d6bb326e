"""`bench`: the example of the documentation, and what is refused."""

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
