"""Repair: planted damage that an encoder can undo, and damage that none can."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from bitlens.errors import BitlensError
from bitlens.sae import repair as repairs
from bitlens.sae.formats import load_sae, save_sae
from bitlens.sae.repair import (
    GAIN,
    MAP,
    TRAINED,
    UNREPAIRED,
    Activations,
    affine,
    code_error,
    readable,
    repair,
    trained,
    with_decoder,
    with_gain,
    with_map,
    with_thresholds,
)
from bitlens.sae.sae import Sae

WIDTH, LATENTS, N = 16, 24, 2000
KINDS = ("standard", "topk", "jumprelu", "gated", "layer_norm", "no b_dec", "centred")


def sae(kind: str = "standard", seed: int = 0) -> Sae:
    """A random dictionary, of which every latent fires at some positions and not at others."""
    draw = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(LATENTS, WIDTH, generator=draw), dim=1)
    plain = Sae(
        "planted",
        "resid.1",
        "standard",
        directions.T.contiguous(),
        -0.2 * torch.rand(LATENTS, generator=draw),
        directions,
        0.2 * torch.randn(WIDTH, generator=draw),
    )
    threshold = 0.3 + 0.3 * torch.rand(LATENTS, generator=draw)
    changed: dict[str, dict[str, object]] = {
        "topk": {"architecture": "topk", "k": 5},
        "jumprelu": {"architecture": "jumprelu", "threshold": threshold},
        "gated": {"architecture": "gated", "threshold": threshold},
        "layer_norm": {"normalisation": "layer_norm"},
        "no b_dec": {"apply_b_dec_to_input": False},
        "centred": {"centred": True},
    }
    return replace(plain, **changed.get(kind, {}))  # type: ignore[arg-type]


def activations(seed: int = 1, n: int = N) -> Tensor:
    return torch.randn(n, WIDTH, generator=torch.Generator().manual_seed(seed))


def on(twin: Tensor, reference: Tensor | None = None) -> Activations:
    x = activations() if reference is None else reference
    return Activations(x, twin, torch.arange(len(x)) % 4 == 0)


def turned(x: Tensor, seed: int = 2) -> Tensor:
    """An invertible linear map, neither a rotation nor far from the identity, and a shift."""
    draw = torch.Generator().manual_seed(seed)
    matrix = torch.eye(WIDTH) + 0.2 * torch.randn(WIDTH, WIDTH, generator=draw)
    return x @ matrix + 0.3 * torch.randn(WIDTH, generator=draw)


def correlations(before: Sae, after: Sae, x: Tensor, y: Tensor) -> np.ndarray:
    """`[latents]`: by numpy."""
    a, b = before.encode(x).numpy(), after.encode(y).numpy()
    return np.array([np.corrcoef(a[:, j], b[:, j])[0, 1] for j in range(LATENTS)])


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("layer_norm", "centred")])
def test_a_twin_that_is_a_linear_map_of_the_reference_is_repaired(kind: str) -> None:
    """On activations it has not seen every latent goes with itself by more than 0.99, and the
    decoder follows the twin; before, hardly any latent did."""
    whole = sae(kind)
    x, other = activations(), activations(seed=3)
    y = turned(x)
    made = repair(whole, on(y))
    assert [step.name for step in made.steps] == [UNREPAIRED, GAIN, MAP]
    assert made.best.name == MAP
    assert np.median(correlations(whole, whole, other, turned(other))) < 0.95
    fixed = made.best.sae
    assert correlations(whole, fixed, other, turned(other)).min() > 0.99
    before, after = (
        (s.decode(s.codes(turned(other))) - turned(other)).square().mean() for s in (whole, fixed)
    )
    assert after < before
    assert made.readable.min() > 0.99


def test_what_was_lost_is_not_repaired_and_it_is_said() -> None:
    """The twin forgets half of the dimensions: no encoder finds what they held, and the reach of
    the best linear one says so; what can be read still is."""
    whole = replace(sae(), w_enc=torch.eye(WIDTH).repeat(1, 2)[:, :LATENTS].contiguous())
    x = activations()
    y = x.clone()
    y[:, WIDTH // 2 :] = 0
    made = repair(whole, on(y), finetune=True)
    held = torch.arange(LATENTS) % WIDTH < WIDTH // 2
    r = np.nan_to_num(correlations(whole, made.best.sae, x, y))
    assert r[held.numpy()].min() > 0.99
    assert r[~held.numpy()].max() < 0.3
    assert (made.readable > 0.9).tolist() == held.tolist()


def test_a_gain_and_an_offset_by_hand() -> None:
    """One latent, z = x. The twin says 1, 2, 3 and, silent, -4 where the reference says 3, 5, 7
    and 9: f = 2 z + 1 on the three positions where it fires, whatever the fourth is."""
    one, nought = torch.ones(1, 1), torch.zeros(1)
    plain = Sae("one", "resid.0", "standard", one, nought, one, nought)
    x, y = torch.tensor([[3.0], [5], [7], [9]]), torch.tensor([[1.0], [2], [3], [-4]])
    made = with_gain(plain, on(y, x))
    assert made.w_enc.item() == pytest.approx(2) and made.b_enc.item() == pytest.approx(1)
    assert made.encode(y).flatten().tolist() == pytest.approx([3, 5, 7, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_gain_and_an_offset_are_those_of_polyfit(kind: str) -> None:
    """Latent by latent, numpy's line through the codes of both where the twin fires."""
    whole, x = sae(kind), activations()
    y = x + 0.2 * activations(seed=4)
    made = with_gain(whole, on(y))
    f, g = whole.encode(x).double().numpy(), whole.encode(y).double().numpy()
    for j in range(LATENTS):
        fires = g[:, j] > 0
        gain, offset = np.polyfit(g[fires, j], f[fires, j], 1)
        assert torch.allclose(made.w_enc[:, j], float(gain) * whole.w_enc[:, j], atol=1e-4)
        wanted = gain * float(whole.b_enc[j]) + offset
        assert float(made.b_enc[j]) == pytest.approx(wanted, abs=1e-3)


def test_a_gain_and_an_offset_do_not_change_the_order_of_positions() -> None:
    """Of noise they mend strength and not correlation: r moves little, concordance a lot."""
    whole, x = sae(), activations()
    y = 0.4 * x + 0.1 * activations(seed=4)
    made = with_gain(whole, on(y))
    before, after = correlations(whole, whole, x, y), correlations(whole, made, x, y)
    assert np.median(after) < np.median(before) + 0.1
    assert code_error(whole, made, on(y)) < 0.5 * code_error(whole, whole, on(y))


@pytest.mark.parametrize("shrinkage", [1e-6, 0.1, 10.0])
def test_the_map_is_the_ridge_regression_of_what_is_left(shrinkage: float) -> None:
    """scikit-learn's, of y - x on x; with much shrinkage, the identity."""
    x, y = activations().double(), turned(activations()).double()
    ((weight, bias),) = affine(x.float(), y.float(), [shrinkage])
    penalty = shrinkage * float((x - x.mean(0)).square().sum(0).mean())
    ridge = Ridge(alpha=penalty).fit(x.numpy(), (y - x).numpy())
    wanted = torch.from_numpy(ridge.coef_.T).float() + torch.eye(WIDTH)
    assert torch.allclose(weight, wanted, atol=1e-4)
    assert torch.allclose(bias, torch.from_numpy(ridge.intercept_).float(), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_twin_that_is_its_reference_needs_no_repair(kind: str) -> None:
    """The error is 0 as it is and stays next to nothing in every step; the SAE as it is wins."""
    whole = sae(kind)
    made = repair(whole, on(activations()))
    assert made.steps[0].error == 0 and made.best.name == UNREPAIRED
    assert all(step.error < 0.02 for step in made.steps)


@pytest.mark.parametrize("kind", KINDS)
def test_the_decoder_changes_no_code(kind: str) -> None:
    """What is decoded follows the twin; what fires, and how much, is as it was."""
    whole, y = sae(kind), turned(activations())
    part = on(y)
    made = with_decoder(whole, part.part(False), part.part(True))
    assert torch.allclose(made.encode(y), whole.encode(y), atol=1e-4)
    left = [(s.decode(s.codes(y)) - y).square().mean() for s in (whole, made)]
    assert left[1] < left[0]


@pytest.mark.parametrize("kind", ["jumprelu", "gated"])
def test_thresholds_bring_back_how_often_latents_fire(kind: str) -> None:
    """In the twin, which is weaker, as often as in the reference; without a threshold nothing
    changes."""
    whole, x = sae(kind), activations()
    y = 0.8 * x
    made = with_thresholds(whole, whole, on(y))
    wanted, before, after = (
        (s.encode(v) > 0).sum(dim=0) for s, v in ((whole, x), (whole, y), (made, y))
    )
    assert (before < wanted).any()
    assert torch.equal(after, wanted)
    plain = sae()
    assert with_thresholds(plain, plain, on(y)) is plain


def test_training_helps_where_least_squares_are_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin is noisy and latents fire seldom: the line through all positions is not that through
    those on which they fire, and training against the reference's codes leaves less on held-out
    positions than the linear map it begins with; the same seed, the same weights."""
    monkeypatch.setattr(repairs, "STEPS", 200)
    whole = replace(sae(), b_enc=torch.full((LATENTS,), -0.3))
    draw = torch.Generator().manual_seed(1)
    fires = torch.rand(4000, LATENTS, generator=draw) < 0.1
    strength = 1 + torch.rand(4000, LATENTS, generator=draw)
    x = (fires * strength) @ whole.w_dec + whole.b_dec
    y = turned(x) + 0.2 * activations(seed=5, n=4000)
    made = repair(whole, on(y, x), finetune=True)
    errors = {step.name: step.error for step in made.steps}
    assert errors[TRAINED] < errors[MAP] < errors[UNREPAIRED]
    again = repair(whole, on(y, x), finetune=True)
    assert torch.equal(made.steps[-1].sae.w_enc, again.steps[-1].sae.w_enc)


def test_training_that_does_not_help_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends early and gives back what it began with."""
    monkeypatch.setattr(repairs, "EVERY", 1)
    monkeypatch.setattr(repairs, "RATE", 1e3)
    whole, part, steps = sae(), on(activations()), []
    assert trained(whole, whole, part.part(False), part.part(True), 0, steps.append) is whole
    assert len(steps) == repairs.PATIENCE


def test_the_error_by_hand() -> None:
    """f = (0, 2), variance 1: said (0, 1), it is off by 1/2; said (9, 9) by much more, which
    counts 1; a latent that never fires counts nothing."""
    three = torch.eye(3)
    whole = Sae("by hand", "resid.0", "standard", three, torch.zeros(3), three, torch.zeros(3))
    x, y = torch.tensor([[0.0, 0, 0], [2, 2, 0]]), torch.tensor([[0.0, 9, 5], [1, 9, 5]])
    assert code_error(whole, whole, on(y, x)) == pytest.approx((0.5 + 1) / 2)


def test_what_can_be_read_is_a_correlation() -> None:
    """numpy's, of the pre-activations."""
    whole, x = sae(), activations()
    y = turned(x) + 0.5 * activations(seed=6)
    part = on(y)
    mapped = with_map(whole, part.part(False), part.part(True))
    held = part.part(True)
    a, b = (held.reference @ whole.w_enc).numpy(), (held.twin @ mapped.w_enc).numpy()
    wanted = [np.corrcoef(a[:, j], b[:, j])[0, 1] for j in range(LATENTS)]
    assert readable(whole, mapped, held).numpy() == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("kind", ["standard", "topk", "jumprelu", "gated", "layer_norm"])
def test_a_repaired_sae_is_an_ordinary_one(kind: str, tmp_path: object) -> None:
    """Written and read back it says the same."""
    y = turned(activations())
    made = repair(sae(kind), on(y)).steps[-1].sae
    save_sae(made, f"{tmp_path}/repaired")
    again = load_sae(f"{tmp_path}/repaired")
    assert torch.allclose(again.encode(y), made.encode(y), atol=1e-4)


def test_too_few_positions_are_refused() -> None:
    """No map of 16 dimensions can be learnt from 12 positions."""
    with pytest.raises(BitlensError, match="calibration"):
        repair(sae(), on(activations(n=16), activations(n=16)))


def test_an_sae_that_is_not_linear_where_it_fires_is_refused() -> None:
    """A gain folded into such an encoder would not be a gain of its code."""
    with pytest.raises(BitlensError, match="squared"):
        repair(replace(sae(), architecture="squared"), on(activations()))  # type: ignore[arg-type]
