"""Running studies: what is written, what is missing, what fails."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from bitlens.analyses import ANALYSES
from bitlens.config.study import Study
from bitlens.engine.measurement import Measurement
from bitlens.engine.step_router import StepRouter
from bitlens.engine.wave_size import BATCH_TOKENS
from bitlens.errors import BitlensError
from bitlens.models.source import ModelSource
from bitlens.report.audit_results import AuditResults
from bitlens.report.text.numbers import amount
from bitlens.report.text.verdict import verdicts
from bitlens.results.store import Store
from bitlens.workflows.audit.budget import MemoryBudget
from bitlens.workflows.audit.run import run

VOCABULARY = 96
pytestmark = pytest.mark.usefixtures("few_sequences")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama in generic position, its tokenizer and texts of different lengths."""
    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=48,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    words = {f"w{n}": n for n in range(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    generator = torch.Generator().manual_seed(1)
    texts = [
        " ".join(f"w{n}" for n in torch.randint(0, VOCABULARY, (20 + 7 * k,), generator=generator))
        for k in range(12)
    ]
    (folder / "texts.json").write_text(json.dumps(texts))
    return folder


def small(folder: Path, **settings: object) -> Study:
    fields: dict[str, object] = {
        "models": (ModelSource(str(folder)),),
        "compressions": ("rtn:bits=3", "prune:sparsity=0.4"),
        "text": str(folder / "texts.json"),
        "tokens": 0,
    }
    return Study(**(fields | settings))


def silent(line: str) -> None:
    pass


def contents(store: Store) -> dict[str, bytes]:
    """Every file that must be the same from run to run."""
    return {
        str(path.relative_to(store.root)): path.read_bytes()
        for path in sorted(store.root.rglob("*"))
        if path.is_file() and path.name != "run.json"
    }


@pytest.fixture(scope="module")
def finished(folder: Path, few_sequences: None, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The small study, run once from nothing. Nobody writes to it."""
    return run(small(folder), tmp_path_factory.mktemp("finished") / "out", "audit", silent)


@pytest.mark.slow
def test_same_command_twice_gives_the_same_bytes(
    folder: Path, finished: Store, tmp_path: Path
) -> None:
    """Everything but run.json is byte-identical when the same command runs from nothing again."""
    again = run(small(folder), tmp_path / "b", "audit", silent)
    assert contents(finished) == contents(again)
    assert "manifest.json" in contents(again)


@pytest.mark.slow
def test_again_does_only_what_is_missing(
    folder: Path, finished: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A complete store is not swept again; a new compression sweeps only that one."""
    shutil.copytree(finished.root, tmp_path / "out")
    before = contents(Store.open(tmp_path / "out"))
    swept: list[set[str]] = []
    original = Measurement.__init__

    def watched(
        self: Measurement, layout: object, twins: dict, *rest: object, **more: object
    ) -> None:
        swept.append(set(twins))
        original(self, layout, twins, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Measurement, "__init__", watched)
    run(small(folder), tmp_path / "out", "audit", silent)
    assert swept == []
    assert contents(Store.open(tmp_path / "out")) == before
    more = small(folder, compressions=("rtn:bits=3", "prune:sparsity=0.4", "rtn:bits=8"))
    run(more, tmp_path / "out", "audit", silent)
    assert swept == [{"rtn:bits=8", "noise:like=[rtn:bits=8]"}]


@contextmanager
def small_waves(tokens: int = 64) -> Iterator[None]:
    """So little memory that every batch, of at most so many tokens, is a wave of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bitlens.engine.wave_size.BATCH_TOKENS", {"cpu": tokens})
        patch.setattr(MemoryBudget, "room", lambda self, memory: 0)
        yield


@contextmanager
def dying_after(steps: int) -> Iterator[None]:
    """A run is stopped at so many steps of its sweep."""
    route, calls = StepRouter.route, 0

    def dies(self: StepRouter, *arguments: object) -> None:
        nonlocal calls
        calls += 1
        if calls == steps:
            raise KeyboardInterrupt
        route(self, *arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StepRouter, "route", dies)
        with pytest.raises(KeyboardInterrupt):
            yield


@pytest.fixture(scope="module")
def in_waves(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Study, dict[str, bytes]]:
    """A study of many waves, and what it leaves where nothing stops it."""
    asked = ("behaviour", "geometry", "lens")
    study = small(folder, controls=("noise",), analyses=asked, tokens=350)
    with small_waves():
        store = run(study, tmp_path_factory.mktemp("whole") / "out", "audit", silent)
    return study, contents(store)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 9, 22])
def test_killed_anywhere_and_run_again_gives_the_same_bytes(
    in_waves: tuple[Study, dict[str, bytes]], tmp_path: Path, steps: int
) -> None:
    """A run stopped in the middle of a wave ends, run again, with what it would have had."""
    study, whole = in_waves
    with small_waves():
        with dying_after(steps):
            run(study, tmp_path / "killed", "audit", silent)
        assert not (tmp_path / "killed" / "manifest.json").exists()
        assert contents(run(study, tmp_path / "killed", "audit", silent)) == whole


@pytest.mark.slow
def test_what_another_study_left_behind_is_not_gone_on_with(folder: Path, tmp_path: Path) -> None:
    """A run that stopped in a wave leaves its accumulators; another study in the same folder has
    the numbers that it has in a folder of its own."""
    asked = {"controls": (), "analyses": ("behaviour",)}
    first = small(folder, compressions=("rtn:bits=3",), **asked)
    second = small(folder, compressions=("prune:sparsity=0.4",), **asked)
    with small_waves():
        alone = contents(run(second, tmp_path / "alone", "audit", silent))
        with dying_after(40):
            run(first, tmp_path / "out", "audit", silent)
        after = contents(run(second, tmp_path / "out", "audit", silent))
    assert after["estimates.parquet"] == alone["estimates.parquet"]


def test_a_run_that_stops_at_its_end_has_no_manifest(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest says that everything else is there, so it is written after everything else."""

    def full(seconds: float) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("bitlens.workflows.audit.run.run_record", full)
    asked = {"compressions": ("rtn:bits=3",), "controls": (), "analyses": ("behaviour",)}
    with pytest.raises(OSError, match="no space left"):
        run(small(folder, **asked), tmp_path / "out", "audit", silent)
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.slow
def test_memory_changes_no_digit(folder: Path, finished: Store, tmp_path: Path) -> None:
    """Estimates are the same bytes whether the sweep takes one wave or many; so little memory that
    a batch does not fit is refused with the least that does, and that is enough."""
    with pytest.raises(BitlensError, match="1MB is too little to audit tiny-llama") as refused:
        run(small(folder, memory="1MB"), tmp_path / "none", "audit", silent)
    least = refused.value.remedy.split()[1].rstrip(",")
    lines: list[str] = []
    # Of so few tokens the least has room for all; without it every batch is a wave.
    with small_waves(BATCH_TOKENS["cpu"]):
        many = run(small(folder, memory=least), tmp_path / "many", "audit", lines.append)
    assert any("forwards' worth" in line and " 1 wave." not in line for line in lines)
    assert any(line.startswith("Memory, at its peak about") for line in lines)
    same = "estimates.parquet"
    assert contents(finished)[same] == contents(many)[same]


@pytest.mark.slow
def test_model_larger_than_memory_is_swept_from_disk(
    folder: Path, finished: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With blocks on disk and a wave for every batch, the estimates are the same bytes."""
    monkeypatch.setattr("bitlens.models.load.WEIGHTS_SHARE", 0)
    with small_waves(BATCH_TOKENS["cpu"]):
        streamed = run(small(folder), tmp_path / "disk", "audit", silent)
    assert streamed.manifest()["models"][0]["from_disk"]
    assert not finished.manifest()["models"][0]["from_disk"]
    assert contents(finished)["estimates.parquet"] == contents(streamed)["estimates.parquet"]
    assert contents(finished)["coverage.parquet"] == contents(streamed)["coverage.parquet"]


@pytest.mark.slow
def test_controls_have_the_energy_of_what_they_control(finished: Store) -> None:
    """Matrix by matrix, weight noise has the relative error of the compression it is like, in
    the coverage table that is measured from the weights."""
    rows = pq.read_table(finished.root / "coverage.parquet").to_pylist()
    error = {
        (r["compression"], r["module"]): r["relative_error"] for r in rows if r["kind"] == "block"
    }
    noisy = [key for key in error if key[0] == "noise:like=[rtn:bits=3]"]
    assert len(noisy) == 3 * 7
    for _, module in noisy:
        expected = pytest.approx(error[("rtn:bits=3", module)], rel=1e-4)
        assert error[("noise:like=[rtn:bits=3]", module)] == expected


@pytest.mark.slow
def test_identical_twin_stops_the_run(folder: Path, tmp_path: Path) -> None:
    """A compression that changes nothing is refused, unless it is allowed or a control."""
    same = small(folder, compressions=("cast:dtype=fp8",), controls=())
    rounded = tmp_path / "rounded"
    shutil.copytree(folder, rounded)
    model = AutoModelForCausalLM.from_pretrained(folder).to(torch.float8_e4m3fn).float()
    model.save_pretrained(rounded)
    study = same.model_copy(update={"models": (ModelSource(str(rounded)),)})
    with pytest.raises(BitlensError, match="nothing was compressed"):
        run(study, tmp_path / "out", "audit", silent)
    assert not (tmp_path / "out" / "manifest.json").exists()
    run(study.model_copy(update={"allow": ("identical",)}), tmp_path / "out", "audit", silent)
    run(small(folder, compressions=("nothing",), controls=()), tmp_path / "two", "audit", silent)


@pytest.mark.slow
def test_failed_cells_say_why_and_the_others_go_on(folder: Path, tmp_path: Path) -> None:
    """In a study, a group size that does not divide fails its own cells only; in an audit it
    stops before the sweep and names the module."""
    study = small(folder, compressions=("rtn:bits=4,group=48", "rtn:bits=4"), controls=())
    with pytest.raises(BitlensError, match="q_proj"):
        run(study, tmp_path / "audit", "audit", silent)
    store = run(study, tmp_path / "study", "study", silent, keep_going=True)
    cells = store.manifest()["cells"]
    failed = [c for c in cells if c["status"] == "failed"]
    assert {c["compression"] for c in failed} == {"rtn:bits=4,group=48"}
    assert all("does not divide" in c["reason"] for c in failed)
    done = {c["compression"] for c in cells if c["status"] == "done"}
    assert done == {"rtn:bits=4"}


def scaled(folder: Path, to: Path, up: float, down: float) -> Study:
    """The tiny model with one MLP made larger, and its study in float16."""
    shutil.copytree(folder, to)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight.mul_(up)
        model.model.layers[1].mlp.down_proj.weight.mul_(down)
    model.save_pretrained(to)
    return small(to, compressions=("cast:dtype=float16",), controls=())


def test_weights_too_large_for_float16_name_the_module(folder: Path, tmp_path: Path) -> None:
    """A weight beyond float16 stops the run with the module's name; it never becomes infinite."""
    with pytest.raises(BitlensError, match=r"layers\.1\.mlp\.down_proj"):
        run(scaled(folder, tmp_path / "m", 1, 1e7), tmp_path / "out", "audit", silent)


@pytest.mark.slow
def test_overflowing_activations_have_reasons_not_numbers(folder: Path, tmp_path: Path) -> None:
    """Where a float16 twin's activations overflow, its numbers are missing and the reason names
    the site; sites before it have theirs."""
    store = run(scaled(folder, tmp_path / "m", 3e3, 3e3), tmp_path / "out", "audit", silent)
    rows = pq.read_table(store.root / "estimates.parquet").to_pylist()
    cumulative = {
        r["site"]: r for r in rows if r["metric"] == "cosine" and r["item"] == "cumulative"
    }
    assert cumulative["resid.0"]["value"] > 0.99
    assert cumulative["resid.2"]["value"] is None
    assert "overflows at resid.1" in cumulative["resid.2"]["reason"]
    results = AuditResults.read(store.root)
    (name,) = results.models
    own = results.find(name, "cast:dtype=float16", "behaviour.perplexity", item="reference")
    assert own is not None
    assert own["value"] > 1
    told = dict(verdicts(results, name))["cast:dtype=float16"]
    assert "overflows at resid.1, computed in float16" in told
    assert f"the reference's own perplexity is {amount(own)}" in told


@pytest.mark.slow
def test_one_identical_twin_of_a_study_fails_alone(folder: Path, tmp_path: Path) -> None:
    """In a study, a twin equal to its reference fails its own cells and no others."""
    rounded = tmp_path / "rounded"
    shutil.copytree(folder, rounded)
    model = AutoModelForCausalLM.from_pretrained(folder).to(torch.float8_e4m3fn).float()
    model.save_pretrained(rounded)
    study = small(rounded, compressions=("cast:dtype=fp8", "rtn:bits=4"), controls=())
    cells = run(study, tmp_path / "out", "study", silent, keep_going=True).manifest()["cells"]
    status = {(c["compression"], c["status"]) for c in cells}
    assert status == {("cast:dtype=float8_e4m3fn", "failed"), ("rtn:bits=4", "done")}


@pytest.mark.slow
def test_a_cast_of_what_is_stored_so_differs_in_its_arithmetic(
    folder: Path, tmp_path: Path
) -> None:
    """Of weights that bfloat16 holds a cast to it changes none, and is no copy all the same: what
    it rounds is what it computes, and that is said."""
    stored = tmp_path / "stored"
    shutil.copytree(folder, stored)
    AutoModelForCausalLM.from_pretrained(folder).bfloat16().save_pretrained(stored)
    study = small(stored, compressions=("cast:dtype=bfloat16",), controls=())
    manifest = run(study, tmp_path / "out", "audit", silent).manifest()
    (check,) = (c for c in manifest["checks"] if c["name"].startswith("cast:dtype=bfloat16"))
    assert check["passed"]
    assert "computes in bfloat16, the reference in float32" in check["detail"]
    assert "0.0% of all parameters changed" in check["detail"]
    (model,) = manifest["models"]
    assert (model["dtype"], model["compute"]) == ("bfloat16", "float32")
    assert {t["dtype"] for t in manifest["twins"]} == {"bfloat16"}


@pytest.mark.slow
def test_a_twin_that_fails_late_costs_the_others_nothing(folder: Path, tmp_path: Path) -> None:
    """What the other twins of the sweep have is written before the error is raised."""
    study = scaled(folder, tmp_path / "m", 1, 1e7)
    study = study.model_copy(update={"compressions": ("cast:dtype=float16", "rtn:bits=4")})
    with pytest.raises(BitlensError, match="down_proj"):
        run(study, tmp_path / "out", "audit", silent)
    needs = {"saes", "routers", "tasks"}
    answered = [name for name in study.analyses if not ANALYSES[name].requires & needs]
    assert len(Store(tmp_path / "out").complete()) == len(answered)


def test_reference_that_is_not_finite_names_the_place(folder: Path, tmp_path: Path) -> None:
    """Infinite activations of the reference stop the run with site, document and token."""
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.mul_(1e30)
        model.model.layers[1].mlp.up_proj.weight.mul_(1e30)
    model.save_pretrained(broken)
    study = small(broken, compressions=("rtn:bits=4",), controls=())
    with pytest.raises(BitlensError, match=r"finite at resid\.1, first in document \d+ at token"):
        run(study, tmp_path / "out", "audit", silent)


def test_results_of_other_settings_are_not_replaced(folder: Path, tmp_path: Path) -> None:
    """Unless that is said; cells that serve are kept. What only adds to what is there goes on, and
    memory changes no digit."""
    few = {"controls": (), "analyses": ("behaviour",)}
    study = small(folder, compressions=("rtn:bits=3",), **few)
    before = contents(run(study, tmp_path / "out", "audit", silent))
    others: dict[str, dict[str, object]] = {
        "tokens 0, not 300": {"tokens": 300},
        "seeds": {"seeds": (1,)},
        "compressions": {"compressions": ("rtn:bits=4",)},
        "context": {"context": 16},
        'dtype of .* "auto", not "bfloat16"': {
            "models": (replace(study.models[0], dtype="bfloat16"),)
        },
        "models .*, not elsewhere": {"models": (replace(study.models[0], name="elsewhere"),)},
    }
    for found, change in others.items():
        other = study.model_copy(update=change)
        with pytest.raises(BitlensError, match=f"results of other settings: {found}") as caught:
            run(other, tmp_path / "out", "audit", silent)
        assert "--replace" in caught.value.remedy
    assert contents(Store.open(tmp_path / "out")) == before
    more = study.model_copy(update={"compressions": ("rtn:bits=4", "rtn:bits=3"), "memory": "9GB"})
    run(more, tmp_path / "out", "audit", silent)
    store = run(study, tmp_path / "out", "audit", silent, replace=True)
    kept = {name: text for name, text in contents(store).items() if name in before}
    assert kept == before


@pytest.mark.slow
def test_a_table_that_is_gone_is_computed_again(folder: Path, tmp_path: Path) -> None:
    """What an analysis shows belongs to its cell: without it the report is refused, and the same
    command has something to do."""
    study = small(folder, compressions=("rtn:bits=3",), controls=(), analyses=("heads", "lens"))
    store = run(study, tmp_path / "out", "audit", silent)
    before = contents(store)
    (lost,) = store.root.glob("cells/*/trajectories.parquet")
    lost.unlink()
    with pytest.raises(BitlensError, match=r"trajectories\.parquet cannot be read: it is missing"):
        Store.open(store.root)
    (store.root / "cells" / lost.parent.name / "values.parquet").write_bytes(b"half")
    said: list[str] = []
    run(study, tmp_path / "out", "audit", said.append)
    assert not any("nothing to compute" in line for line in said)
    assert contents(Store.open(store.root)) == before


def test_one_run_at_a_time(folder: Path, tmp_path: Path) -> None:
    """A second one is refused, and told by which process; the first goes on."""
    store = Store.create(tmp_path / "out")
    with store.alone(), pytest.raises(BitlensError, match=f"process {os.getpid()}"):
        run(small(folder), tmp_path / "out", "audit", silent)


def test_models_of_one_name_are_refused(folder: Path, tmp_path: Path) -> None:
    """Rows are told apart by the model's name, so two models may not share one."""
    copy = tmp_path / "elsewhere" / folder.name
    shutil.copytree(folder, copy)
    study = small(folder, models=(ModelSource(str(folder)), ModelSource(str(copy))))
    with pytest.raises(BitlensError, match="are called tiny-llama"):
        run(study, tmp_path / "out", "study", silent)


@pytest.mark.slow
def test_changed_weights_are_measured_again(folder: Path, tmp_path: Path) -> None:
    """One weight changed in the middle of a file is another model: nothing stale is reused."""
    changed = tmp_path / folder.name
    shutil.copytree(folder, changed)
    first = run(small(changed, controls=()), tmp_path / "out", "audit", silent).manifest()["cells"]
    model = AutoModelForCausalLM.from_pretrained(changed)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] += 1
    model.save_pretrained(changed)
    again = run(small(changed, controls=()), tmp_path / "out", "audit", silent).manifest()["cells"]
    assert not {c["id"] for c in first} & {c["id"] for c in again}


def test_unknown_site_names_the_nearest(folder: Path, tmp_path: Path) -> None:
    """A misspelt site is refused with those that exist."""
    with pytest.raises(BitlensError, match=r"no site 'residd\.1'"):
        run(small(folder, sites=("residd.1",)), tmp_path / "out", "audit", silent)


def test_sites_narrow_what_is_measured(folder: Path, tmp_path: Path) -> None:
    """Named sites, in any tool's words, are the only ones geometry reports."""
    study = small(
        folder,
        sites=("blocks.1.hook_resid_post", "model.layers.2"),
        controls=(),
        analyses=("behaviour", "geometry"),
    )
    store = run(study, tmp_path / "out", "audit", silent)
    rows = pq.read_table(store.root / "estimates.parquet").to_pylist()
    assert {r["site"] for r in rows} == {"logits", "resid.1", "resid.2"}


def test_context_longer_than_the_model_is_refused(folder: Path, tmp_path: Path) -> None:
    """A context beyond what the model reads is an error that says how much it reads."""
    with pytest.raises(BitlensError, match="reads 48"):
        run(small(folder, context=64), tmp_path / "out", "audit", silent)


def test_one_document_has_values_but_no_intervals(folder: Path, tmp_path: Path) -> None:
    """With a single document every estimate has a value, no interval and a reason; only what reads
    documents of its own has more of them."""
    single = folder / "single.json"
    single.write_text(json.dumps([json.loads((folder / "texts.json").read_text())[0]]))
    study = small(folder, text=str(single), controls=())
    store = run(study, tmp_path / "out", "audit", silent)
    rows = pq.read_table(store.root / "estimates.parquet").to_pylist()
    rows = [r for r in rows if r["analysis"] != "heads"]
    assert rows
    assert all(r["low"] is None and r["reason"] for r in rows)
    assert any(r["value"] is not None for r in rows)


def test_where_nothing_is_predicted_is_a_reason(folder: Path, tmp_path: Path) -> None:
    """The last token of nine words read eight at a time stands alone in its window: what is there
    is measured, and what would follow or precede it is not made up."""
    words = [" ".join(f"w{(7 * k + n) % VOCABULARY}" for n in range(9)) for k in range(6)]
    (tmp_path / "nine.json").write_text(json.dumps(words))
    settings = {"text": str(tmp_path / "nine.json"), "context": 8, "bos": "no", "controls": ()}
    asked = ("behaviour", "geometry", "lens")
    store = run(
        small(folder, positions="last", analyses=asked, **settings), tmp_path / "o", "", silent
    )
    cells = store.manifest()["cells"]
    ended = {(cell["analysis"], cell["status"]) for cell in cells}
    assert ended == {("behaviour", "failed"), ("geometry", "done"), ("lens", "failed")}
    assert {"--positions last" in cell["reason"] for cell in cells if cell["reason"]} == {True}
    (corpus,) = store.manifest()["corpora"]
    assert corpus["positions"] == 6
    with pytest.raises(BitlensError, match="--positions last"):
        run(
            small(folder, positions="last", analyses=asked[::2], **settings),
            tmp_path / "p",
            "",
            silent,
        )


NO_MEMORY = (
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
    MemoryError("Unable to allocate 3.65 GiB for an array"),
    torch.OutOfMemoryError("CUDA out of memory."),
    OSError(12, "Cannot allocate memory"),
)


@pytest.mark.parametrize("error", NO_MEMORY, ids=lambda error: type(error).__name__)
def test_memory_that_runs_out_is_an_error_of_the_user(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """On a GPU or a CPU, whoever notices: which model, and what to do; in a study its reason."""

    def dies(self: Measurement, *given: object) -> None:
        raise error

    monkeypatch.setattr(Measurement, "values", dies)
    asked = {"compressions": ("rtn:bits=3",), "controls": (), "analyses": ("behaviour",)}
    with pytest.raises(BitlensError, match="tiny-llama ran out of memory") as caught:
        run(small(folder, **asked), tmp_path / "out", "audit", silent)
    assert "--memory" in caught.value.remedy


def test_other_weights_under_the_same_name_are_said(folder: Path, tmp_path: Path) -> None:
    """The numbers are then new, and whoever runs the command hears why."""
    copied = shutil.copytree(folder, tmp_path / folder.name)
    study = small(copied, compressions=("rtn:bits=3",), controls=(), analyses=("behaviour",))
    run(study, tmp_path / "out", "audit", silent)
    said: list[str] = []
    run(study, tmp_path / "out", "audit", said.append)
    assert not any("other than when" in line for line in said)
    weights = copied / "model.safetensors"
    tensors = {name: 1.5 * tensor for name, tensor in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    run(study, tmp_path / "out", "audit", said.append)
    (line,) = [line for line in said if "other than when" in line]
    assert line.startswith(f"The weights of {folder.name} are other")


@pytest.mark.slow
def test_weights_inputs_and_keys_stand_side_by_side(folder: Path, tmp_path: Path) -> None:
    """Bits per weight and bytes a token of each: 48 numbers of keys and 48 of values, of four bits
    and 32 for eight of them, are 96 bytes; as float32 they are 384."""
    kept, rounded = "kv:group=8", "kv:group=8,of=[rtn:bits=4]"
    compressions = ("rtn:bits=4", "nvfp4:activations=token", kept, rounded, "gguf:type=q8_0")
    study = small(folder, compressions=compressions, controls=(), analyses=("behaviour",))
    manifest = run(study, tmp_path / "out", "audit", silent).manifest()
    assert manifest["models"][0]["token_bytes"] == 384
    twins = {twin["compression"]: twin for twin in manifest["twins"]}
    assert {name: twin["token_bytes"] for name, twin in twins.items()} == {
        name: 96 if name in (kept, rounded) else None for name in compressions
    }
    assert twins[rounded]["bits"] == twins["rtn:bits=4"]["bits"]
    assert twins[kept]["bits"] is None
    assert twins["gguf:type=q8_0"]["bits"] == 8.5
    assert 4.5 < twins["nvfp4:activations=token"]["bits"] < 4.6
    checks = {check["name"]: check["detail"] for check in manifest["checks"]}
    assert (
        "96 bytes a token instead of 384 in float32"
        in checks[f"{rounded}: keys and values are rounded"]
    )
    assert f"{rounded}: weights differ" in checks
    assert f"{kept}: weights differ" not in checks
