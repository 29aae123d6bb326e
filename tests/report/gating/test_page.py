"""What the page on the gate says to type works."""

import shlex
import shutil
import sys
from pathlib import Path

import pytest

from bitlens import cli
from tests.support.doc_pages import DOCS, blocks
from tests.support.gate_stores import gate_store


def test_the_page_on_the_gate_works(
    deep_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its commands in their order, with its rules, on runs of the names that it uses: drafted rules
    pass, and the others end in a verdict."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(deep_store, "bitlens-demo")
    gate_store(tmp_path / "results")
    gate_store(tmp_path / "results-before")
    strict, kept, _ = blocks(DOCS / "gate.md", "yaml")
    Path("strict.yaml").write_text(strict, encoding="utf-8")
    Path("kept.yaml").write_text(kept, encoding="utf-8")
    lines = [line for block in blocks(DOCS / "gate.md", "bash") for line in block.splitlines()]
    codes = []
    for line in lines:
        if line.startswith("bitlens gate "):
            monkeypatch.setattr(sys, "argv", shlex.split(line))
            with pytest.raises(SystemExit) as stop:
                cli.main()
            codes.append(stop.value.code)
    assert codes == [0, 0, 1, 0]
