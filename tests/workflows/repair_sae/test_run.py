"""Repair from end to end: the model that ships, measured on documents nothing was learnt from."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bitlens.config.study import audit_of
from bitlens.demo import calibration_path, evaluation_path, sae_paths
from bitlens.engine.reader import ActivationReader
from bitlens.engine.runs import REFERENCE
from bitlens.engine.swept_model import Reference
from bitlens.errors import BitlensError
from bitlens.results.store import MANIFEST, Store
from bitlens.sae.formats.load import load_sae
from bitlens.workflows.audit.run import run
from bitlens.workflows.repair_sae import run as repairs
from bitlens.workflows.repair_sae.run import RECORD, RepairRequest, repair_run
from tests.support import tiny

SAE = str(sae_paths()[0])
TWIN = "rtn:bits=3"
TOKENS = 16_384


def silent(text: str) -> None:
    pass


def asked(results: Path, **settings: Any) -> RepairRequest:
    """The SAE's repair for the twin of these results, or another one."""
    given = {"twin": TWIN, "sae": SAE, "calibration_tokens": TOKENS, **settings}
    return RepairRequest(results=results, **given)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audit of the demo at three bits."""
    folder = tmp_path_factory.mktemp("results")
    study = audit_of(
        "demo", [TWIN, "nothing"], controls=(), analyses=("behaviour", "features"), tokens=4096,
        allow=("identical",), saes=(SAE,),
    )  # fmt: skip
    run(study, folder, "an audit", silent)
    return folder


@pytest.fixture(scope="module")
def repaired(
    results: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Any, list[str]]:
    """Its SAE repaired, the table, and what was said."""
    out, said = tmp_path_factory.mktemp("repaired") / "sae", list[str]()
    return out, repair_run(asked(results), out, said.append), said


@pytest.mark.slow
def test_a_share_of_the_lost_survival_is_had_back(repaired: tuple[Path, Any, list[str]]) -> None:
    """Surely: the interval over documents is above 0; the linear map does more than a gain and an
    offset, and the SAE as it is is what the audit measures."""
    record = json.loads((repaired[0] / RECORD).read_text())
    assert record["chosen"] == "linear map"
    steps = {name: step["evaluation"] for name, step in record["steps"].items()}
    back = steps["linear map"]["recovered"]
    assert 0 < back["low"] < back["value"] < back["high"] < 1
    assert back["value"] > steps["gain and offset"]["recovered"]["value"]
    r = [steps[n]["features.r"]["value"] for n in ("as it is", "gain and offset", "linear map")]
    assert r == sorted(r)
    survived = [steps[n]["features.survived"]["value"] for n in ("as it is", "linear map")]
    wanted = (survived[1] - survived[0]) / (1 - survived[0])
    assert back["value"] == pytest.approx(wanted)
    latents = record["latents"]
    assert len(latents["repaired"]) > len(latents["lost by the repair"])
    assert record["readable"]["repaired"] > record["readable"]["not repaired"]


@pytest.mark.slow
def test_it_is_measured_on_what_was_evaluated_and_learns_from_other_documents(
    results: Path, repaired: tuple[Path, Any, list[str]]
) -> None:
    """As it is, the SAE keeps in the repair what the audit says it keeps, on as many documents;
    what is learnt from are four of five calibration documents."""
    rows = Store.open(results).read_table("estimates").to_pylist()
    (audited,) = (r for r in rows if r["metric"] == "survived" and r["compression"] == TWIN)
    record = json.loads((repaired[0] / RECORD).read_text())
    found = record["steps"]["as it is"]["evaluation"]["features.survived"]
    assert found["value"] == pytest.approx(audited["value"])
    assert found["documents"] == audited["documents"]
    (line,) = (line for line in repaired[2] if line.startswith("Learning from"))
    learnt = int(line.removeprefix("Learning from ").split()[0].replace(",", ""))
    assert 0.7 * TOKENS < learnt < 0.9 * TOKENS


def test_whole_documents_are_held_out() -> None:
    """Positions that choose are of documents of which nothing was learnt."""
    layout = tiny.layout("llama")
    corpus = tiny.corpus([[9]] * 12, seed=4)
    plan = tiny.plan(corpus, [])
    twin = tiny.twin(layout, "rtn:bits=4")
    both = {REFERENCE: Reference(layout), "twin": twin}
    on = repairs._activations(ActivationReader(layout, both, "resid.1", 1 << 30), corpus, plan)
    document = torch.cat([batch.document[batch.index] for batch in plan.batches])
    chosen = {int(one) for one in document[on.held_out]}
    assert chosen
    assert not chosen & {int(one) for one in document[~on.held_out]}


@pytest.mark.slow
def test_every_number_of_a_step_is_known(repaired: tuple[Path, Any, list[str]]) -> None:
    """FVU and loss recovered of both models among them; the reference is read by the SAE as it is
    in every step."""
    record = json.loads((repaired[0] / RECORD).read_text())
    for name in ("features.fvu, reference", "transfer.loss_recovered, reference"):
        of = {step["evaluation"][name]["value"] for step in record["steps"].values()}
        assert len(of) == 1
        assert 0 < of.pop() < 1
    for step in record["steps"].values():
        assert 0 < step["evaluation"]["transfer.loss_recovered, twin"]["value"] < 1.1
        assert step["evaluation"]["features.fvu, twin"]["low"] is not None


@pytest.mark.slow
def test_what_is_written_is_an_sae_for_the_twin(repaired: tuple[Path, Any, list[str]]) -> None:
    """Of the same latents at the same place, with another encoder; the table has a row a step and
    says what was not repaired."""
    out, table, _ = repaired
    before, after = load_sae(SAE), load_sae(out)
    assert (after.latents, after.hook, after.k) == (before.latents, before.hook, before.k)
    assert not torch.allclose(after.w_enc, before.w_enc, atol=1e-2)
    rows = [row[0] for row in table.rows]
    assert rows == ["as it is", "gain and offset", "linear map (chosen)"]
    assert "points" in table.caption
    assert "by the linear map. Codes" in table.caption
    assert "lost feature" in table.caption
    assert "not how it orders positions" in table.caption


@pytest.mark.slow
def test_an_unchanged_twin_has_nothing_to_repair(results: Path, tmp_path: Path) -> None:
    """The SAE is written as it is, and it is said."""
    request = asked(results, twin="nothing", calibration_tokens=4096)
    table = repair_run(request, tmp_path / "sae", silent)
    record = json.loads((tmp_path / "sae" / RECORD).read_text())
    assert record["chosen"] == "as it is"
    assert "as it is" in table.caption
    gain = record["steps"]["gain and offset"]["evaluation"]
    assert gain["recovered"]["value"] is None
    assert gain["recovered"]["reason"] == "nothing was lost"
    assert record["latents"]["not repaired"] == []
    assert torch.equal(load_sae(tmp_path / "sae").w_enc, load_sae(SAE).w_enc)


Change = Callable[[dict[str, Any]], None]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"twin": "rtn:bits=5"}, "has no twin rtn:bits=5"),
        ({"twin": "rtn:bits"}, "rtn"),
        ({"sae": "no-such-folder"}, "no-such-folder"),
        ({"calibration": str(evaluation_path())}, "calibration documents"),
        ({"calibration": "no-such-file.txt"}, "no-such-file"),
        ({"calibration_tokens": 64}, "calibration positions"),
        ({"results": Path("no-such-results")}, "no-such-results"),
    ],
)
def test_what_cannot_be_repaired_is_said(
    results: Path, tmp_path: Path, arguments: dict[str, Any], said: str
) -> None:
    """An unknown twin, no SAE, documents that were evaluated, too few of them, no results: an
    error that says so, and no folder."""
    with pytest.raises(BitlensError) as caught:
        repair_run(asked(**{"results": results, **arguments}), tmp_path / "sae", silent)
    assert said in str(caught.value)
    assert not (tmp_path / "sae").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.update(text="texts.jsonl"), "No calibration documents are named"),
        (lambda s: s["models"].append(dict(s["models"][0], name="other")), "2 models"),
    ],
)
def test_results_that_say_too_little_are_refused(
    results: Path, tmp_path: Path, change: Change, said: str
) -> None:
    """Another text without calibration documents for it; several models."""
    copy = shutil.copytree(results, tmp_path / "copy")
    manifest = json.loads((copy / MANIFEST).read_text())
    change(manifest["settings"])
    (copy / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BitlensError, match=said):
        repair_run(asked(copy), tmp_path / "sae", silent)


@pytest.mark.slow
def test_a_folder_that_is_there_is_not_written_over(results: Path, tmp_path: Path) -> None:
    """Before anything long begins."""
    (tmp_path / "mine").write_text("")
    wanted = asked(results, calibration=str(calibration_path()))
    with pytest.raises(BitlensError, match="--out"):
        repair_run(wanted, tmp_path, silent)
