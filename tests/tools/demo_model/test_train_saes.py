"""What the script learns from is what an audit would count, and a run gives usable folders."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from bitlens.sae.formats.load import load_sae
from bitlens.sae.training.config import SaeTrainingConfig
from tools.demo_model.train_saes import TrainingInput, activations, cut, make, other

TEXTS = ["abcdefgh", "xy", "a longer text, for two windows and more"]


def test_windows_hold_one_document_each(letters: PreTrainedTokenizerFast) -> None:
    """Every token of every document once, behind a BOS, short rows filled up."""
    windows = cut(TEXTS, letters, 10)
    assert (windows.tokens[:, 0] == letters.bos_token_id).all()
    rows = [row[1:n] for row, n in zip(windows.tokens, windows.lengths, strict=True)]
    assert letters.decode(np.concatenate(rows)) == "".join(TEXTS)
    assert windows.lengths[:3].tolist() == [9, 3, 10]
    assert (windows.tokens[1, 3:] == letters.bos_token_id).all()


def test_a_draw_stops_when_it_has_enough(letters: PreTrainedTokenizerFast) -> None:
    """Whole windows, the same for a seed; all of them when that is not enough."""
    windows = cut(TEXTS, letters, 4)
    drawn = windows.drawn(8, seed=0)
    assert 8 <= (drawn.lengths - 1).sum() < 8 + 3
    assert np.array_equal(drawn.tokens, windows.drawn(8, seed=0).tokens)
    assert len(windows.drawn(10**6, seed=0)) == len(windows)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_activations_are_the_blocks_outputs(
    tiny_folder: Callable[..., Path], family: str, letters: PreTrainedTokenizerFast
) -> None:
    """Of the model's own hidden states, without BOS and filling, in the order of the text."""
    model = AutoModelForCausalLM.from_pretrained(tiny_folder(family)).eval()
    windows = cut(TEXTS, letters, 10)
    assert letters.bos_token_id is not None
    found = activations(model, windows, [0], letters.bos_token_id, quiet=True)[0]
    with torch.no_grad():
        states = model(torch.from_numpy(windows.tokens), output_hidden_states=True).hidden_states[1]
    expected = [row[1:n] for row, n in zip(states, windows.lengths, strict=True)]
    torch.testing.assert_close(found, torch.cat(expected), atol=1e-5, rtol=1e-5)


def test_a_run_writes_folders_and_figures(
    tiny_folder: Callable[..., Path], letters: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """A tiny model through the whole script: an SAE by place, its figures of other texts."""
    model = AutoModelForCausalLM.from_pretrained(tiny_folder("llama")).eval()
    given = TrainingInput("tiny", model, letters, TEXTS * 20, TEXTS[:1], TEXTS[1:])
    configs = {0: SaeTrainingConfig(architecture="topk", latents=48, k=4, steps=10, batch=64)}
    make(given, configs, tmp_path, quiet=True)
    sae = load_sae(tmp_path / "resid.0-topk")
    assert sae.hook == "blocks.0.hook_resid_post"
    assert sae.width == model.config.hidden_size
    assert (sae.trained_on.model, sae.trained_on.prepend_bos) == ("tiny", True)
    figures = json.loads((tmp_path / "figures.json").read_text())["resid.0-topk"]
    assert figures["positions"] == sum(map(len, TEXTS[1:]))
    assert figures["recipe"]["k"] == 4


def test_another_model_keeps_its_last_documents_apart(
    tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    """The last documents are measured and never learnt from."""
    (tmp_path / "texts.json").write_text(json.dumps(TEXTS))
    given = other(tiny_folder("llama"), tmp_path / "texts.json", 1)
    assert given.train == TEXTS[:2]
    assert given.measured == given.watched == TEXTS[2:]
