"""The fit is what the definition says, and a bad one stops the audit."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from sklearn.metrics import r2_score

from bitlens.errors import BitlensError
from bitlens.sae.fit import Fit, FitAccumulator, accumulate_fit, check_fit, measure_fit
from bitlens.sae.sae import Sae, TrainedOn
from tests.support.saes import ARCHITECTURES, activations, small_sae


def identity(width: int, **other: Any) -> Sae:
    """A latent along each direction and one against it: nothing is lost."""
    eye = torch.eye(width)
    return Sae(
        label="identity",
        hook="resid.0",
        architecture="standard",
        w_enc=torch.cat([eye, -eye], 1),
        b_enc=torch.zeros(2 * width),
        w_dec=torch.cat([eye, -eye]),
        b_dec=torch.zeros(width),
        **other,
    )


def test_worked_by_hand() -> None:
    """(3, 0), (1, 0), (-4, 2) with what is negative lost: error 16; about the mean (0, 2/3) the
    variance is 26 + 8/3. Both latents fire, three times at three positions."""
    sae = replace(identity(2), w_enc=torch.eye(2), b_enc=torch.zeros(2), w_dec=torch.eye(2))
    fit = measure_fit(sae, torch.tensor([[3.0, 0.0], [1.0, 0.0], [-4.0, 2.0]]))
    assert fit.fvu == pytest.approx(16 / (26 + 8 / 3))
    assert (fit.positions, fit.l0, fit.alive) == (3, 1.0, 1.0)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_rates_are_shares_of_the_positions(kind: Any) -> None:
    """Of every latent; in sum L0."""
    sae, x = small_sae(kind), activations()
    accumulator = accumulate_fit(sae, x, 7)
    expected = (sae.encode(x) > 0).double().mean(0)
    torch.testing.assert_close(accumulator.rates, expected)
    assert float(accumulator.rates.sum()) == pytest.approx(accumulator.result().l0)
    assert FitAccumulator(sae).rates.sum() == 0


def test_identity_loses_nothing() -> None:
    """FVU 0 and as many latents as entries that are not zero."""
    x = activations()
    x[:, 3] = 0
    fit = measure_fit(identity(12), x)
    assert fit.fvu == pytest.approx(0, abs=1e-12)
    assert fit.l0 == pytest.approx(11)
    assert fit.alive <= 22 / 24


def test_answering_with_the_mean_leaves_everything() -> None:
    """No latent fires and b_dec is the mean: FVU 1."""
    x = activations()
    sae = small_sae(b_enc=torch.full((40,), -99.0), b_dec=x.mean(0))
    fit = measure_fit(sae, x)
    assert fit.fvu == pytest.approx(1, abs=1e-6)
    assert fit.l0 == fit.alive == 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_fvu_is_what_sklearn_leaves_of_r2(architecture: str) -> None:
    """1 - R2, weighted by variance, of reconstructions; L0 and alive by counting dense codes."""
    sae, x = small_sae(architecture), activations(200)
    codes = sae.encode(x)
    accumulator = FitAccumulator(sae)
    for part in x.split(33):
        accumulator.add(part)
    fit = accumulator.result()
    r2 = r2_score(x, sae.decode(sae.codes(x)), multioutput="variance_weighted")
    assert fit.fvu == pytest.approx(1 - r2, rel=1e-5)
    assert fit.l0 == pytest.approx((codes > 0).sum(1).double().mean().item())
    assert fit.alive == pytest.approx((codes > 0).any(0).double().mean().item())


def test_a_large_mean_does_not_hide_the_error() -> None:
    """Activations about 1,000: the variance is that about the mean."""
    x = activations() + 1000
    shifted = measure_fit(identity(12, apply_b_dec_to_input=False), x)
    assert shifted.fvu is not None
    assert shifted.fvu < 1e-6
    silent = small_sae(b_enc=torch.full((40,), -99999.0), b_dec=x.mean(0))
    assert measure_fit(silent, x).fvu == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    "x", [torch.ones(4, 12), torch.zeros(0, 12), activations().fill_(torch.nan)]
)
def test_no_value_where_there_is_none(x: torch.Tensor) -> None:
    """Equal rows, no rows, NaN: FVU is None, which does not pass."""
    fit = measure_fit(small_sae(), x)
    assert fit.fvu is None
    with pytest.raises(BitlensError, match="unknown share"):
        check_fit(fit, small_sae(), "resid.1")


def test_half_is_the_limit() -> None:
    """0.5 passes, a little more does not."""
    check_fit(Fit(100, 0.5, 5, 0.5), small_sae(), "resid.1")
    with pytest.raises(BitlensError):
        check_fit(Fit(100, 0.501, 5, 0.5), small_sae(), "resid.1")


def test_refusal_names_the_usual_causes() -> None:
    """Where, how bad, what its folder says about BOS, normalisation and weights, and the way on."""
    loading = {"center_writing_weights": True}
    sae = small_sae(
        trained_on=TrainedOn(
            model="gpt2", context=64, prepend_bos=False, dtype=None, loading=loading
        ),
        normalisation="layer_norm",
    )
    with pytest.raises(BitlensError) as refusal:
        check_fit(Fit(1234, 0.88, 51.25, 0.9), sae, "resid.3 of gpt2-medium")
    for part in ("small", "blocks.1.hook_resid_post of gpt2", "88%", "resid.3 of gpt2-medium"):
        assert part in refusal.value.found
    for part in ("layer", "without BOS", "layer_norm", "center_writing_weights=True"):
        assert part in refusal.value.remedy
    assert "--allow poor-fit" in refusal.value.remedy
