"""Tests of audits that set twins beside their reference."""

from pathlib import Path

import pytest
import torch

from bitlens.config.study import Study
from bitlens.models.source import ModelSource
from bitlens.workflows.audit.beside import about_pairs, set_beside
from bitlens.workflows.audit.run import run
from bitlens.workflows.session import Session
from tests.support import tiny


@pytest.mark.parametrize(
    ("family", "whole"),
    [("llama", ""), ("mixtral", " (whole, in float32, all the same: mlp.experts.down_proj, ")],
)
def test_what_is_multiplied_whole_is_said(family: str, whole: str) -> None:
    """Fused experts, by name; of an ordinary model nothing."""
    check = about_pairs(tiny.layout(family))
    assert check.passed
    assert f"multiplied, in bfloat16{whole}" in check.detail


@pytest.mark.parametrize(
    ("compute", "expected"),
    [("auto", False), ("paired", True), ("float32", False), ("bfloat16", False)],
)
def test_who_is_paired(compute: str, expected: bool, llama: Path) -> None:
    """Where it was asked for alone: what nobody chose is the same on every machine."""
    source = ModelSource(str(llama), device="cpu", compute=compute)  # type: ignore[arg-type]
    session = Session.open(Study(models=(source,), compressions=("rtn:bits=4",)), lambda _: None)
    set_beside(session)
    assert session.layout.paired == expected
    assert session.layout.compute == (torch.bfloat16 if compute == "bfloat16" else torch.float32)


@pytest.mark.slow
def test_an_audit_says_so(llama: Path, short_texts: Path, tmp_path: Path) -> None:
    """Before it runs, among its checks and in every cell, which no other compute finds again; the
    model is said to compute in float32."""
    study = Study(
        models=(ModelSource(str(llama), device="cpu", compute="paired"),),
        compressions=("rtn:bits=8",),
        controls=(),
        analyses=("behaviour",),
        text=str(short_texts),
        context=64,
    )
    told: list[str] = []
    store = run(study, tmp_path / "store", "test", told.append)
    said = "Twins beside their reference: the reference is computed in float32; of twins only"
    assert any(line.startswith(said) for line in told)
    manifest = store.manifest()
    assert [model["compute"] for model in manifest["models"]] == ["float32"]
    assert any(c["name"] == "twins beside their reference" for c in manifest["checks"])
    cells = [store.read_cell(cell["id"])[0] for cell in manifest["cells"]]
    assert {cell.settings["paired"] for cell in cells} == {True}
