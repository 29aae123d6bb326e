"""The compute floor: what computing in 16 bits does by itself, measured beside every output."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from bitlens.compression import format_spec, parse_spec
from bitlens.compression.requests import TwinRequest, requested_twins
from bitlens.config.study import Study, audit_of
from bitlens.engine.comparisons import comparisons, forward_runs
from bitlens.engine.plan import SUBSET
from bitlens.report.audit_results import AuditResults
from bitlens.report.sections.method import method
from bitlens.report.text.compute_floor import drowned, floor, most, within
from bitlens.report.text.summary_table import summary_table
from bitlens.report.text.verdict import verdicts
from bitlens.results.records import Cell
from bitlens.results.store import Store
from bitlens.workflows.audit.compute_floor import floors
from bitlens.workflows.audit.run import run
from tests.support import tiny

SMALL = "rtn:bits=8,group=8,include=[layers.1.mlp.down_proj]"
"""Less than bfloat16 does."""
FLOAT32, BFLOAT16, FLOAT16 = torch.float32, torch.bfloat16, torch.float16


@pytest.fixture(scope="module", autouse=True)
def all_branched() -> Iterator[None]:
    """The floor is measured where branches are: here on all of the few documents."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bitlens.engine.plan.FEWEST_BRANCHED", 32)
        yield


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, letters: PreTrainedTokenizerBase) -> Path:
    """A tiny model whose weights are stored in bfloat16."""
    folder = tmp_path_factory.mktemp("models") / "stored"
    tiny.build("llama", BFLOAT16).save_pretrained(folder)
    letters.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def study(stored: Path, short_texts: Path) -> Callable[..., Study]:
    def make(*to: str, **settings: Any) -> Study:
        given = {"controls": (), "analyses": ("behaviour",), "compute": "bfloat16", **settings}
        return audit_of(str(stored), to, text=str(short_texts), **given)

    return make


@pytest.fixture(scope="module")
def audited(
    study: Callable[..., Study], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Store, list[str]]:
    """A harmless and a harmful twin, computed in bfloat16; and what was said."""
    said: list[str] = []
    out = tmp_path_factory.mktemp("out") / "results"
    return run(study(SMALL, "rtn:bits=2"), out, "audit", said.append), said


def found(store: Store, metric: str) -> dict[str, dict[str, Any]]:
    rows = store.read_table("estimates").to_pylist()
    return {r["compression"]: r for r in rows if r["metric"] == metric and r["item"] == ""}


def windows(
    texts: Path, context: int, tokenizer: PreTrainedTokenizerBase
) -> Iterator[torch.Tensor]:
    for line in texts.read_text().splitlines():
        ids = torch.tensor(tokenizer(json.loads(line)["text"])["input_ids"])
        yield from ids.split(context)


@torch.no_grad()
def test_the_floor_is_the_reference_beside_itself_in_float32(
    audited: tuple[Store, list[str]],
    stored: Path,
    short_texts: Path,
    letters: PreTrainedTokenizerBase,
) -> None:
    """By hand, with transformers alone: the mean over positions of KL(in bfloat16 ‖ in float32),
    and how often both put the same token first. Logits are float32 in both."""
    half, wide = (tiny.logits_of(stored, dtype) for dtype in (BFLOAT16, FLOAT32))
    kl, same = [], []
    for row in windows(short_texts, 64, letters):
        p, q = (m(row[None])[0, 1:-1].double().log_softmax(-1) for m in (half, wide))
        kl.append((p.exp() * (p - q)).sum(-1))
        same.append(p.argmax(-1) == q.argmax(-1))
    store, _ = audited
    measured = found(store, "kl")["cast:dtype=float32"]
    assert measured["value"] == pytest.approx(float(torch.cat(kl).mean()), rel=0.02)
    agreed = found(store, "same_top")["cast:dtype=float32"]["value"]
    assert agreed == pytest.approx(float(torch.cat(same).double().mean()), abs=0.01)
    assert measured["documents"] == 24
    assert measured["low"] < measured["value"] < measured["high"]


def test_it_is_said_before_and_after(audited: tuple[Store, list[str]]) -> None:
    """In the terminal, in the manifest, as a check; and its cell is known to be of a part."""
    store, said = audited
    assert said[0] == "stored is computed in bfloat16, as asked (--compute)."
    assert any(line.startswith("Its twins compute in bfloat16 too") for line in said)
    manifest = store.manifest()
    assert manifest["models"][0]["compute"] == "bfloat16"
    assert manifest["settings"]["models"][0]["compute"] == "bfloat16"
    (check,) = (c for c in manifest["checks"] if "compute floor" in c["name"])
    value = found(store, "kl")["cast:dtype=float32"]["value"]
    assert check["passed"]
    assert f"{value:.2g} nats" in check["detail"]
    (record,) = (t for t in manifest["twins"] if t["floor"])
    assert record["compression"] == "cast:dtype=float32"
    assert record["dtype"] == "float32"
    assert {t["dtype"] for t in manifest["twins"] if not t["floor"]} == {"bfloat16"}
    cells = [store.read_cell(c["id"])[0] for c in manifest["cells"]]
    assert {c.settings.get("documents") for c in cells if "float32" in c.compression} == {SUBSET}
    assert not [r for r in store.read_table("contrasts").to_pylist() if "cast" in r["control"]]


def test_the_same_command_again_measures_nothing(
    audited: tuple[Store, list[str]], study: Callable[..., Study]
) -> None:
    """The floor is there with the rest, and so is what is said of it."""
    store, _ = audited
    said: list[str] = []
    again = run(study(SMALL, "rtn:bits=2"), store.root, "audit", said.append)
    assert any("nothing to compute" in line for line in said)
    (check,) = (c for c in again.manifest()["checks"] if "compute floor" in c["name"])
    assert check["passed"]
    (record,) = (t for t in again.manifest()["twins"] if t["floor"])
    assert record["status"] == "done"
    assert record["bits"] is None


def test_no_verdict_speaks_of_less(audited: tuple[Store, list[str]]) -> None:
    """What 8 bits do drowns in what bfloat16 does, and is not given as a difference; what 2 bits
    do stands beside it. Both are told what the arithmetic does."""
    results = AuditResults.read(audited[0].root)
    (model,) = results.models
    said = dict(verdicts(results, model))
    for sentences in said.values():
        assert "omputing in bfloat16 instead of float32 by itself gives perplexity" in sentences
        assert "(the compute floor; both models round so" in sentences
    kl, below = found(audited[0], "kl"), "cast:dtype=float32"
    assert kl[SMALL]["value"] < 2 * kl[below]["high"] < kl["rtn:bits=2"]["value"]
    assert within(results, model, SMALL, "behaviour.kl")
    assert "mean KL and same top token nothing more is known" in said[SMALL]
    assert said[SMALL].count("mean KL") == 2
    assert not within(results, model, "rtn:bits=2", "behaviour.kl")
    assert f"mean KL {kl['rtn:bits=2']['value']:.2f}"[:11] in said["rtn:bits=2"]
    rows = {row[0]: row for row in summary_table(results, model).rows}
    assert "cast:dtype=float32 (compute floor)" in rows
    assert not results.controls(model)
    assert any("compute" in str(part) for part in method(results))


KL = {"analysis": "behaviour", "metric": "kl"}


def test_a_difference_below_the_floor_is_none(audited: tuple[Store, list[str]]) -> None:
    """A twin may lie above the floor and still be no farther from its control than the arithmetic
    puts it: then neither a factor nor a test is told."""
    results = AuditResults.read(audited[0].root)
    (model,) = results.models
    limit = most(results, model, "rtn:bits=2", "behaviour.kl")
    below = found(audited[0], "kl")["cast:dtype=float32"]
    assert limit == 2 * max(below["low"], below["value"], below["high"])
    for size, is_drowned in ((0.9 * limit, True), (1.1 * limit, False)):
        for difference in (size, -size):
            contrast = {**KL, "difference": difference, "p": 1e-4}
            told = drowned(results, model, "rtn:bits=2", contrast)
            assert told == is_drowned
    # A control that overflows has a contrast without a difference.
    for none in (None, {"difference": None, "p": None}):
        assert not drowned(results, model, "rtn:bits=2", none)


@pytest.mark.slow
def test_in_float32_there_is_none(study: Callable[..., Study], tmp_path: Path) -> None:
    """The default measures nothing besides, says nothing, and is another cell."""
    said: list[str] = []
    wide = run(study("rtn:bits=2", compute="float32"), tmp_path / "wide", "audit", said.append)
    assert not any("comput" in line.replace("to compute", "") for line in said)
    assert not [t for t in wide.manifest()["twins"] if t["floor"]]
    results = AuditResults.read(wide.root)
    assert floor(results, results.models[0], "rtn:bits=2") is None
    narrow = run(study("rtn:bits=2"), tmp_path / "narrow", "audit", said.append)
    settings = [
        store.read_cell(store.manifest()["cells"][0]["id"])[0].settings for store in (wide, narrow)
    ]
    assert [s["compute"] for s in settings] == ["torch.float32", "torch.bfloat16"]
    apart = {key for key in settings[0] if settings[0][key] != settings[1][key]}
    assert apart == {"compute"}
    ids = {Cell(model="m", compression="c", analysis="a", seed=0, settings=s).id for s in settings}
    assert len(ids) == 2


@pytest.mark.slow
def test_what_was_not_measured_is_said(study: Callable[..., Study], tmp_path: Path) -> None:
    """Without the outputs there is nothing to measure it on: a check that is undecided, not one
    that is silent."""
    asked = study("rtn:bits=2", analyses=("geometry",))
    manifest = run(asked, tmp_path / "out", "audit", lambda line: None).manifest()
    (check,) = (c for c in manifest["checks"] if "compute floor" in c["name"])
    assert check["passed"] is None
    assert "behaviour is not among the analyses" in check["detail"]


@pytest.mark.parametrize(
    ("compute", "own", "wanted"),
    [
        (FLOAT32, {}, []),
        (FLOAT32, {"rtn:bits=4": BFLOAT16}, ["cast:dtype=bfloat16"]),
        (FLOAT32, {"cast:dtype=float16": FLOAT16}, []),
        (BFLOAT16, {}, ["cast:dtype=float32"]),
        (BFLOAT16, {"rtn:bits=4": FLOAT32}, ["cast:dtype=float32"]),
        (FLOAT16, {"rtn:bits=4": BFLOAT16}, ["cast:dtype=bfloat16", "cast:dtype=float32"]),
    ],
)
def test_which_floors_are_wanted(
    compute: torch.dtype, own: dict[str, torch.dtype], wanted: list[str]
) -> None:
    """Float32 where the reference computes in less, and each dtype that a twin brings along; of
    casts none, and none that is run anyhow."""
    asked = [TwinRequest(text=t, compression=parse_spec(t)) for t in own]
    assert [side.text for side in floors(asked, own, compute)] == wanted
    assert all(side.floor and side.control for side in floors(asked, own, compute))
    beside = [
        *asked,
        *(TwinRequest(text=t, compression=parse_spec(t), control=True) for t in wanted),
    ]
    assert floors(beside, own, compute) == []


def test_it_runs_on_the_subset_and_nothing_else() -> None:
    """One run that ends in logits, on the documents that branches run on: no local errors."""
    analyses = [tiny.analysis(name) for name in ("behaviour", "geometry")]
    layout = tiny.layout("llama")
    reads = {a.name: a.reads(layout) for a in analyses}
    made = comparisons(analyses, ["twin"], reads, floors=["floor"])
    (below,) = (c for c in made if c.twin == "floor")
    assert below.analysis.name == "behaviour"
    assert below.documents == SUBSET
    (run,) = (r for r in forward_runs(made) if r.model == "floor")
    assert run.subset
    assert run.stop is None
    assert not next(r for r in forward_runs(made) if r.name == "twin").subset


@pytest.mark.parametrize(
    ("dtype", "compute", "half"),
    [
        (FLOAT32, FLOAT32, "bfloat16"),
        (BFLOAT16, FLOAT32, "bfloat16"),
        (FLOAT16, FLOAT32, "float16"),
        (BFLOAT16, BFLOAT16, "float16"),
        (FLOAT32, FLOAT16, "bfloat16"),
    ],
)
def test_the_cast_is_to_what_would_be_deployed(
    dtype: torch.dtype, compute: torch.dtype, half: str
) -> None:
    """The 16 bits that the weights lie in, else bfloat16, but never what is computed in already."""
    layout = tiny.Layout(tiny.build("llama", dtype), compute)  # type: ignore[attr-defined]
    asked = Study.model_validate({"models": ["m"], "compressions": ["rtn:bits=4"]})
    casts = [
        s
        for s in requested_twins(asked.compressions, asked.controls, layout)
        if s.compression.name == "cast"
    ]
    assert [format_spec(s.compression) for s in casts] == [f"cast:dtype={half}"]
