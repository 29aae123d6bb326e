"""Controls on fewer documents than the twins: what is paired with what, and what it saves."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from bitlens.config.share import share_of
from bitlens.config.study import Study
from bitlens.engine.measurement import Measurement
from bitlens.errors import BitlensError
from bitlens.models.source import ModelSource
from bitlens.results.records import Cell
from bitlens.results.store import Store
from bitlens.seeds import generator
from bitlens.workflows.audit.cells import Cells
from bitlens.workflows.audit.fewer_controls import CellPart, joined
from bitlens.workflows.audit.run import run
from bitlens.workflows.session import Session

DOCUMENTS, FEWER = 48, 24
TWIN, NOISE = "rtn:bits=3", "noise:like=[rtn:bits=3]"


@pytest.fixture(scope="module")
def asked(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A twin on all documents, and its noise on half of them."""
    draw = generator(0, "fewer controls")
    words = ["".join(draw.choice(list("aeioustrnl"), draw.integers(1, 8))) for _ in range(60)]
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    lines = [" ".join(draw.choice(words, draw.integers(3, 7))) for _ in range(DOCUMENTS)]
    path.write_text("\n".join(json.dumps({"text": line}) for line in lines))
    return Study(
        models=(ModelSource(str(llama)),),
        compressions=(TWIN,),
        controls=("noise",),
        controls_on="50%",
        analyses=("behaviour", "geometry"),
        text=str(path),
    )


@pytest.fixture(scope="module")
def finished(asked: Study, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """It was run. Nobody writes to it."""
    return run(asked, tmp_path_factory.mktemp("fewer") / "out", "audit", lambda _: None)


def entry(store: Store, twin: str, analysis: str = "behaviour") -> dict[str, Any]:
    (found,) = [
        cell
        for cell in store.manifest()["cells"]
        if (cell["compression"], cell["analysis"]) == (twin, analysis)
    ]
    return found


def kl(store: Store, cell: str) -> float:
    (value,) = [value for value in store.read_cell(cell)[1] if value.metric == "kl"]
    assert value.value is not None
    return value.value


def documents(store: Store, twin: str) -> dict[int, tuple[int, float]]:
    """By number, the positions and the mean KL of every document that a cell was measured on."""
    table = store.read_cell_table(entry(store, twin)["id"], "documents")
    assert table is not None
    return {row["number"]: (row["positions"], row["kl"]) for row in table.to_pylist()}


def test_each_has_the_interval_of_its_documents(finished: Store) -> None:
    """The twin is measured on all, the control on half; the corpus says so."""
    rows = finished.read_table("estimates").to_pylist()
    on = {row["compression"]: row["documents"] for row in rows if row["metric"] == "kl"}
    assert on == {TWIN: DOCUMENTS, NOISE: FEWER}
    notes = finished.manifest()["corpora"][0]["notes"]
    assert any("on the first 24 of 48 documents" in note for note in notes)


def test_a_contrast_is_of_the_documents_that_both_were_measured_on(finished: Store) -> None:
    """The twin's number in it is the mean over the control's documents, from the table of all."""
    mine, theirs = documents(finished, TWIN), documents(finished, NOISE)
    assert len(theirs) == FEWER < len(mine) == DOCUMENTS
    positions, means = np.array([mine[number] for number in theirs]).T
    there = float((positions * means).sum() / positions.sum())
    assert kl(finished, entry(finished, TWIN)["paired"]) == pytest.approx(there, rel=1e-5)
    rows = finished.read_table("contrasts").to_pylist()
    (row,) = [r for r in rows if (r["metric"], r["control"]) == ("kl", NOISE)]
    noise = kl(finished, entry(finished, NOISE)["id"])
    assert row["difference"] == pytest.approx(there - noise, abs=1e-6)
    assert (row["documents"], row["reason"]) == (FEWER, None)
    assert row["low"] < row["difference"] < row["high"]
    local = [r for r in rows if r["control"] == NOISE and "local" in r["item"]]
    assert local
    assert all(r["reason"] is None for r in local if r["difference"] is not None)
    with_reference = {r["documents"] for r in rows if r["control"] == "reference"}
    assert DOCUMENTS in with_reference


def test_a_twin_that_fails_beside_controls_alone_has_not_failed(asked: Study) -> None:
    """Its cell of all documents stands; a control that fails has none."""
    session = Session.open(asked, print, source=asked.models[0], seed=0)
    cell = Cell(model="m", compression="", analysis="behaviour", seed=0, settings={})
    of = [{(text, "behaviour"): cell} for text in (TWIN, NOISE)]
    why = {(TWIN, "behaviour"): "it overflowed", (NOISE, "behaviour"): "it too"}
    mine = Cells(by_key=of[0], analyses=("behaviour",), failed={})
    parts = [
        SimpleNamespace(cells=mine),
        SimpleNamespace(cells=replace(mine, by_key=of[0] | of[1], failed=why)),
    ]
    found = joined(cast("list[CellPart]", parts), session.requests())
    assert dict(found.failed) == {(NOISE, "behaviour"): "it too"}
    assert found.paired == {}


@pytest.mark.slow
def test_the_same_command_again_measures_nothing(
    asked: Study, finished: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells beside controls are found again as all others are."""
    monkeypatch.setattr(Measurement, "__init__", lambda *_, **__: pytest.fail("measured again"))
    before = (finished.root / "contrasts.parquet").read_bytes()
    run(asked, finished.root, "audit", lambda _: None)
    assert (finished.root / "contrasts.parquet").read_bytes() == before


def test_a_share_by_number_and_in_percent() -> None:
    """12.5 % of 60 are eight, as nothing is measured on half a document."""
    assert [share_of(text, 60) for text in ("25%", "12.5%", "7", "100%")] == [15, 8, 7, 60]


@pytest.mark.parametrize("text", ["", "0", "0%", "101%", "2.5", "-3", "half"])
def test_a_share_that_is_none_is_refused(text: str) -> None:
    """What is meant is said."""
    with pytest.raises(BitlensError, match="The share of the documents is") as refused:
        Study(models=["gpt2"], compressions=["rtn:bits=4"], controls_on=text)
    assert refused.value.remedy == "25%"
