"""From a model to folders: what is trained, resumed, refused and shown."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bitlens.config.sae_grid import SaeGrid
from bitlens.config.study import audit_of
from bitlens.errors import BitlensError
from bitlens.report.page.parts import Table
from bitlens.sae.formats.load import load_sae
from bitlens.sae.training import trainer as loop
from bitlens.workflows.train_sae.run import RECORD, read_record, train_saes

Run = Callable[..., tuple[list[dict[str, str]], list[str]]]


@pytest.fixture
def run(llama: Path, short_texts: Path, other_texts: Path) -> Run:
    """Training on a tiny model: the rows of the table by title; what was said, and below it."""

    def make(
        out: Path, *on: str, memory: str | None = None, text: Path = short_texts, **settings: Any
    ) -> tuple[list[dict[str, str]], list[str]]:
        said: list[str] = []
        wanted = [spec for spec in on if spec != "reference"]
        study = audit_of(
            str(llama), wanted or "nothing", controls=(), text=str(text), memory=memory,
            calibration=str(other_texts) if wanted else None, tokens=0,
        )  # fmt: skip
        grid = SaeGrid(
            **{"site": "resid.0", "widths": ("2x",), "ks": (4,), "epochs": 30, **settings}
        )
        table: Table = train_saes(study, on, grid, out, said.append)
        titles = [column.title for column in table.columns]
        return [dict(zip(titles, row, strict=True)) for row in table.rows], [*said, table.caption]

    return make


def files(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


def test_one_sae_is_a_folder_that_fits_its_model(run: Run, tmp_path: Path) -> None:
    """With its place, its figures of held-out documents, and nothing left over."""
    rows, said = run(tmp_path / "sae")
    assert files(tmp_path / "sae") == [
        "cfg.json",
        "sae_weights.safetensors",
        "sparsity.safetensors",
        RECORD,
    ]
    sae = load_sae(tmp_path / "sae")
    assert (sae.hook, sae.architecture, sae.k) == ("blocks.0.hook_resid_post", "topk", 4)
    assert sae.latents == 2 * sae.width
    assert sae.trained_on.model == "tiny-llama"
    record = json.loads((tmp_path / "sae" / RECORD).read_text())
    assert rows[0]["of"] == "reference"
    assert rows[0]["FVU"] == f"{record['held out']['fvu']:.1%}"
    assert said[0].startswith("Doubtful: tiny-llama predicts")
    assert "22 documents to learn from, 2 documents held out" in said[1]
    assert "30 steps of 2,048 positions are few" in said[2]
    assert sum(record["dead"].values()) == round((1 - record["held out"]["alive"]) * sae.latents)
    assert sae.firing_rate is not None
    assert float(sae.firing_rate.sum()) == pytest.approx(record["held out"]["l0"], rel=1e-5)
    assert int((sae.firing_rate == 0).sum()) == sum(record["dead"].values())


@pytest.mark.slow
def test_one_that_describes_nothing_is_said(run: Run, tmp_path: Path) -> None:
    """Below the table, by name: audit would refuse it."""
    rows, said = run(tmp_path / "grid", "reference", rate=100.0, seeds=(0, 1))
    assert all(float(row["FVU"].rstrip("%")) > 50 for row in rows)
    assert "seed0, seed1: more than 50% is left unexplained" in said[-1]
    rows, said = run(tmp_path / "sae", widths=("4x",), ks=(16,), epochs=100)
    assert float(rows[0]["FVU"].rstrip("%")) < 50
    assert "refuse such" not in said[-1]


@pytest.mark.slow
def test_precisions_and_seeds_train_in_one_pass(run: Run, tmp_path: Path) -> None:
    """A folder each, named after what differs, and the same weights as alone."""
    rows, _ = run(tmp_path / "grid", "reference", "gptq:bits=3", seeds=(0, 1))
    assert {row["SAE"] for row in rows} == {path.name for path in (tmp_path / "grid").iterdir()}
    assert len(rows) == 4
    assert {row["of"] for row in rows} == {"reference", "gptq:bits=3"}
    run(tmp_path / "alone", "gptq:bits=3", seeds=(1,))
    (twin,) = (
        r["SAE"]
        for r in rows
        if r["of"] != "reference" and r["SAE"].startswith("gptq") and "seed1" in r["SAE"]
    )
    alone, beside = load_sae(tmp_path / "alone"), load_sae(tmp_path / "grid" / twin)
    assert torch.equal(alone.w_enc, beside.w_enc)
    assert torch.equal(alone.w_dec, beside.w_dec)
    reference = load_sae(tmp_path / "grid" / "reference.seed1")
    assert reference.trained_on.seed == beside.trained_on.seed == 1
    assert not torch.equal(reference.w_enc, beside.w_enc)


@pytest.mark.slow
def test_a_killed_run_goes_on_and_a_finished_one_is_left_alone(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped half-way, the same command ends with the same weights; once more it trains nothing;
    other settings are refused."""
    written = loop.write_checkpoint  # type: ignore[attr-defined]
    count = 0

    def until(*args: Any) -> None:
        nonlocal count
        written(*args)
        count += 1
        if count == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "write_checkpoint", until)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "killed")
    assert files(tmp_path / "killed") == ["checkpoint.safetensors"]
    run(tmp_path / "killed")
    run(tmp_path / "whole")
    killed, whole = load_sae(tmp_path / "killed"), load_sae(tmp_path / "whole")
    assert torch.equal(killed.w_enc, whole.w_enc)
    assert torch.equal(killed.b_dec, whole.b_dec)
    before = (tmp_path / "whole" / "sae_weights.safetensors").stat().st_mtime_ns
    assert run(tmp_path / "whole")[0] == run(tmp_path / "whole")[0]
    assert (tmp_path / "whole" / "sae_weights.safetensors").stat().st_mtime_ns == before
    with pytest.raises(BitlensError, match=r"trained with other settings: .*epochs 30, not 31"):
        run(tmp_path / "whole", epochs=31)


def test_what_stopped_a_training_is_said_where_it_is_measured(
    llama: Path, short_texts: Path, tmp_path: Path
) -> None:
    """Held-out documents that chose the weights: in the caption and in the record."""
    study = audit_of(str(llama), "nothing", controls=(), text=str(short_texts), tokens=0)
    for patience in (0, 1):
        out = tmp_path / str(patience)
        grid = SaeGrid(site="resid.0", widths=("2x",), ks=(4,), patience=patience)
        table = train_saes(study, [], grid, out, print)
        assert ("(--patience 1)" in table.caption) == bool(patience)
        record = json.loads((out / RECORD).read_text())
        assert record["stopped by held out"] == bool(patience)


def test_what_does_not_fit_is_streamed_once_and_said(run: Run, tmp_path: Path) -> None:
    """One epoch instead of those asked for."""
    rows, said = run(tmp_path / "sae", memory="300KB", epochs=4)
    assert any("streamed and learnt from once, not 4 times" in line for line in said)
    steps = int(rows[0]["steps"].split()[0])
    record = json.loads((tmp_path / "sae" / RECORD).read_text())
    assert record["made by"]["epochs"] == 1
    assert steps == sum(max(1, size // 2048) for size in record["made by"]["chunks"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["standard", "batchtopk", "gated", "jumprelu", "seed-plain", "seed-gated"]
)
def test_every_architecture_is_written_and_read(run: Run, tmp_path: Path, kind: str) -> None:
    """By the name under which SAELens knows it, the sigmoid's under its own."""
    ks = {"ks": (4,)} if kind == "batchtopk" else {"ks": ()}
    run(tmp_path / "sae", architecture=kind, **ks)
    known = {"batchtopk": "jumprelu", "seed-plain": "standard"}
    assert load_sae(tmp_path / "sae").architecture == known.get(kind, kind)


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"site": "heads.0"}, "one site as wide as the model"),
        ({"site": "resid.*"}, "one site as wide as the model"),
        ({"site": "resid.9"}, "There is no site"),
        ({"widths": ("0.5x",), "ks": (99,)}, "k is 99"),
        ({"held_out": 1.5}, "share of documents held out is 1.5"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    run: Run, tmp_path: Path, settings: dict[str, Any], found: str
) -> None:
    """Before anything is written."""
    with pytest.raises(BitlensError, match=found):
        run(tmp_path / "sae", **settings)
    assert not (tmp_path / "sae").exists()


def test_other_folders_are_left_alone(run: Run, tmp_path: Path) -> None:
    """A folder with something else in it, a file, and a model that is named twice."""
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BitlensError, match=r"holds thesis\.txt"):
        run(tmp_path)
    with pytest.raises(BitlensError, match="is a file"):
        run(tmp_path / "thesis.txt")
    with pytest.raises(BitlensError, match="names reference twice"):
        run(tmp_path / "sae", "reference", "reference")


@pytest.mark.parametrize(
    ("way", "value"),
    [
        (("made by", "of"), ["a"]),
        (("made by", "recipe"), 5),
        (("held out", "colour"), 1),
        (("held out", "l0"), "few"),
        (("dead",), {"silent": "many"}),
        (("looks",), 3),
    ],
)
def test_a_record_that_somebody_changed_is_refused(
    tmp_path: Path, way: tuple[str, ...], value: Any
) -> None:
    """With the file and the key."""
    record: dict[str, Any] = {
        "made by": {"of": "reference", "recipe": {"steps": 5}, "site": "resid.1"},
        "latents": 8,
        "positions": 100,
        "steps": 5,
        "held out": {"positions": 9, "fvu": 0.1, "l0": 2.0, "alive": 1.0},
        "stopped by held out": False,
        "dead": {},
        "looks": [],
    }
    (tmp_path / "training.json").write_text(json.dumps(record))
    assert read_record(tmp_path) == record
    inner = record
    for step in way[:-1]:
        inner = inner[step]
    inner[way[-1]] = value
    (tmp_path / "training.json").write_text(json.dumps(record))
    with pytest.raises(BitlensError, match=rf"training\.json cannot be read: .*{way[-1]}"):
        read_record(tmp_path)
