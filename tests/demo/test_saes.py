"""The SAEs that ship fit the model that ships, on text neither has seen."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from bitlens.demo import evaluation_path, model_path, sae_paths
from bitlens.sae.fit import check_fit, measure_fit
from bitlens.sae.formats.load import load_sae
from bitlens.sae.sae import Sae
from tools.demo_model.corpus import read_documents
from tools.demo_model.train_saes import CONTEXT, activations, cut

BUDGET = 24 * 10**6
"""Of the whole package: what a user downloads."""
POSITIONS = 30_000


@pytest.fixture(scope="module")
def saes() -> dict[int, Sae]:
    loaded = [load_sae(path) for path in sae_paths()]
    return {int(sae.hook.split(".")[1]): sae for sae in loaded}


@pytest.fixture(scope="module")
def read(saes: dict[int, Sae]) -> dict[int, torch.Tensor]:
    model = AutoModelForCausalLM.from_pretrained(model_path()).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_path())
    texts = [document.text for document in read_documents(evaluation_path())]
    windows = cut(texts, tokenizer, CONTEXT).drawn(POSITIONS, seed=1)
    blocks = sorted({0, *saes})
    return activations(model, windows, blocks, tokenizer.bos_token_id, quiet=True)


def test_two_places_have_one(saes: dict[int, Sae]) -> None:
    """At the outputs of blocks 1 and 2, for the model that ships, named as others name places."""
    assert sorted(saes) == [1, 2]
    for n, sae in saes.items():
        assert sae.hook == f"blocks.{n}.hook_resid_post"
        assert sae.label.startswith(f"resid.{n}-")
        assert sae.trained_on.model == model_path().name
        assert sae.trained_on.prepend_bos


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2])
def test_they_meet_their_targets(
    n: int, saes: dict[int, Sae], read: dict[int, torch.Tensor]
) -> None:
    """At most 15 % of the variance unexplained, 64 latents a position, a fifth of them silent."""
    fit = measure_fit(saes[n], read[n])
    assert fit.fvu is not None
    assert fit.fvu <= 0.15
    assert fit.l0 <= 64
    assert fit.alive >= 0.8


@pytest.mark.slow
def test_another_place_is_worse(saes: dict[int, Sae], read: dict[int, torch.Tensor]) -> None:
    """An SAE read one block away explains less: the measure of fit sees it."""
    right, wrong = measure_fit(saes[1], read[1]), measure_fit(saes[1], read[0])
    check_fit(right, saes[1], "resid.1")
    assert right.fvu is not None
    assert wrong.fvu is not None
    assert wrong.fvu > 2 * right.fvu


def test_small_and_safe() -> None:
    """Two files a folder, about 2 MB; nothing that runs code; the package within its budget."""
    for path in sae_paths():
        files = {p.name: p.stat().st_size for p in path.iterdir()}
        assert set(files) == {"cfg.json", "sae_weights.safetensors"}
        assert sum(files.values()) <= 2.2e6
    package = model_path().parent
    shipped = [p for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert sum(p.stat().st_size for p in shipped) <= BUDGET


def test_figures_are_of_these_folders() -> None:
    """Each has its figures, with everything it was made by."""
    figures = json.loads(Path(sae_paths()[0].parent / "figures.json").read_text())
    assert sorted(figures) == [path.name for path in sae_paths()]
    for of in figures.values():
        assert of["fvu"] <= 0.15
        assert of["positions"] > 100_000
        assert of["recipe"]["seed"] == 0
