"""SAEs are read at their place as they were trained, and what differs is said."""

import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from bitlens.data.corpus import Corpus
from bitlens.errors import BitlensError
from bitlens.models.layout import Layout
from bitlens.sae.fit import Fit
from bitlens.sae.formats.load import load_sae, save_sae
from bitlens.sae.placed_sae import PlacedSae
from bitlens.sae.placement import elsewhere, fit_saes
from bitlens.sae.sae import Sae, TrainedOn
from tests.support import tiny

CENTRED = {"center_writing_weights": True}
DOCUMENTS = tiny.corpus([[20, 7], [20], [20], [15]])


def width(family: str) -> int:
    return tiny.layout(family).width


def stored(folder: Path, family: str = "gpt2", hook: str = "resid.1", **other: Any) -> str:
    """A random SAE of a tiny model as a folder."""
    sae = replace(tiny.sae(width(family)), hook=hook, **other)
    save_sae(sae, folder)
    return str(folder)


def fitted(
    sources: Sequence[str],
    layout: Layout,
    corpus: Corpus = DOCUMENTS,
    positions: int = 1024,
    allow_poor: bool = True,
) -> list[PlacedSae]:
    plan = tiny.plan(corpus, [])
    return fit_saes(sources, layout, plan, corpus, "tiny", allow_poor, positions)


def centred(model: nn.Module) -> nn.Module:
    """What TransformerLens' center_writing_weights makes of GPT-2: everything that writes to the
    residual stream loses its mean over the width."""
    own = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in own.named_parameters():
            if name.endswith(("wte.weight", "wpe.weight", "c_proj.weight", "c_proj.bias")):
                parameter.sub_(parameter.mean(-1, keepdim=True))
    return own


@pytest.mark.parametrize("normalisation", ["none", "layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize("hook", ["blocks.1.hook_resid_post", "blocks.0.hook_resid_pre", "mlp.2"])
def test_centred_weights_are_seen_as_in_the_centred_model(
    hook: str, normalisation: Any, tmp_path: Path
) -> None:
    """The codes of our raw residual stream, of the embedding and of the MLP's output are those
    of the model that the SAE was trained on; what is decoded has the raw mean again."""
    loading = TrainedOn(model="gpt2", loading=CENTRED)
    source = stored(tmp_path, hook=hook, trained_on=loading, normalisation=normalisation)
    model = tiny.build("gpt2", tie_word_embeddings=False)
    (found,) = fitted([source], Layout(model))
    sae, place = found.sae, found.site
    assert sae.centred
    assert any("taken away before encoding" in note for note in found.notes)
    batch = tiny.batch([9, 6])
    raw = tiny.read(Layout(model), [place], batch)[place].flatten(0, 1)
    theirs = tiny.read(Layout(centred(model)), [place], batch)[place].flatten(0, 1)
    assert raw.mean(1).abs().max() > 0.01
    plain = replace(sae, centred=False)
    assert 0 < (plain.encode(theirs) > 0).double().mean() < 1
    torch.testing.assert_close(sae.encode(raw), plain.encode(theirs), atol=1e-4, rtol=1e-4)
    expected = plain.decode(plain.codes(theirs)) + raw.mean(1, keepdim=True)
    torch.testing.assert_close(sae.decode(sae.codes(raw)), expected, atol=1e-4, rtol=1e-4)
    if normalisation != "layer_norm":
        assert not torch.allclose(plain.encode(raw), plain.encode(theirs), atol=1e-3)


@pytest.mark.against
def test_transformer_lens_centres_so(tmp_path: Path) -> None:
    """Its GPT-2 with centred writing weights gives the codes that ours gives as it is."""
    lens = pytest.importorskip("transformer_lens")
    from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights

    layout = Layout(tiny.build("gpt2", attention="eager"))
    config = layout.config
    theirs = lens.HookedTransformer(
        lens.HookedTransformerConfig(
            n_layers=config.n_layer,
            d_model=config.n_embd,
            d_head=config.n_embd // config.n_head,
            n_heads=config.n_head,
            n_ctx=config.n_positions,
            d_mlp=config.n_inner or 4 * config.n_embd,
            d_vocab=config.vocab_size,
            act_fn="gelu_new",
            normalization_type="LN",
            eps=config.layer_norm_epsilon,
        )
    )
    theirs.load_and_process_state_dict(
        convert_gpt2_weights(layout.model, theirs.cfg),
        center_writing_weights=True,
        fold_ln=False,
        center_unembed=False,
        fold_value_biases=False,
    )
    batch = tiny.batch([9, 9])
    _, cache = theirs.run_with_cache(batch.tokens, prepend_bos=False)
    hook = "blocks.1.hook_resid_post"
    (found,) = fitted([stored(tmp_path, hook=hook, trained_on=TrainedOn(loading=CENTRED))], layout)
    raw = tiny.read(layout, ["resid.1"], batch)["resid.1"].flatten(0, 1)
    plain = replace(found.sae, centred=False)
    expected = plain.encode(cache[hook].flatten(0, 1))
    torch.testing.assert_close(found.sae.encode(raw), expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(plain.encode(raw), expected, atol=1e-3)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_models_that_read_the_mean_are_left_alone(family: str, tmp_path: Path) -> None:
    """Under RMSNorm TransformerLens centres nothing, and so do we; it is said."""
    source = stored(tmp_path, family, trained_on=TrainedOn(loading=CENTRED))
    (found,) = fitted([source], tiny.layout(family))
    assert not found.sae.centred
    assert any("nothing is changed here" in note for note in found.notes)


@pytest.mark.parametrize(
    ("trained_on", "bos", "note"),
    [
        (TrainedOn(prepend_bos=True), False, "with BOS, which these texts are read without"),
        (TrainedOn(prepend_bos=False), True, "without BOS, which these texts are read with"),
        (TrainedOn(context=8), False, "contexts of 8 tokens, these are of up to 20 (--context 8)"),
        (TrainedOn(positions=(5, None)), False, "positions [5:] of each context alone"),
        (TrainedOn(prepend_bos=True, context=20), True, None),
        (TrainedOn(), False, None),
        (TrainedOn(loading={"center_writing_weights": False}), False, None),
    ],
)
def test_what_differs_from_training_is_said(
    trained_on: TrainedOn, bos: bool, note: str | None, tmp_path: Path
) -> None:
    """BOS, context and positions; in the sentence and in the check; nothing where nothing does."""
    source = stored(tmp_path, trained_on=trained_on)
    corpus = replace(DOCUMENTS, bos=bos)
    (found,) = fitted([source], tiny.layout("gpt2"), corpus)
    if note is None:
        assert found.notes == ()
    else:
        assert note in found.said
        assert note in found.check.detail
        assert len(found.notes) == 1


@pytest.mark.parametrize(
    ("hook", "mapping"),
    [
        ("resid.1", "resid.1"),
        ("blocks.1.hook_resid_post", "blocks.1.hook_resid_post = resid.1"),
        ("h.1", "h.1 = resid.1"),
        ("resid_post_layer_1", "resid_post_layer_1 = resid.1"),
        ("layer_1/width_16k/average_l0_82", "layer_1/width_16k/average_l0_82 = resid.1"),
    ],
)
def test_the_mapping_of_places_is_said(hook: str, mapping: str, tmp_path: Path) -> None:
    """Its own name of the place and ours, where they differ."""
    (found,) = fitted([stored(tmp_path, hook=hook)], tiny.layout("gpt2"))
    assert found.mapping == mapping
    assert f"at {mapping};" in found.said


def test_equal_names_take_their_folders_along(tmp_path: Path) -> None:
    """As far up as it takes, and no others."""
    sources = [
        stored(tmp_path / "layer_0" / "trainer_1", hook="resid.0"),
        stored(tmp_path / "layer_1" / "trainer_1"),
        stored(tmp_path / "mine"),
    ]
    found = fitted(sources, tiny.layout("gpt2"))
    labels = [fit.sae.label for fit in found]
    assert labels == ["layer_0.trainer_1", "layer_1.trainer_1", "mine"]
    with pytest.raises(BitlensError, match="2 SAEs are called"):
        fitted([sources[2], sources[2]], tiny.layout("gpt2"))


def test_more_positions_are_read_where_they_are_asked_for(tmp_path: Path) -> None:
    """Whole batches, until there are so many."""
    source, layout = stored(tmp_path), tiny.layout("gpt2")
    corpus = tiny.corpus([[20]] * 40)
    everything = tiny.plan(corpus, []).positions
    few, all_ = (fitted([source], layout, corpus, n)[0].fit for n in (50, everything))
    assert 50 <= few.positions < everything == all_.positions


def planted(layout: Layout, place: str, spread: float) -> Sae:
    """An SAE with a latent for and against every direction, exact where activations are near the
    mean of a place, and silent far from it."""
    x = tiny.read(layout, [place], tiny.batch([20, 20]))[place].flatten(0, 1)
    eye = torch.eye(layout.width)
    sae = tiny.sae(layout.width, 2 * layout.width)
    return replace(
        sae,
        w_enc=torch.cat([eye, -eye], 1),
        b_enc=torch.zeros(2 * layout.width),
        w_dec=spread * torch.cat([eye, -eye]),
        b_dec=x.mean(0),
    )


def test_a_better_place_is_found() -> None:
    """Of any kind, if it fits twice as well there; none where none does."""
    layout = tiny.layout("gpt2")
    good = planted(layout, "resid.1", 1.0)
    plan = tiny.plan(DOCUMENTS, [])
    nowhere = Fit(10, 0.9, 1.0, 0.5)

    def found(sae: Sae, place: str, fit: Fit = nowhere) -> Any:
        return elsewhere(tiny.placed(sae, place, fit=fit), layout, plan)

    better = found(good, "resid.2")
    assert better is not None
    assert better[0] != "resid.2"
    assert better[1].fvu == pytest.approx(0, abs=1e-5)
    assert found(good, "resid.2", Fit(10, 0.0, 1.0, 0.5)) is None
    assert found(planted(layout, "resid.1", -1.0), "resid.2") is None


@pytest.mark.parametrize(
    ("hook", "message"),
    [("blocks.1.mlp.hook_post", "as wide as the model"), ("resid.9", "no site")],
)
def test_places_that_have_none_are_refused(hook: str, message: str, tmp_path: Path) -> None:
    """Not as wide as the model, or not in it."""
    with pytest.raises(BitlensError, match=message):
        fitted([stored(tmp_path, hook=hook)], tiny.layout("gpt2"))


def shifted() -> Layout:
    """A GPT-2 whose residual stream has a mean over the width, as the published one has."""
    model = tiny.build("gpt2", tie_word_embeddings=False)
    with torch.no_grad():
        model.transformer.wte.weight.add_(0.5)
        for block in model.transformer.h:
            block.mlp.c_proj.bias.add_(0.5)
    return Layout(model)


def axes(layout: Layout, folder: Path, centred: bool, factor: float, **settings: Any) -> str:
    """An SAE along random axes, either way of each, with a threshold; made for activations whose
    mean over the width is gone, or times a factor; in the layout of SAELens before 6."""
    width = layout.width
    draw = torch.Generator().manual_seed(3)
    basis = torch.linalg.qr(torch.randn(width, width, generator=draw))[0]
    x = tiny.read(layout, ["resid.1"], tiny.batch([20] * 8))["resid.1"].flatten(0, 1)
    x = (x - x.mean(1, keepdim=True) if centred else x) * factor
    directions = torch.cat([basis, -basis])
    tensors = {
        "W_enc": directions.T.contiguous(),
        "W_dec": directions.contiguous(),
        "b_enc": torch.full((2 * width,), -0.4 * float(x.std())),
        "b_dec": x.mean(0),
    }
    folder.mkdir()
    save_file(tensors, folder / "sae_weights.safetensors")
    config = {"hook_point": "resid.1", "d_in": width, "d_sae": 2 * width, "context_size": 128}
    (folder / "cfg.json").write_text(json.dumps({**config, **settings}))
    return str(folder)


def test_centring_that_files_do_not_state_is_found_and_said(tmp_path: Path) -> None:
    """TransformerLens centred by default when their layout was written."""
    layout = shifted()
    silent = axes(layout, tmp_path / "silent", True, 1.0)
    told = axes(layout, tmp_path / "told", True, 1.0, model_from_pretrained_kwargs=CENTRED)
    denied = {"model_from_pretrained_kwargs": {"center_writing_weights": False}}
    other = axes(layout, tmp_path / "denied", True, 1.0, **denied)
    found, right, wrong = fitted([silent, told, other], layout)
    assert found.sae.centred
    assert found.fit == right.fit
    assert found.notes[0].startswith("its files do not state center_writing_weights: it is read")
    assert f"leaves {right.fit.fvu:.1%}" in found.said
    assert found.notes[0] in found.check.detail
    save_sae(found.sae, tmp_path / "saved")
    assert load_sae(tmp_path / "saved").trained_on.loading == CENTRED
    assert not wrong.sae.centred
    assert wrong.fit.fvu > right.fit.fvu
    assert f"against what its files say, it would leave {right.fit.fvu:.1%}" in wrong.notes[0]


def test_an_sae_of_activations_as_they_are_is_read_as_it_is(tmp_path: Path) -> None:
    """Whether its files are silent or not; nothing is said."""
    layout = Layout(tiny.build("gpt2", tie_word_embeddings=False))
    (found,) = fitted([axes(layout, tmp_path / "sae", False, 1.0)], layout)
    assert not found.sae.centred
    assert not any("center_writing_weights" in note for note in found.notes)


def test_a_scale_that_files_do_not_state_is_found_and_said(tmp_path: Path) -> None:
    """Of activations scaled to a mean length of the root of the width."""
    layout = tiny.layout("llama")
    x = tiny.read(layout, ["resid.1"], tiny.batch([20] * 8))["resid.1"].flatten(0, 1)
    factor = layout.width**0.5 / float(x.norm(dim=1).mean())
    scaling = {"normalize_activations": "expected_average_only_in"}
    silent = axes(layout, tmp_path / "silent", False, factor, **scaling)
    told = axes(layout, tmp_path / "told", False, factor, **scaling)
    (Path(told) / "activation_scaler.json").write_text(json.dumps({"scaling_factor": factor}))
    found, right = fitted([silent, told], layout)
    assert found.notes[0].startswith("its files do not state normalize_activations: it is read on")
    assert found.fit.fvu == pytest.approx(right.fit.fvu, rel=0.1)
    assert found.fit.l0 == pytest.approx(right.fit.l0, rel=0.1)
