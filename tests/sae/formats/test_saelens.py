"""SAELens reads what bitlens writes and the other way round, to the same codes."""

from pathlib import Path
from typing import Any

import pytest
import torch

from bitlens.errors import BitlensError
from bitlens.sae.formats.dictionary_learning import ARCHITECTURES as DICTIONARIES
from bitlens.sae.formats.load import load_sae, save_sae
from tests.support import dictionary_learning, gemma_scope
from tests.support.saes import ARCHITECTURES, NORMALISATIONS, activations, small_sae

sae_lens = pytest.importorskip("sae_lens")
pytestmark = [pytest.mark.against, pytest.mark.filterwarnings("ignore")]


def agree(ours: Any, theirs: Any) -> None:
    x = activations()
    with torch.no_grad():
        codes = theirs.encode(x)
        assert 0 < (codes > 0).double().mean() < 0.9
        torch.testing.assert_close(ours.encode(x), codes)
        torch.testing.assert_close(ours.decode(ours.codes(x)), theirs.decode(codes))


@pytest.mark.parametrize("apply", [True, False])
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saelens_reads_ours(
    architecture: str, normalisation: Any, apply: bool, tmp_path: Path
) -> None:
    """Codes and reconstructions are equal, and the place is known to both."""
    sae = small_sae(architecture, normalisation=normalisation, apply_b_dec_to_input=apply)
    save_sae(sae, tmp_path / "sae")
    theirs = sae_lens.SAE.load_from_disk(tmp_path / "sae", device="cpu")
    assert theirs.cfg.metadata.hook_name == sae.hook
    agree(sae, theirs)
    agree(load_sae(tmp_path / "sae"), theirs)


@pytest.mark.parametrize("apply", [True, False])
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize(
    ("architecture", "rescale"), [*((name, False) for name in ARCHITECTURES), ("topk", True)]
)
def test_ours_reads_saelens(
    architecture: str, normalisation: Any, apply: bool, rescale: bool, tmp_path: Path
) -> None:
    """What SAELens saved is read, decoder norms in topk's choice included."""
    made, settings = sae_lens.registry.SAE_CLASS_REGISTRY[architecture]
    own = {"k": 5, "rescale_acts_by_decoder_norm": rescale} if architecture == "topk" else {}
    theirs = made(
        settings(
            d_in=12,
            d_sae=40,
            apply_b_dec_to_input=apply,
            normalize_activations=normalisation,
            metadata=sae_lens.saes.sae.SAEMetadata(
                hook_name="blocks.1.hook_resid_post", model_name="tiny", prepend_bos=True
            ),
            **own,
        )
    )
    sae = small_sae(architecture)
    weights = {"W_enc": sae.w_enc, "b_enc": sae.b_enc, "W_dec": sae.w_dec, "b_dec": sae.b_dec}
    if architecture == "gated":
        draw = torch.Generator().manual_seed(2)
        b_gate, r_mag, b_mag = 0.5 * torch.randn(3, 40, generator=draw)
        del weights["b_enc"]
        weights |= {"b_gate": b_gate, "r_mag": r_mag, "b_mag": b_mag}
    elif sae.threshold is not None:
        weights["threshold"] = sae.threshold
    theirs.load_state_dict(weights)
    theirs.save_model(tmp_path / "sae")
    ours = load_sae(tmp_path / "sae")
    assert (ours.trained_on.model, ours.trained_on.prepend_bos) == ("tiny", True)
    assert (ours.hook, ours.label) == ("blocks.1.hook_resid_post", "sae")
    agree(ours, theirs)


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("architecture", ["batchtopk", "matryoshka_batchtopk"])
def test_ours_reads_batchwise_ones(architecture: str, rescale: bool, tmp_path: Path) -> None:
    """As they are saved for use, with one threshold for all; as training leaves them, refused."""
    made, settings = sae_lens.registry.SAE_TRAINING_CLASS_REGISTRY[architecture]
    widths = {"matryoshka_widths": [10, 40]} if architecture.startswith("matryoshka") else {}
    metadata = sae_lens.saes.sae.SAEMetadata(hook_name="blocks.1.hook_resid_post")
    sae = small_sae()
    trained = made(
        settings(
            d_in=12,
            d_sae=40,
            k=5,
            rescale_acts_by_decoder_norm=rescale,
            metadata=metadata,
            **widths,
        )
    )
    with torch.no_grad():
        for theirs, ours in (("W_enc", "w_enc"), ("b_enc", "b_enc"), ("W_dec", "w_dec")):
            getattr(trained, theirs).copy_(getattr(sae, ours))
        trained.b_dec.copy_(sae.b_dec)
        trained.topk_threshold.fill_(0.6)
    trained.save_inference_model(str(tmp_path / "sae"))
    agree(load_sae(tmp_path / "sae"), sae_lens.SAE.load_from_disk(tmp_path / "sae", device="cpu"))
    trained.save_model(str(tmp_path / "training"))
    with pytest.raises(BitlensError, match="save_inference_model"):
        load_sae(tmp_path / "training")


@pytest.mark.parametrize("architecture", ["transcoder", "jumprelu_skip_transcoder"])
def test_its_transcoders_are_refused(architecture: str, tmp_path: Path) -> None:
    """With why."""
    made, settings = sae_lens.registry.SAE_CLASS_REGISTRY[architecture]
    metadata = sae_lens.saes.sae.SAEMetadata(hook_name="blocks.1.hook_mlp_in")
    config = settings(d_in=12, d_out=12, d_sae=40, apply_b_dec_to_input=False, metadata=metadata)
    made(config).save_model(str(tmp_path / "sae"))
    with pytest.raises(BitlensError, match="predicts another"):
        load_sae(tmp_path / "sae")


def converted(loader: Any, repository: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What SAELens makes of another format's files, which it would download."""
    loaders = sae_lens.loading.pretrained_sae_loaders

    def found(repo_id: str, filename: str, subfolder: str = "", **other: Any) -> str:
        return str(folder / Path(filename).name)

    monkeypatch.setattr(loaders, "hf_hub_download", found)
    # Its path as the repository has it: place and size are read off it.
    name = folder.as_posix().rpartition(f"{repository.split('/')[1]}/")[2]
    config, weights, _ = loaders.NAMED_PRETRAINED_SAE_LOADERS[loader](
        repository, name, "cpu", False, {"d_in": 12, "d_sae": 40}
    )
    config = loaders.handle_config_defaulting(config)
    made, settings = sae_lens.registry.SAE_CLASS_REGISTRY[config["architecture"]]
    theirs = made(settings.from_dict(config))
    theirs.process_state_dict_for_loading(weights)
    theirs.load_state_dict(weights)
    return theirs


def test_gemma_scope_means_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Place, BOS and codes."""
    named = "layer_1/width_16k/average_l0_82"
    folder = gemma_scope.write(tmp_path / "gemma-scope-2b-pt-res" / named)
    theirs = converted("gemma_2", "google/gemma-scope-2b-pt-res", folder, monkeypatch)
    ours = load_sae(folder)
    metadata = theirs.cfg.metadata
    assert (metadata.hook_name, metadata.model_name) == (ours.hook, ours.trained_on.model)
    assert (metadata.prepend_bos, metadata.context_size) == (True, ours.trained_on.context)
    agree(ours, theirs)


@pytest.mark.parametrize(
    "kind",
    sorted(set(DICTIONARIES) - {"AutoEncoderNew"}),
)
def test_dictionary_learning_means_the_same(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every class but AutoEncoderNew, whose bias SAELens does not find."""
    folder = dictionary_learning.write(tmp_path / "lm_sae" / "trainer_0", kind)
    theirs = converted("dictionary_learning_1", "canrager/lm_sae", folder, monkeypatch)
    agree(load_sae(folder), theirs)
