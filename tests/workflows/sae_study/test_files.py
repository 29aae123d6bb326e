"""What comes with bitlens for studies of trained SAEs: their files, and the script that makes a
model's own text."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from transformers import AutoModelForCausalLM

from bitlens.config.sae_study import configurations, load_sae_study, trains

STUDIES = Path(__file__).parents[3] / "studies"
README = (STUDIES / "README.md").read_text(encoding="utf-8")
FILES = sorted(path.name for path in STUDIES.glob("*.yaml") if trains(path))


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script, which is no module of bitlens."""
    spec = importlib.util.spec_from_file_location("sample_text", STUDIES / "sample_text.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", FILES)
def test_every_study_of_trained_saes_loads_and_is_explained(name: str) -> None:
    """Every setting in it exists; the README names the file, and the text that is not there."""
    study = load_sae_study(STUDIES / name)
    assert configurations(study.axes)
    assert f"`{name}`" in README
    (model,) = study.study.models
    for needed in (model.name, study.study.text):
        assert Path(needed).exists() or f"`{needed}`" in README


def test_the_whole_grid_is_the_one_that_was_asked_for() -> None:
    """Five widths, seven ks, six epoch counts and seven data sizes, with seeds and twins."""
    axes = load_sae_study(STUDIES / "sae_width.yaml").axes
    assert [len(values) for values in axes.values()] == [5, 7, 6, 7, 4, 2]
    assert (axes["width"][0], axes["width"][-1]) == ("0.5x", "8x")


def test_sampled_text_is_the_same_for_the_same_seed(
    script: ModuleType,
    llama: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Documents one a line; fewer tokens are the first of them, another seed others."""
    monkeypatch.setattr(script, "ROWS", 4)

    def made(tokens: int, seed: int) -> list[str]:
        out = tmp_path / "text.jsonl"
        words = [llama, "--tokens", tokens, "--seed", seed, "--context", 12, "--out", out]
        monkeypatch.setattr(sys, "argv", ["sample_text.py", *map(str, words)])
        script.main()
        return [json.loads(line)["text"] for line in out.read_text().splitlines()]

    few, many, other = made(20, 0), made(90, 0), made(90, 1)
    assert few == many[: len(few)]
    assert len(few) < len(many)
    assert many != other
    assert "documents of" in capsys.readouterr().out


def test_tokens_are_drawn_as_likely_as_the_model_has_them(script: ModuleType, llama: Path) -> None:
    """The second token of many rows, by chi-squared; a row may end and then says nothing more."""
    model = AutoModelForCausalLM.from_pretrained(llama).eval()
    with torch.inference_mode():
        share = model(torch.tensor([[5]])).logits[0, -1].softmax(0).double()
        found = torch.zeros_like(share)
        for seed in range(20):
            draw = torch.Generator().manual_seed(seed)
            rows = script.rows_of(model, 5, 2, [0], draw)
            assert rows.shape == (script.ROWS, 1)
            found += torch.bincount(rows[:, 0], minlength=len(share))
    n = float(found.sum())
    chi = float(((found - n * share) ** 2 / (n * share)).sum())
    degrees = len(share) - 1
    assert abs(chi - degrees) < 5 * (2 * degrees) ** 0.5
