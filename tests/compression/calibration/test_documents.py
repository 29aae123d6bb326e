"""Calibrated twins of an audit: on which documents, kept where, and refused when."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from bitlens.compression import format_spec, parse_spec
from bitlens.compression.calibration.cache import WeightCache
from bitlens.compression.calibration.documents import (
    CalibrationTexts,
    about_overlap,
    calibrated,
)
from bitlens.config.study import Study, audit_of
from bitlens.demo import calibration_path, evaluation_path
from bitlens.errors import BitlensError
from bitlens.models.layout import Layout
from bitlens.models.load import Loaded, load
from bitlens.models.source import ModelSource
from bitlens.results.store import Store
from bitlens.workflows.audit.run import run
from bitlens.workflows.session import calibration_texts, log_unread
from tests.support import tiny

pytestmark = pytest.mark.usefixtures("cache")

METHODS = {
    "gptq:bits=3,group=32": 3 + 16 / 32,
    "awq:bits=4,group=32": 4 + (16 + 4) / 32,
    "prune:sparsity=0.5,by=wanda": 17.0,
}
"""And their bits per weight, worked out by hand: scales are 16 bits, zeros as wide as weights, a
mask is one; half of the weights are kept, in 32 bits."""


@pytest.fixture(scope="module")
def loaded(llama: Path) -> Loaded:
    """The tiny model."""
    return load(ModelSource(str(llama)), 1 << 34)


def audit(study: Study, out: Path) -> Store:
    return run(study, out, "audit", lambda line: None)


def contents(store: Store) -> dict[str, bytes]:
    """Every file that must be the same from run to run."""
    files = [path for path in sorted(store.root.rglob("*")) if path.is_file()]
    return {str(f.relative_to(store.root)): f.read_bytes() for f in files if f.name != "run.json"}


def ids(store: Store) -> set[str]:
    return {cell["id"] for cell in store.manifest()["cells"]}


def checks(store: Store) -> dict[str, tuple[bool | None, str]]:
    return {c["name"]: (c["passed"], c["detail"]) for c in store.manifest()["checks"]}


def folders(cache: Path) -> dict[str, dict[str, Any]]:
    """Records of the twins that are kept, by their folder's name."""
    return {
        path.parent.name: json.loads(path.read_text())
        for path in sorted(cache.glob("twins/*/record.json"))
    }


@pytest.mark.slow
def test_a_calibration_of_fewer_tokens_than_columns_is_said(
    study: Callable[..., Study], tmp_path: Path, loaded: Loaded
) -> None:
    """Once, with the widest matrix that is calibrated, before it begins; the check has failed."""
    widest = max(shape[-1] for _, shape in Layout(loaded.model).matrices())
    for tokens, exclude, passed in ((64, "", False), (widest, "", True), (100, "down_proj", True)):
        said: list[str] = []
        twins = [f"{text},exclude=[{exclude}]" for text in ("gptq:bits=4", "awq:bits=4,group=32")]
        out = tmp_path / f"out{tokens}{exclude}"
        store = run(study(*twins, calibration_tokens=tokens), out, "audit", said.append)
        found, detail = checks(store)["enough calibration tokens"]
        warnings = [line for line in said if line.startswith("Few documents to calibrate on")]
        assert found is passed
        assert len(warnings) == (not passed)
        if not passed:
            assert f"calibrated on {tokens} tokens of calibration.jsonl; " in detail
            assert f"has {widest} input columns: how its inputs" in detail
            assert detail in warnings[0]


@pytest.mark.parametrize("to", ["rtn:bits=4", "noise:like=[rtn:bits=4]", "prune:sparsity=0.5"])
def test_documents_that_nothing_reads_are_said_not_to_be(
    study: Callable[..., Study], to: str, other_texts: Path
) -> None:
    """As they were named; those that ship with bitlens were perhaps named by nobody."""
    said: list[str] = []
    log_unread(study(to), said.append)
    assert said == [f"Nothing is calibrated here: {other_texts} is not read."]
    for calibration in (None, "demo"):
        log_unread(study(to, calibration=calibration), said.append)
    assert len(said) == 1


@pytest.mark.parametrize(
    "to", ["gptq:bits=4", "noise:like=[awq:bits=4]", "prune:match=[gptq:bits=3]",
    "noise:like=[prune:match=[gptq:bits=3]]", "mixed:*=[gptq:bits=4]"]
)  # fmt: skip
def test_documents_that_something_reads_are_not(study: Callable[..., Study], to: str) -> None:
    """Whatever it is that is calibrated in the end."""
    said: list[str] = []
    log_unread(study("rtn:bits=4", to), said.append)
    assert said == []


def test_documents_that_are_not_there_are_an_error_even_unread(
    study: Callable[..., Study], tmp_path: Path, other_texts: Path
) -> None:
    """Before the model is loaded, with the nearest name."""
    absent = other_texts.with_name("calibratoin.jsonl")
    with pytest.raises(BitlensError, match="There is no") as caught:
        audit(study("rtn:bits=4", calibration=str(absent)), tmp_path / "out")
    assert other_texts.name in caught.value.remedy
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_every_cell_is_written_and_the_table_is_that_of_the_kept_weights(
    study: Callable[..., Study], tmp_path: Path, cache: Path, llama: Path
) -> None:
    """Error and changed share of every matrix, from the files of the cache; bits by hand."""
    store = audit(study(*METHODS), tmp_path / "out")
    cells = store.manifest()["cells"]
    assert {cell["compression"] for cell in cells} == METHODS.keys()
    assert {cell["status"] for cell in cells} == {"done"}
    model = AutoModelForCausalLM.from_pretrained(llama)
    rows = pq.read_table(store.root / "coverage.parquet").to_pylist()
    for name, record in folders(cache).items():
        kept = {
            key: tensor
            for file in (cache / "twins" / name).glob("*.safetensors")
            for key, tensor in load_file(file).items()
        }
        mine = {r["module"]: r for r in rows if r["compression"] == record["compression"]}
        assert {module for module, row in mine.items() if row["compressed"]} == kept.keys()
        for module, tensor in kept.items():
            before = model.get_submodule(module).weight.detach()
            error = float((tensor - before).norm() / before.norm())
            row = mine[module]
            assert row["relative_error"] == pytest.approx(error, rel=1e-4)
            assert row["changed"] == pytest.approx((tensor != before).float().mean().item())
            assert row["bits"] == pytest.approx(METHODS[record["compression"]])


@pytest.mark.slow
def test_that_calibration_and_evaluation_are_apart_is_a_line_of_the_report(
    study: Callable[..., Study], tmp_path: Path
) -> None:
    """It names both; without a calibrated twin there is none."""
    passed, detail = checks(audit(study("gptq:bits=3"), tmp_path / "a"))[
        "calibration and evaluation are apart"
    ]
    assert passed
    assert "calibration.jsonl" in detail
    assert "texts.jsonl" in detail
    assert "calibration and evaluation are apart" not in checks(
        audit(study("rtn:bits=3"), tmp_path / "b")
    )


@pytest.mark.slow
def test_nothing_is_calibrated_twice(
    study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run takes what is kept, and writes the same bytes."""
    first = contents(audit(study(*METHODS), tmp_path / "a"))

    def never(*arguments: object) -> None:
        raise AssertionError("calibrated again")

    monkeypatch.setattr("bitlens.compression.calibration.calibrator.calibrate", never)
    assert contents(audit(study(*METHODS), tmp_path / "b")) == first


@pytest.mark.slow
@pytest.mark.parametrize("change", ["seed", "documents", "tokens"])
def test_what_it_was_calibrated_on_makes_another_twin(
    study: Callable[..., Study], tmp_path: Path, cache: Path, other_texts: Path, change: str
) -> None:
    """Another folder of the cache, and other cells; those of what needs no data stay."""
    fewer = tmp_path / "fewer.jsonl"
    fewer.write_text("\n".join(other_texts.read_text().splitlines()[:12]) + "\n")
    settings: dict[str, Any] = {
        "seed": {"seeds": (1,)},
        "documents": {"calibration": str(fewer)},
        "tokens": {"calibration_tokens": 500},
    }[change]
    one = study("gptq:bits=3", "rtn:bits=3")
    first = audit(one, tmp_path / "a").manifest()["cells"]
    again = audit(study(*one.compressions, **settings), tmp_path / "b").manifest()["cells"]
    assert len(folders(cache)) == 2
    same = {c["compression"] for c in first} & {
        c["compression"] for c in again if c["id"] in {d["id"] for d in first}
    }
    assert same == ({"rtn:bits=3"} if change != "seed" else set())


@pytest.mark.slow
def test_the_matched_noise_is_made_anew_with_what_it_matches(
    study: Callable[..., Study], tmp_path: Path
) -> None:
    """The noise's text does not name documents either."""
    noise = "noise:like=[gptq:bits=3]"
    first = audit(study(noise), tmp_path / "a")
    assert not ids(first) & ids(audit(study(noise, calibration_tokens=500), tmp_path / "b"))


@pytest.mark.slow
def test_a_calibration_that_was_killed_goes_on(
    study: Callable[..., Study], tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks that are there are not made again; the end is the same, byte by byte."""
    whole = contents(audit(study("gptq:bits=3"), tmp_path / "whole"))
    for folder in (cache / "twins").iterdir():
        WeightCache(folder).remove()
    add, made = WeightCache.add, list[str]()

    def dies(self: WeightCache, part: str, *rest: Any) -> None:
        made.append(part)
        if len(made) == 2:
            raise KeyboardInterrupt
        add(self, part, *rest)

    monkeypatch.setattr(WeightCache, "add", dies)
    with pytest.raises(KeyboardInterrupt):
        audit(study("gptq:bits=3"), tmp_path / "killed")
    assert not folders(cache)
    assert contents(audit(study("gptq:bits=3"), tmp_path / "killed")) == whole
    assert made == ["block.0", "block.1", "block.1", "block.2"]


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        ("rtn:bits=4", None),
        ("gptq:bits=4", "gptq:bits=4"),
        ("noise:like=[gptq:bits=4]", "gptq:bits=4"),
        ("noise:like=[rtn:bits=4]", None),
        ("prune:sparsity=0.5", None),
        ("prune:sparsity=0.5,by=wanda", "prune:sparsity=0.5,by=wanda"),
        (
            "mixed:*.down_proj=[gptq:bits=4],*=[rtn:bits=4]",
            "mixed:*.down_proj=[gptq:bits=4],*=[rtn:bits=4]",
        ),
        ("mixed:*.down_proj=[rtn:bits=8],*=[rtn:bits=4]", None),
    ],
)
def test_what_must_be_calibrated(text: str, needed: str | None) -> None:
    """Itself; of noise, what it is matched to."""
    found = calibrated(parse_spec(text))
    assert (found and format_spec(found)) == needed


def test_documents_are_those_named_or_those_that_come_with_the_texts() -> None:
    """For any other text somebody has to say which, and where nothing is measured as well."""

    def source(measured: bool = True, **given: str) -> str | None:
        asked = audit_of("demo", "gptq:bits=4", **given)
        return calibration_texts(asked, 64, measured=measured).source

    assert source(calibration="mine.txt", text="other.txt") == "mine.txt"
    assert source(text=str(evaluation_path())) == str(calibration_path())
    assert source(text="other.txt") is source(measured=False) is None


def test_documents_that_nobody_named_are_an_error(loaded: Loaded) -> None:
    """Which says who asks for them."""
    texts = CalibrationTexts(source=None, context=32, bos="auto", tokens=200)
    with pytest.raises(BitlensError, match="gptq:bits=4 is calibrated, and no") as caught:
        texts.read(parse_spec("gptq:bits=4"), loaded, Layout(loaded.model), 0)
    assert caught.value.remedy == "--calibration FILE"


def test_calibration_is_read_as_the_evaluation_is(loaded: Loaded, other_texts: Path) -> None:
    """In windows of the context, to the number of tokens asked for; 0 is all of it."""
    layout, gptq = Layout(loaded.model), parse_spec("gptq:bits=4")
    texts = CalibrationTexts(source=str(other_texts), context=32, bos="auto", tokens=200)
    some = texts.read(gptq, loaded, layout, 0)
    everything = replace(texts, tokens=0).read(gptq, loaded, layout, 0)
    assert some.n_tokens <= 200 < everything.n_tokens
    assert everything.n_documents == 24
    assert max(map(len, everything.rows)) == 32


def test_overlap_is_refused_with_its_share_and_a_name() -> None:
    """One evaluation document of four is a calibration document too; allowed, it is a check that
    failed, in words."""
    evaluation = tiny.corpus([[60], [60], [60], [60]], seed=1)
    calibration = tiny.corpus([[evaluation.rows[2]], [60]], seed=2)
    with pytest.raises(BitlensError, match=r"1 of 4 evaluation documents \(25%\)") as caught:
        about_overlap(calibration, evaluation, allowed=False)
    assert "the first document 2." in caught.value.found
    assert "--allow overlap" in caught.value.remedy
    check = about_overlap(calibration, evaluation, allowed=True)
    assert check.passed is False
    assert check.detail.endswith("which was allowed")
    apart = about_overlap(tiny.corpus([[60], [60]], seed=3), evaluation, allowed=False)
    assert apart.passed


@pytest.mark.slow
def test_allowed_overlap_is_in_the_results(
    study: Callable[..., Study], tmp_path: Path, short_texts: Path
) -> None:
    """The audit goes on, and its checks say so."""
    same = {"calibration": str(short_texts)}
    with pytest.raises(BitlensError, match=r"24 of 24 evaluation documents \(100%\)"):
        audit(study("gptq:bits=3", **same), tmp_path / "out")
    store = audit(study("gptq:bits=3", **same, allow=("overlap",)), tmp_path / "out")
    passed, detail = checks(store)["calibration and evaluation are apart"]
    assert passed is False
    assert "which was allowed" in detail
