"""SAELens reads what bitlens writes and the other way round, to the same codes."""

from pathlib import Path
from typing import Any

import pytest
import torch

from bitlens.sae.formats import load_sae, save_sae

from .small import ARCHITECTURES, NORMALISATIONS, activations, small_sae

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
    if sae.threshold is not None:
        weights["threshold"] = sae.threshold
    theirs.load_state_dict(weights)
    theirs.save_model(tmp_path / "sae")
    ours = load_sae(tmp_path / "sae")
    assert (ours.trained_on.model, ours.trained_on.prepend_bos) == ("tiny", True)
    assert (ours.hook, ours.label) == ("blocks.1.hook_resid_post", "sae")
    agree(ours, theirs)
