"""Dictionaries of dictionary_learning are read as its own classes encode."""

import importlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bitlens.errors import BitlensError
from bitlens.sae.formats.dictionary_learning import ARCHITECTURES
from bitlens.sae.formats.load import load_sae
from tests.support.dictionary_learning import GATE, MAG, PLAIN, R_MAG, STATES, THRESHOLD, write
from tests.support.saes import activations


def expected(kind: str, x: torch.Tensor) -> torch.Tensor:
    """Codes as each class defines them, dense."""
    subtracted = kind not in ("AutoEncoderNew", "JumpReluAutoEncoder")
    product = (x - subtracted * PLAIN.b_dec) @ PLAIN.w_enc
    before = product + PLAIN.b_enc
    match kind:
        case "GatedAutoEncoder":
            return (product + GATE > 0) * (R_MAG.exp() * product + MAG).relu()
        case "AutoEncoderTopK":
            return before.relu() * (before >= before.sort(1, descending=True).values[:, 4:5])
        case "BatchTopKSAE" | "MatryoshkaBatchTopKSAE":
            return before.relu() * (before > THRESHOLD)
        case "JumpReluAutoEncoder":
            return before.relu() * (before > PLAIN.threshold)
        case _:
            return before.relu()


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_every_class_encodes_as_it_says(kind: str, tmp_path: Path) -> None:
    """And decodes with its decoder and the bias of its own name."""
    sae, x = load_sae(write(tmp_path / "trainer_2", kind)), activations()
    codes = expected(kind, x)
    assert 0 < (codes > 0).double().mean() < 0.9
    torch.testing.assert_close(sae.encode(x), codes)
    torch.testing.assert_close(sae.decode(sae.codes(x)), codes @ PLAIN.w_dec + PLAIN.b_dec)
    assert sae.hook == "resid_post_layer_3"
    assert sae.architecture == ARCHITECTURES[kind]
    assert (sae.trained_on.model, sae.trained_on.context) == ("EleutherAI/tiny", 64)


def test_a_trainers_number_takes_its_folder_along(tmp_path: Path) -> None:
    """Every layer has a trainer_0."""
    folder = write(tmp_path / "resid_post_layer_3" / "trainer_0", "AutoEncoder")
    assert load_sae(folder).label == "resid_post_layer_3.trainer_0"
    assert load_sae(folder / "ae.pt").label == "resid_post_layer_3.trainer_0"
    assert load_sae(write(tmp_path / "mine", "AutoEncoder")).label == "mine"


def test_without_a_submodule_it_is_the_layers_residual_stream(tmp_path: Path) -> None:
    """As its own loader takes it."""
    folder = write(tmp_path / "mine", "AutoEncoder", submodule_name=None)
    assert load_sae(folder).hook == "blocks.3.hook_resid_post"


def test_published_figures_lie_beside(tmp_path: Path) -> None:
    """Of what it explains, one less that is left; nothing where there is no file."""
    folder = write(tmp_path / "mine", "AutoEncoder")
    assert load_sae(folder).published.fvu is None
    found = {"frac_variance_explained": 0.75, "l0": 64, "frac_alive": 0.5, "cossim": 0.9}
    (folder / "eval_results.json").write_text(json.dumps(found))
    published = load_sae(folder).published
    assert (published.fvu, published.l0, published.alive) == (0.25, 64, 0.5)
    for nothing in (10**400, math.nan, math.inf, "many"):
        (folder / "eval_results.json").write_text(json.dumps({**found, "l0": nothing}))
        assert load_sae(folder).published.l0 is None


def test_weights_of_a_compiled_model_are_read(tmp_path: Path) -> None:
    """torch.compile puts a word before every name."""
    folder = write(tmp_path / "mine", "AutoEncoder")
    plain = load_sae(folder)
    state = {f"_orig_mod.{name}": tensor for name, tensor in STATES["AutoEncoder"].items()}
    torch.save(state, folder / "ae.pt")
    assert torch.equal(load_sae(folder).w_enc, plain.w_enc)


class Harmful:
    """What a pickle could do."""

    def __reduce__(self) -> tuple[Any, Any]:
        return (exec, ("raise SystemExit('it ran')",))


@pytest.mark.parametrize(
    "content",
    [Harmful(), {"encoder.weight": Harmful()}, {"encoder.weight": "text"}, [torch.zeros(3)]],
)
def test_pickles_of_anything_but_tensors_are_refused(content: Any, tmp_path: Path) -> None:
    """And what they would run is not run: it would end the tests."""
    folder = write(tmp_path / "mine", "AutoEncoder")
    torch.save(content, folder / "ae.pt")
    with pytest.raises(BitlensError, match=r"ae\.pt (is not read|holds no state dict)"):
        load_sae(folder)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "ae.pt").write_bytes(b""), "is not read"),
        (lambda f: (f / "ae.pt").write_bytes(b"PK\x03\x04"), "is not read"),
        (lambda f: (f / "config.json").unlink(), r"has no config\.json"),
        (lambda f: (f / "config.json").write_text("[]"), "no settings"),
        (lambda f: (f / "config.json").write_text('{"trainer": 3}'), "trainer as 3"),
        (lambda f: write(f, "AutoEncoder", dict_class="CrossCoder"), "'CrossCoder'"),
        (lambda f: write(f, "AutoEncoder", dict_class=["AutoEncoder"]), "dict_class as"),
        (lambda f: write(f, "AutoEncoder", dict_class="GatedAutoEncoder"), "gate_bias is missing"),
        (lambda f: write(f, "AutoEncoder", dict_size=41), "dict_size 41"),
        (lambda f: write(f, "AutoEncoder", submodule_name=None, layer=None), "does not say where"),
    ],
)
def test_broken_folders_are_refused(
    spoil: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    """With what is wrong."""
    folder = write(tmp_path / "mine", "AutoEncoder")
    spoil(folder)
    with pytest.raises(BitlensError, match=message):
        load_sae(folder)


def test_what_reads_an_input_is_refused(tmp_path: Path) -> None:
    """A module's input is another place than its output."""
    folder = write(tmp_path / "mine", "AutoEncoder")
    config = json.loads((folder / "config.json").read_text())
    config["buffer"]["io"] = "in"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BitlensError, match="reads the 'in'"):
        load_sae(folder)


@pytest.mark.against
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_agrees_with_dictionary_learning(kind: str, tmp_path: Path) -> None:
    """Its own classes, loaded from the same file."""
    pytest.importorskip("dictionary_learning", exc_type=ImportError)
    places = {
        "AutoEncoderTopK": "trainers.top_k",
        "BatchTopKSAE": "trainers.batch_top_k",
        "MatryoshkaBatchTopKSAE": "trainers.matryoshka_batch_top_k",
    }
    module = importlib.import_module(f"dictionary_learning.{places.get(kind, 'dictionary')}")
    folder = write(tmp_path / "mine", kind)
    sizes: dict[str, Any] = {"activation_dim": 12, "dict_size": 40}
    sizes |= {"k": 5} if "TopK" in kind else {}
    sizes |= {"group_sizes": [10, 30]} if kind.startswith("Matryoshka") else {}
    theirs = getattr(module, kind)(**sizes)
    theirs.load_state_dict(torch.load(folder / "ae.pt", weights_only=True))
    x, ours = activations(), load_sae(folder)
    with torch.no_grad():
        codes = theirs.encode(x)
        torch.testing.assert_close(ours.encode(x), codes)
        torch.testing.assert_close(ours.decode(ours.codes(x)), theirs.decode(codes))
