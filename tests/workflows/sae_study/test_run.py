"""A study of trained SAEs from end to end on a tiny model: parts, going on, one page."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bitlens.config.sae_study import SaeStudy, load_sae_study
from bitlens.errors import BitlensError
from bitlens.sae.alignment.compare import BEST
from bitlens.sae.formats.load import load_sae
from bitlens.workflows import engines
from bitlens.workflows.sae_study import run as running
from bitlens.workflows.sae_study.measures import IN_SAMPLE, SURVIVAL
from bitlens.workflows.sae_study.run import run

TWIN = "rtn:bits=3"


@pytest.fixture(scope="module")
def study(llama: Path, short_texts: Path, tmp_path_factory: pytest.TempPathFactory) -> SaeStudy:
    """Two widths, epoch counts and data sizes, three seeds."""
    path = tmp_path_factory.mktemp("study") / "study.yaml"
    path.write_text(
        "train: {site: resid.0, width: [1x, 2x], k: [4], epochs: [1, 20], tokens: [800, 1600],"
        " seed: [0, 1, 2], held_out: 500}\n"
        f"models: ['{llama}']\ncompressions: ['{TWIN}']\ntext: '{short_texts}'\n"
    )
    return load_sae_study(path)


@pytest.fixture(scope="module")
def small(study: SaeStudy, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """One data size and epoch count, run once; its folder and what was said."""
    out, said = tmp_path_factory.mktemp("small") / "out", list[str]()
    run(study, ["tokens=800", "epochs=20"], out, said.append)
    return out, said


def content(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "results.json").read_text())
    return found


@pytest.mark.slow
def test_saes_results_and_page_are_written(small: tuple[Path, list[str]]) -> None:
    """A SAELens folder each, with how often its latents fire; a number of every kind, and its
    interval over seeds; nothing left over."""
    out, said = small
    assert sorted(path.name for path in out.iterdir()) == ["report.html", "results.json", "saes"]
    folders = sorted((out / "saes").iterdir())
    assert len(folders) == 2 * 2 * 3
    assert len(said) == 4
    assert said[0].startswith("Doubtful: ")
    assert said[-1].startswith(f"- {TWIN} (k 4, 20 epochs, 800 tokens): In-sample Procrustes")
    assert folders[0].name == "reference.width1x.k4.epochs20.tokens800.seed0"
    assert load_sae(folders[0]).firing_rate is not None
    found = content(out)
    rows = {(e["width"], e["measure"], e["column"]): e for e in found["estimates"]}
    for measure, column in ((SURVIVAL, "value"), (BEST, "ceiling"), (IN_SAMPLE, "same")):
        assert rows["1x", measure, column]["low"] is not None
    assert rows["1x", IN_SAMPLE, "null"]["value"] == 0.75
    assert found["cka"][TWIN]["value"] > 0.5 > abs(found["cka"][TWIN]["chance"])
    assert (out / "report.html").read_text().count("in-sample Procrustes") > 1


@pytest.mark.slow
def test_the_same_command_again_trains_and_compares_nothing(
    study: SaeStudy, small: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And writes the same results."""
    before = (small[0] / "results.json").read_bytes()
    monkeypatch.setattr(engines, "train", None)
    for name in ("frozen", "aligned"):
        monkeypatch.setattr(running, name, None)
    run(study, ["tokens=800", "epochs=20"], small[0], print)
    assert (small[0] / "results.json").read_bytes() == before


@pytest.mark.slow
def test_parts_run_at_different_times_are_shown_together(
    study: SaeStudy, small: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One seed of two first, then the third, stopped half-way and begun again; and another data
    size: numbers are those of one run, each data size is read once."""
    out, parts = tmp_path / "out", ["tokens=800", "epochs=20"]
    run(study, [*parts, "seed=0,1"], out, print)
    assert content(out)["estimates"][0]["seeds"] == 2

    kept = running.keep  # type: ignore[attr-defined]

    def stopped(*given: Any) -> Any:
        kept(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(running, "keep", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(study, parts, out, print)
    run(study, parts, out, print)
    whole = content(small[0])
    assert content(out)["estimates"] == whole["estimates"]
    assert content(out)["ratios"] == whole["ratios"]

    read = []
    of = running._StudyRun._dataset_of

    def reading(work: Any, tokens: int) -> Any:
        read.append(work._dataset is None)
        return of(work, tokens)

    monkeypatch.setattr(running._StudyRun, "_dataset_of", reading)
    run(study, ["tokens=1600", "width=1x", "seed=0,1"], out, print)
    assert sum(read) == 1
    found = content(out)
    assert {(c["tokens"], c["epochs"]) for c in found["configurations"]} == {
        (800, 20), (1600, 1), (1600, 20),
    }  # fmt: skip
    assert [c for c in found["configurations"] if c["tokens"] == 800] == whole["configurations"]


@pytest.mark.slow
def test_everyone_is_measured_on_the_same_documents(
    study: SaeStudy, small: tuple[Path, list[str]], tmp_path: Path
) -> None:
    """Whatever part of the data sizes is asked for."""
    run(study, ["width=1x", "epochs=1", "tokens=1600", "seed=0"], tmp_path / "out", print)
    about = content(tmp_path / "out")["about"]
    assert about == content(small[0])["about"]


@pytest.mark.slow
def test_what_is_not_in_memory_is_streamed_once(
    study: SaeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All configurations in one pass; more than one epoch is refused."""
    tight = SaeStudy(study.train, study.study.model_copy(update={"memory": "100KB"}))
    passes = []
    made = engines.train  # type: ignore[attr-defined]

    def counted(source: Any, held_out: Any, jobs: Any, *rest: Any, **more: Any) -> Any:
        passes.append(len(jobs))
        return made(source, held_out, jobs, *rest, **more)

    monkeypatch.setattr(engines, "train", counted)
    run(tight, ["epochs=1", "tokens=1600", "seed=0"], tmp_path / "out", print)
    assert passes == [4]
    with pytest.raises(BitlensError, match="do not fit into memory"):
        run(tight, ["epochs=20", "tokens=1600", "seed=0"], tmp_path / "out", print)


@pytest.mark.slow
def test_other_folders_are_left_alone(
    study: SaeStudy, small: tuple[Path, list[str]], tmp_path: Path
) -> None:
    """A file, a folder with something else, and results of another model."""
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BitlensError, match=r"holds thesis\.txt"):
        run(study, [], tmp_path, print)
    with pytest.raises(BitlensError, match="is a file"):
        run(study, [], tmp_path / "thesis.txt", print)
    shutil.copytree(small[0], tmp_path / "copy")
    found = content(small[0])
    found["about"]["weights"] = "others"
    (tmp_path / "copy" / "results.json").write_text(json.dumps(found))
    with pytest.raises(BitlensError, match="holds a study with another weights"):
        run(study, ["tokens=800", "epochs=20"], tmp_path / "copy", print)


@pytest.mark.slow
def test_saes_of_other_settings_are_not_mixed(
    study: SaeStudy, small: tuple[Path, list[str]], tmp_path: Path
) -> None:
    """Of another dtype, whatever part they are of; and what stands in the place of an SAE."""
    (model,) = study.study.models
    coarse = replace(model, dtype="bfloat16")
    other = SaeStudy(study.train, study.study.model_copy(update={"models": (coarse,)}))
    differing = r"settings: dtype torch\.float32, not torch\.bfloat16\."
    for part in ("tokens=800", "tokens=1600"):
        with pytest.raises(BitlensError, match=differing):
            run(other, [part, "epochs=20"], small[0], print)
    shutil.copytree(small[0], tmp_path / "copy")
    folder = tmp_path / "copy" / "saes" / "reference.width1x.k4.epochs20.tokens800.seed0"
    record = json.loads((folder / "training.json").read_text())
    record["made by"]["recipe"]["rate"] = 1.0
    (folder / "training.json").write_text(json.dumps(record))
    with pytest.raises(BitlensError, match=r"rate 1\.0, not 0\.005"):
        run(study, ["tokens=800", "epochs=20"], tmp_path / "copy", print)
    (folder / "training.json").write_text("{}")
    with pytest.raises(BitlensError, match=r"training\.json cannot be read"):
        run(study, ["tokens=800", "epochs=20"], tmp_path / "copy", print)


@pytest.mark.slow
def test_twins_calibrated_on_other_documents_are_not_mixed(
    study: SaeStudy, other_texts: Path, tmp_path: Path
) -> None:
    """The text of a twin does not say what it was calibrated on."""
    part, twin = ["tokens=800", "epochs=1", "width=1x", "seed=0"], "gptq:bits=3"
    for tokens in (2000, 1000):
        settings = {
            "compressions": (twin,), "calibration": str(other_texts), "calibration_tokens": tokens,
        }  # fmt: skip
        calibrated = SaeStudy(study.train, study.study.model_copy(update=settings))
        if tokens == 2000:
            run(calibrated, part, tmp_path / "out", print)
        else:
            with pytest.raises(BitlensError, match="other settings: calibration "):
                run(calibrated, part, tmp_path / "out", print)


@pytest.mark.slow
def test_too_little_text_is_refused(study: SaeStudy, tmp_path: Path) -> None:
    """Before anything is written."""
    train = study.train.model_copy(update={"tokens": (800, 10_000_000)})
    with pytest.raises(BitlensError, match="10,000,000, the most that is to be learnt from"):
        run(SaeStudy(train, study.study), [], tmp_path / "out", print)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_links_out_of_the_folder_are_not_written_through(study: SaeStudy, tmp_path: Path) -> None:
    """The folder of the SAEs is the study's own."""
    (tmp_path / "out").mkdir()
    (tmp_path / "theirs").mkdir()
    (tmp_path / "out" / "saes").symlink_to(tmp_path / "theirs")
    with pytest.raises(BitlensError, match="saes leads out of"):
        run(study, ["tokens=800", "epochs=1", "width=1x", "seed=0"], tmp_path / "out", print)
    assert not list((tmp_path / "theirs").iterdir())
