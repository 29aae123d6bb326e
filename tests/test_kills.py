"""Killed after any file took its place, the same command ends in the same bytes; nothing is left.

A process that is killed cleans nothing up: from the chosen rename on, nothing is removed either.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bitlens.compression.calibration import cache as kept
from bitlens.config.sae_grid import SaeGrid
from bitlens.config.study import audit_of
from bitlens.report import build
from bitlens.sae.formats.load import save_sae
from bitlens.sae.sae import TrainedOn
from bitlens.workflows.audit.run import run
from bitlens.workflows.compress import save
from bitlens.workflows.repair_sae import RepairRequest, repair_run
from bitlens.workflows.train_sae.run import train_saes
from tests.support.results import RUN
from tests.support.saes import small_sae

Work = Callable[[Path], object]


class Killed(BaseException):
    """The process is no more."""


@contextmanager
def killed_after(renames: int) -> Iterator[list[str]]:
    """What was renamed; with the last of so many renames the process ends."""
    done: list[str] = []
    real = {name: getattr(os, name) for name in ("replace", "unlink", "rmdir")}

    def rename(source: Any, target: Any, **more: Any) -> None:
        real["replace"](source, target, **more)
        done.append(Path(target).name)
        if len(done) == renames:
            raise Killed

    def removing(name: str) -> Callable[..., None]:
        def remove(path: Any, **more: Any) -> None:
            if len(done) < renames:
                real[name](path, **more)

        return remove

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", rename)
        for name in ("unlink", "rmdir"):
            patch.setattr(os, name, removing(name))
        try:
            yield done
        except Killed:
            assert len(done) == renames


def contents(folder: Path) -> dict[str, bytes]:
    """Every file, hidden ones too."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }


def after_every_rename(work: Work, folder: Path) -> list[str]:
    """Which files were renamed in all, each of which was once the last."""
    with killed_after(1 << 30) as renamed:
        work(folder / "whole")
    whole = contents(folder / "whole")
    assert whole
    assert not [name for name in whole if name.endswith((".writing", ".lock"))]
    for number in range(1, len(renamed) + 1):
        with killed_after(number) as done:
            work(folder / f"{number}")
        assert done == renamed[:number]
        work(folder / f"{number}")
        assert contents(folder / f"{number}") == whole, f"killed after {done[-1]}"
    return renamed


def silent(line: str) -> None:
    pass


@pytest.fixture
def model(llama: Path, short_texts: Path, other_texts: Path) -> dict[str, Any]:
    """Settings of a short audit of a tiny model."""
    return {
        "controls": (), "analyses": ("behaviour",), "tokens": 300, "text": str(short_texts),
        "context": 32, "calibration": str(other_texts), "calibration_tokens": 600,
    }  # fmt: skip


@pytest.mark.slow
def test_an_audit(
    llama: Path, model: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its calibrated twin, its cells, its tables, its manifest last, and its report."""
    study = audit_of(str(llama), "gptq:bits=3", **model)
    monkeypatch.setattr("bitlens.report.build.pictures", lambda figure: {})
    # It is kept beside the twins once for all pages, and in memory.
    monkeypatch.setattr("bitlens.report.page.html.script", lambda: "")
    # How long it took stands on the page.
    monkeypatch.setattr("bitlens.workflows.audit.run.run_record", lambda seconds: RUN)

    def work(folder: Path) -> None:
        monkeypatch.setenv(kept.ENVIRONMENT, str(folder / "cache"))
        build.build(run(study, folder / "out", "audit", silent).root)

    renamed = after_every_rename(work, tmp_path)
    assert renamed[0] == "store.json"
    assert renamed[-3:] == [
        "manifest.json",
        "summary.md",
        "report.html",
    ]
    assert {"record.json", "block.0.safetensors", "cell.json", "run.json"} < set(renamed)


def test_a_compression(llama: Path, model: dict[str, Any], tmp_path: Path) -> None:
    """Its record, and the folder itself; a finished one is left as it is."""
    study = audit_of(str(llama), "rtn:bits=4", controls=())

    def work(folder: Path) -> None:
        save(study, folder / "out", silent)

    assert after_every_rename(work, tmp_path)[-2:] == ["bitlens.json", "out"]


@pytest.mark.slow
def test_a_training(llama: Path, model: dict[str, Any], tmp_path: Path) -> None:
    """Checkpoints of SAEs that learn side by side and may stop early: one that has looked before
    the kill does not look twice."""
    study = audit_of(str(llama), "nothing", controls=(), tokens=1500, text=model["text"])
    grid = SaeGrid(
        site="resid.0", widths=("2x",), ks=(4,), epochs=9, seeds=(0, 1), patience=1, rate=0.02
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bitlens.sae.training.trainer.train.__defaults__", (0, False, 3))
        work: Work = lambda folder: train_saes(study, [], grid, folder / "out", silent)  # noqa: E731
        renamed = after_every_rename(work, tmp_path)
    assert renamed.count("checkpoint.safetensors") >= 4
    assert renamed.count("training.json") == 2


@pytest.mark.slow
def test_a_repair(llama: Path, model: dict[str, Any], tmp_path: Path) -> None:
    """The SAE, its record, and the folder itself."""
    study = audit_of(str(llama), "rtn:bits=2", allow=("poor-fit",), **model)
    run(study, tmp_path / "results", "audit", silent)
    width = 64
    sae = replace(small_sae(width=width), hook="resid.1", trained_on=TrainedOn(model="tiny-llama"))
    save_sae(sae, tmp_path / "sae")
    request = RepairRequest(
        results=tmp_path / "results",
        twin="rtn:bits=2",
        sae=str(tmp_path / "sae"),
        calibration_tokens=600,
    )

    def work(folder: Path) -> None:
        repair_run(request, folder / "out", silent)

    renamed = after_every_rename(work, tmp_path / "repairs")
    assert renamed == ["sae_weights.safetensors", "cfg.json", "repair.json", "out"]
