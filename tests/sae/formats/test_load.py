"""A folder is read as it means, or refused with what is in the way and what to do."""

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from bitlens.errors import BitlensError
from bitlens.sae.formats.load import load_sae, save_firing_rates, save_sae
from bitlens.sae.sae import TrainedOn
from tests.support.saes import ARCHITECTURES, NORMALISATIONS, activations, small_sae


def change_config(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads((folder / "cfg.json").read_text())
    change(config)
    (folder / "cfg.json").write_text(json.dumps(config))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "sae_weights.safetensors")
    change(tensors)
    save_file(tensors, folder / "sae_weights.safetensors")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_sae(small_sae("topk"), tmp_path / "layer-1")
    return tmp_path / "layer-1"


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_round_trip(architecture: str, normalisation: Any, tmp_path: Path) -> None:
    """What was saved is what is loaded; the label is the folder's name."""
    trained_on = TrainedOn(
        model="tiny",
        context=16,
        prepend_bos=False,
        dtype="float32",
        loading={"center_writing_weights": True},
        positions=(1, 9),
    )
    sae = small_sae(
        architecture,
        normalisation=normalisation,
        apply_b_dec_to_input=False,
        trained_on=trained_on,
    )
    save_sae(sae, tmp_path / "there")
    found = load_sae(tmp_path / "there")
    for name in ("w_enc", "b_enc", "w_dec", "b_dec"):
        assert torch.equal(getattr(found, name), getattr(sae, name))
    assert (found.threshold is None) == (sae.threshold is None)
    assert found.k == sae.k
    if sae.threshold is not None:
        torch.testing.assert_close(found.threshold, sae.threshold)
    assert (found.architecture, found.hook) == (architecture, "blocks.1.hook_resid_post")
    assert (found.normalisation, found.apply_b_dec_to_input) == (normalisation, False)
    # A constant may be folded into weights or not: nothing in the files says so.
    open_ = ("normalize_activations",) if normalisation == "expected_average_only_in" else ()
    assert found.trained_on == replace(trained_on, unsaid=open_)
    assert found.label == "there"


@pytest.mark.parametrize("after", [0, 1])
def test_what_cannot_be_written_leaves_no_half_an_sae(
    folder: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full at the weights: the SAE that was there is whole. At the settings: none is
    there, not the new weights with the old settings."""
    old, calls = load_sae(folder), iter(range(9))

    def full(file: int, fsync: Any = os.fsync) -> None:
        # Every file written is synchronised, and then its folder.
        if next(calls) == 2 * after:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(file)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(BitlensError, match="No space left on device"):
            save_sae(small_sae("standard", seed=1), folder)
    assert not list(folder.glob(".*"))
    if after == 0:
        assert load_sae(folder).fingerprint == old.fingerprint
    else:
        with pytest.raises(BitlensError, match=r"has no cfg\.json"):
            load_sae(folder)


def test_the_older_layout(folder: Path) -> None:
    """Everything at the top level, under older names: topk as an activation function."""
    new = load_sae(folder)

    def old(config: dict[str, Any]) -> None:
        config |= config.pop("metadata")
        config["hook_point"] = config.pop("hook_name")
        config |= {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": config.pop("k")}}
        config |= {"hook_point_head_index": None, "normalize_activations": False}
        del config["architecture"], config["apply_b_dec_to_input"]

    change_config(folder, old)
    found = load_sae(folder)
    assert (found.architecture, found.k, found.hook) == ("topk", 5, new.hook)
    assert (found.normalisation, found.apply_b_dec_to_input) == ("none", True)
    unsaid = ("center_writing_weights", "apply_b_dec_to_input")
    assert found.trained_on == replace(new.trained_on, unsaid=unsaid)
    change_config(folder, lambda c: c.update(normalize_activations=True))
    assert load_sae(folder).normalisation == "expected_average_only_in"
    change_config(folder, lambda c: c.pop("prepend_bos"))
    assert load_sae(folder).trained_on.prepend_bos is True


def test_half_precision_weights_become_float32(folder: Path) -> None:
    """bf16 files are read, and say what they were."""
    change_weights(folder, lambda t: t.update({k: v.bfloat16() for k, v in t.items()}))
    change_config(folder, lambda c: c.update(dtype="bfloat16"))
    found = load_sae(folder)
    assert found.w_dec.dtype == torch.float32
    assert found.trained_on.dtype == "bfloat16"


def test_rescaling_by_decoder_norm(folder: Path) -> None:
    """The k largest are chosen after multiplying by the decoder's norms; decoding divides."""
    plain = load_sae(folder)
    change_config(folder, lambda c: c.update(rescale_acts_by_decoder_norm=True))
    x = activations()
    norm = plain.w_dec.norm(dim=1)
    before = ((x - plain.b_dec) @ plain.w_enc + plain.b_enc) * norm
    least = before.sort(1, descending=True).values[:, 4:5]
    expected = before.relu() * (before >= least)
    sae = load_sae(folder)
    torch.testing.assert_close(sae.encode(x), expected)
    assert not torch.equal(expected > 0, plain.encode(x) > 0)
    torch.testing.assert_close(
        sae.decode(sae.codes(x)), (expected / norm) @ plain.w_dec + plain.b_dec
    )


def test_finetuning_scales_codes_when_decoding(folder: Path) -> None:
    """A factor a latent, if the settings say so; else it is ignored, as SAELens does."""
    plain, x = load_sae(folder), activations()
    factor = torch.linspace(0.5, 2, 40)
    change_weights(folder, lambda t: t.update(finetuning_scaling_factor=factor))
    assert torch.equal(load_sae(folder).w_dec, plain.w_dec)
    change_config(folder, lambda c: c.update(finetuning_scaling_factor=True))
    sae, codes = load_sae(folder), plain.encode(x)
    assert torch.equal(sae.encode(x), codes)
    expected = (codes * factor) @ plain.w_dec + plain.b_dec
    torch.testing.assert_close(sae.decode(sae.codes(x)), expected)


def test_gated_weights_worked_by_hand(folder: Path) -> None:
    """One direction of unit length. With r_mag = log 2, b_mag = 1, b_gate = -1/2: at x = 1 the
    gate 1 - 1/2 is open and the code 2 + 1; at x = 1/4 the gate is shut although 1/2 + 1 > 0."""
    weights = {
        "W_enc": torch.ones(1, 1),
        "W_dec": torch.ones(1, 1),
        "b_dec": torch.zeros(1),
        "r_mag": torch.tensor([2.0]).log(),
        "b_mag": torch.ones(1),
        "b_gate": torch.tensor([-0.5]),
    }
    save_file(weights, folder / "sae_weights.safetensors")
    change_config(folder, lambda c: c.update(architecture="gated", d_in=1, d_sae=1))
    codes = load_sae(folder).encode(torch.tensor([[1.0], [0.25], [-9.0]]))
    torch.testing.assert_close(codes, torch.tensor([[3.0], [0.0], [0.0]]))


@pytest.mark.parametrize(("r_mag", "b_gate"), [(100.0, 0.5), (80.0, 1e5)])
def test_gated_weights_that_leave_float32_are_refused(
    folder: Path, r_mag: float, b_gate: float
) -> None:
    """e^100 is past float32's 3.4e38, and e^80 times 1e5 is too, though all that is stored is
    finite."""
    change_weights(folder, lambda t: t.pop("b_enc"))
    filled = {"b_gate": b_gate, "r_mag": r_mag, "b_mag": 0.0}
    change_weights(folder, lambda t: t.update({n: torch.full((40,), v) for n, v in filled.items()}))
    change_config(folder, lambda c: c.update(architecture="gated"))
    with pytest.raises(BitlensError, match=rf"sae_weights.*r_mag reaches {r_mag:g}"):
        load_sae(folder)


def test_gated_is_what_the_paper_says(folder: Path) -> None:
    """f = 1[W (x - b_dec) + b_gate > 0] relu(exp(r_mag) W (x - b_dec) + b_mag), dense."""
    plain, x = load_sae(folder), activations()
    draw = torch.Generator().manual_seed(3)
    b_gate, r_mag, b_mag = 0.5 * torch.randn(3, 40, generator=draw)
    change_weights(folder, lambda t: t.update(b_gate=b_gate, r_mag=r_mag, b_mag=b_mag))
    change_config(folder, lambda c: c.update(architecture="gated"))
    product = (x - plain.b_dec) @ plain.w_enc
    expected = (product + b_gate > 0) * (r_mag.exp() * product + b_mag).relu()
    opened = (product + b_gate > 0).double().mean()
    assert 0 < (expected > 0).double().mean() < opened < 1
    torch.testing.assert_close(load_sae(folder).encode(x), expected)


def test_positions_left_out_are_remembered(folder: Path) -> None:
    """A slice that leaves nothing out is none."""
    change_config(folder, lambda c: c["metadata"].update(seqpos_slice=[5, None]))
    assert load_sae(folder).trained_on.positions == (5, None)
    change_config(folder, lambda c: c["metadata"].update(seqpos_slice=[None]))
    assert load_sae(folder).trained_on.positions is None


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ("gpt2-small/6-res-jb", "gpt2-small/6-res-jb"),
        ("../6?x=", None),
        ("javascript:alert(1)", None),
        (6, None),
        (None, None),
    ],
)
def test_its_name_on_neuronpedia(folder: Path, said: object, known: str | None) -> None:
    """As its settings say; what could be no such name is none."""
    change_config(folder, lambda c: c["metadata"].update(neuronpedia_id=said))
    assert load_sae(folder).neuronpedia == known


def test_rates_beside_it_give_the_published_l0(folder: Path) -> None:
    """Latents that fired at 1, 1/10 and, as SAELens writes it, none of the positions: 1.1 at a
    time."""
    bare = load_sae(folder)
    assert bare.published.l0 is None
    assert bare.firing_rate is None
    logarithms = torch.full((bare.latents,), -10.0)
    logarithms[:2] = torch.tensor([0.0, -1.0])
    save_file({"sparsity": logarithms}, folder / "sparsity.safetensors")
    sae = load_sae(folder)
    assert sae.published.l0 == pytest.approx(1.1)
    assert sae.firing_rate is not None
    assert sae.firing_rate[:2].tolist() == pytest.approx([1, 0.1])
    assert sae.firing_rate[2:].tolist() == [0] * (bare.latents - 2)


def test_rates_come_back_as_they_were_written(folder: Path) -> None:
    """One position in a hundred million is told from none."""
    rates = torch.zeros(load_sae(folder).latents)
    rates[:2] = torch.tensor([1e-8, 0.5])
    save_firing_rates(rates, folder)
    found = load_sae(folder).firing_rate
    assert found is not None
    torch.testing.assert_close(found.float(), rates, rtol=1e-4, atol=0)


def test_rates_of_another_sae_are_refused(folder: Path) -> None:
    """As many as there are latents."""
    save_firing_rates(torch.ones(3), folder)
    with pytest.raises(BitlensError, match=r"sparsity has shape \[3\]"):
        load_sae(folder)


def test_fingerprint_follows_the_files(folder: Path) -> None:
    """Same files, same fingerprint; one weight or one setting more, another."""
    first = load_sae(folder).fingerprint
    assert first == load_sae(folder).fingerprint
    assert len(first) == 64
    change_config(folder, lambda c: c.update(k=4))
    second = load_sae(folder).fingerprint
    change_weights(folder, lambda t: t["b_dec"].add_(1e-3))
    assert len({first, second, load_sae(folder).fingerprint}) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(architecture="batchtopk"), r"(?s)'batchtopk'.*save_inference_model"),
        (lambda c: c.update(architecture="temporal"), "'temporal'(?s:.*)topk, jumprelu, gated"),
        (lambda c: c.update(architecture="gated"), "b_gate is missing"),
        (lambda c: c.update(architecture="transcoder"), "is a transcoder(?s:.*)predicts another"),
        (lambda c: c.update(architecture="jumprelu_skip_transcoder"), "jumprelu_skip_transcoder"),
        (lambda c: c.update(architecture=["topk"]), "architecture"),
        (lambda c: c.update(architecture="standard", activation_fn="tanh-relu"), "tanh-relu"),
        (lambda c: c.update(normalize_activations="covariance_whitening"), "covariance_whitening"),
        (lambda c: c.update(normalize_activations=["none"]), "normalises"),
        (lambda c: c.update(reshape_activations="hook_z"), "hook_z"),
        (lambda c: c["metadata"].update(hook_name="blocks.1.attn.hook_z"), "hook_z"),
        (lambda c: c["metadata"].update(hook_head_index=3), "head 3"),
        (lambda c: c["metadata"].pop("hook_name"), "hook_name"),
        (lambda c: c["metadata"].update(hook_name=7), "hook_name"),
        (lambda c: c.update(d_in=768), r"d_in 768(?s:.*)12"),
        (lambda c: c.update(d_sae=41), "d_sae 41"),
        (lambda c: c.pop("k"), "k as None"),
        (lambda c: c.update(k=41), "from 1 to 40"),
        (lambda c: c.update(k=True), "k as True"),
        (lambda c: c.update(k=0), "k as 0"),
        (lambda c: c.update(activation_fn_kwargs=3), "activation_fn_kwargs as 3"),
        (lambda c: c.update(metadata=[1]), "no settings"),
        (lambda c: c.update(finetuning_scaling_factor=True), "finetuning_scaling_factor"),
        (lambda c: c.update(architecture="jumprelu"), "threshold is missing"),
        (lambda c: c["metadata"].update(context_size="long"), "context_size"),
        (lambda c: c["metadata"].update(prepend_bos="yes"), "prepend_bos"),
        (lambda c: c["metadata"].update(model_from_pretrained_kwargs=[1]), "model_from_pretr"),
        (lambda c: c["metadata"].update(model_name=["gpt2"]), "model_name"),
        (lambda c: c["metadata"].update(seqpos_slice=3), "seqpos_slice as 3"),
        (lambda c: c["metadata"].update(context_size=True), "context_size as True"),
    ],
)
def test_settings_that_cannot_be_read(
    folder: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    """Each is named, with what would be read."""
    change_config(folder, change)
    with pytest.raises(BitlensError, match=message):
        load_sae(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("W_enc"), "W_enc is missing"),
        (lambda t: t.pop("W_dec"), "no decoder"),
        (lambda t: t.update(W_dec=torch.zeros(3)), "no decoder"),
        (lambda t: t.update(W_enc=t["W_enc"].T.contiguous()), r"W_enc has shape \[40, 12\]"),
        (lambda t: t.update(b_enc=torch.zeros(12)), r"b_enc of shape \[40\]"),
        (lambda t: t["W_enc"][0].fill_(torch.nan), "W_enc(?s:.*)40 values that are not finite"),
        (lambda t: t["b_dec"][:2].fill_(torch.inf), "b_dec(?s:.*)2 values"),
    ],
)
def test_weights_that_cannot_be_read(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], object], message: str
) -> None:
    """The tensor and the shape it should have are named."""
    change_weights(folder, change)
    with pytest.raises(BitlensError, match=message):
        load_sae(folder)


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe", b""])
def test_settings_that_are_no_settings(folder: Path, content: bytes) -> None:
    """Broken JSON and JSON of another kind."""
    (folder / "cfg.json").write_bytes(content)
    with pytest.raises(BitlensError, match=r"cfg\.json"):
        load_sae(folder)


@pytest.mark.parametrize("content", [b"", b"12345678901234567890"])
def test_weights_that_are_no_safetensors(folder: Path, content: bytes) -> None:
    """Cut short, or something else under that name."""
    (folder / "sae_weights.safetensors").write_bytes(content)
    with pytest.raises(BitlensError, match="not a whole safetensors"):
        load_sae(folder)


def test_folders_that_are_no_sae(folder: Path, tmp_path: Path) -> None:
    """Not there, empty, a release of several, settings or weights alone, a pickle."""
    with pytest.raises(BitlensError, match="no folder"):
        load_sae(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BitlensError, match="holds nothing"):
        load_sae(tmp_path / "empty")
    save_sae(small_sae(), tmp_path / "release" / "layer-2")
    save_sae(small_sae(), tmp_path / "release" / "layer-7")
    with pytest.raises(BitlensError, match=r"(?s)holds 2: layer-2, layer-7.*layer-2"):
        load_sae(tmp_path / "release")
    (folder / "sae_weights.safetensors").rename(folder / "sae.pt")
    with pytest.raises(BitlensError, match=r"(?s)no sae_weights.*cfg\.json, sae\.pt"):
        load_sae(folder)


def test_the_file_of_the_weights_means_its_folder(folder: Path) -> None:
    """As a path in a download's cache may be given."""
    found = load_sae(folder / "sae_weights.safetensors")
    assert found.label == "layer-1"
    assert found.fingerprint == load_sae(folder).fingerprint


def scale(folder: Path, text: str) -> None:
    change_config(folder, lambda c: c.update(normalize_activations="expected_average_only_in"))
    (folder / "activation_scaler.json").write_text(text)


def test_a_scale_that_is_not_folded_yet_is_part_of_the_sae(folder: Path) -> None:
    """SAELens writes it beside an SAE whose training goes on; null stands for none."""
    plain, x = load_sae(folder), activations()
    scale(folder, '{"scaling_factor": null}')
    torch.testing.assert_close(load_sae(folder).encode(x), plain.encode(x))
    scale(folder, '{"scaling_factor": 2.5}')
    found = load_sae(folder)
    torch.testing.assert_close(found.encode(x), plain.encode(2.5 * x))
    scale(folder, '{"scaling_factor": 2.4}')
    assert load_sae(folder).fingerprint != found.fingerprint


@pytest.mark.parametrize("factor", ["0", "-1", "true", '"2"', "Infinity", "NaN"])
def test_a_scale_that_is_none_is_refused(folder: Path, factor: str) -> None:
    """A positive number."""
    scale(folder, f'{{"scaling_factor": {factor}}}')
    with pytest.raises(BitlensError, match="scaling_factor"):
        load_sae(folder)
