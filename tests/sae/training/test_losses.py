"""What each architecture minimises, on numbers worked out by hand."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bitlens.sae.training import losses
from bitlens.sae.training.config import SaeTrainingConfig
from bitlens.sae.training.losses import LOSSES, TrainingStep, Weights, auxiliary

X = torch.tensor([[3.0, 1.0], [0.0, 2.0]])
"""With the encoder below: pre-activations (3, 1, 4, -2.5) and (0, 2, 2, 1)."""


@pytest.mark.parametrize("has", [[], ["avx512_bf16"]])
def test_products_are_in_16_bits_where_the_processor_has_them(
    has: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 + 1/512 is 1 in bf16; without the instructions, as in all these tests, nobody rounds."""
    monkeypatch.setattr(losses, "instructions", lambda: has)
    found = losses.product(torch.tensor([[1 + 1 / 512]]), torch.eye(1))
    assert found.dtype == torch.float32
    assert found.item() == (1 if has else 1 + 1 / 512)


def weights(**more: Tensor) -> Weights:
    """Two dimensions, four latents: both axes, their sum, and one that fires for little."""
    w_enc = torch.tensor([[1.0, 0.0, 1.0, -1.0], [0.0, 1.0, 1.0, 0.5]])
    w_dec = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.0, 1.0]])
    nothing = {"b_enc": torch.zeros(4), "b_dec": torch.zeros(2)}
    found = {"w_enc": w_enc, "w_dec": w_dec, **nothing, **more}
    return {name: tensor.clone().requires_grad_() for name, tensor in found.items()}


def run(
    kind: str, penalty: float = 0.0, k: int = 1, **more: Tensor
) -> tuple[TrainingStep, Weights]:
    of = weights(**more)
    config = SaeTrainingConfig(architecture=kind, latents=4, k=k)  # type: ignore[arg-type]
    return LOSSES[kind](of, X, config, penalty), of


def test_topk_keeps_the_largest_of_each_position() -> None:
    """The third latent, at 4 and at 2: (3, 1) - (2.4, 3.2) and (0, 2) - (1.2, 1.6), squares
    0.36 + 4.84 and 1.44 + 0.16, their mean over two positions and two dimensions 1.7."""
    outcome, _ = run("topk")
    assert outcome.loss.item() == pytest.approx(1.7, abs=1e-5)
    assert outcome.fired.tolist() == [False, False, True, False]


def test_batchtopk_keeps_the_largest_of_the_batch() -> None:
    """Two entries in all, 4 and 3, both of the first position: it leaves (-2.4, -2.2), the other
    (0, 2): (5.76 + 4.84 + 4) / 4; the smallest kept is 3."""
    outcome, _ = run("batchtopk")
    assert outcome.loss.item() == pytest.approx(14.6 / 4, abs=1e-5)
    assert float(outcome.least or 0) == 3
    assert outcome.fired.tolist() == [True, False, True, False]


def test_standard_pays_the_sum_of_codes() -> None:
    """Codes (3, 1, 4, 0) and (0, 2, 2, 1): errors (-2.4, -3.2) and (-1.2, -2.6), squares 16 and
    8.2; the sums of codes 8 and 5, mean 6.5, over two dimensions."""
    outcome, _ = run("standard", penalty=2.0)
    assert outcome.loss.item() == pytest.approx(24.2 / 4 + 2 * 6.5 / 2, abs=1e-5)


def test_gated_pays_gates_and_their_own_reconstruction() -> None:
    """Gates shifted by -1.5 open at (1.5, -, 2.5, -) and (-, .5, .5, -); the magnitudes there stay
    (3, 4) and (2, 2)."""
    gate = torch.full((4,), -1.5)
    more = {"b_enc": gate, "r_mag": torch.zeros(4), "b_mag": torch.zeros(4)}
    outcome, of = run("gated", penalty=2.0, **more)
    # By magnitudes: (3, 1) - (5.4, 3.2) and (0, 2) - (1.2, 3.6).
    reconstruction = (2.4**2 + 2.2**2 + 1.2**2 + 1.6**2) / 2
    # By gates alone: (3, 1) - (1.5 + 1.5, 2) and (0, 2) - (0.3, 0.5 + 0.4).
    own = (0 + 1.0 + 0.3**2 + 1.1**2) / 2
    expected = (reconstruction + 2 * (4.0 + 1.0) / 2 + own) / 2
    assert outcome.loss.item() == pytest.approx(expected)
    assert outcome.fired.tolist() == [True, True, True, False]
    gradient = torch.autograd.grad(outcome.loss, of["w_dec"])[0]
    # Only what magnitudes decode teaches the decoder: codes' transpose times the errors.
    codes = torch.tensor([[3.0, 0, 4, 0], [0, 2, 2, 0]])
    errors = torch.tensor([[-2.4, -2.2], [-1.2, -1.6]])
    torch.testing.assert_close(gradient, -2 * codes.T @ errors / 4)


def test_jumprelu_pays_each_latent_and_learns_its_threshold_nearby() -> None:
    """Thresholds of 2: latents fire at (3, -, 4, -) and nowhere else; penalty 0.1 a latent. Only
    the entries within half a bandwidth of 2, both 2s of the second position, teach thresholds."""
    more = {"log_threshold": torch.full((4,), math.log(2.0) + 1e-6)}
    outcome, of = run("jumprelu", penalty=0.1, **more)
    # (3, 1) - (5.4, 3.2); (0, 2) - (0, 0).
    assert outcome.loss.item() == pytest.approx((2.4**2 + 2.2**2 + 4) / 4 + 0.1, abs=1e-4)
    found = torch.autograd.grad(outcome.loss, of["log_threshold"])[0]
    # More of the code would take -2 error w / 4 off the loss: 1 and 0.8 a unit, of (0, 2) left.
    # df/dt = -t / e = -40, dL0/dt = -1 / e = -20, and a factor t from the logarithm.
    second, third = 2 * (40 * 1.0 - 20 * 0.1 / 2), 2 * (40 * 0.8 - 20 * 0.1 / 2)
    assert losses.BANDWIDTH == 0.05
    torch.testing.assert_close(found, torch.tensor([0.0, second, third, 0.0]), rtol=1e-3, atol=1e-3)


def test_the_seeds_take_means() -> None:
    """Squares 16 and 8.2 over four entries, and the mean of eight codes that sum to 13; gates of
    nought halve every code, and nothing is paid."""
    outcome, _ = run("seed-plain", penalty=2.0)
    assert outcome.loss.item() == pytest.approx(24.2 / 4 + 2 * 13 / 8)
    shut = {"w_gate": torch.zeros(2, 4), "b_gate": torch.zeros(4)}
    outcome, _ = run("seed-gated", penalty=2.0, **shut)
    # (3, 1) - (2.7, 2.1); (0, 2) - (0.6, 2.3).
    assert outcome.loss.item() == pytest.approx((0.09 + 1.21 + 0.36 + 0.09) / 4)


def test_the_dead_explain_what_is_left() -> None:
    """Of errors (1, 0) and (-1, 0) the first latent, dead, takes what its one kept code decodes
    to: (1, 0) - (3, 0) and nothing; 4 + 1 of a spread of 2."""
    error = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    before = torch.tensor([[3.0, 0, 0, 0], [-1.0, 0, 0, 0]])
    outcome = TrainingStep(
        loss=torch.zeros(()), error=error, fired=torch.zeros(4, dtype=torch.bool), before=before
    )
    assert auxiliary(weights(), outcome, torch.tensor([0])).item() == pytest.approx(2.5)
    assert float(auxiliary(weights(), outcome, torch.tensor([], dtype=torch.int64))) == 0


@pytest.mark.parametrize("kind", ["topk", "batchtopk", "standard"])
def test_gradients_are_those_of_autograd(kind: str) -> None:
    """Against the same loss written densely, with the decoder's bias subtracted before encoding."""
    draw = torch.Generator().manual_seed(0)
    shapes = {"w_enc": (6, 12), "b_enc": (12,), "w_dec": (12, 6), "b_dec": (6,)}
    of = {n: torch.randn(s, generator=draw).requires_grad_() for n, s in shapes.items()}
    x, k = torch.randn(20, 6, generator=draw), 3
    before = (x - of["b_dec"]) @ of["w_enc"] + of["b_enc"]
    keep: dict[str, Callable[[], Tensor]] = {
        "topk": lambda: before >= before.topk(k).values[:, -1:],
        "batchtopk": lambda: before >= before.flatten().topk(20 * k).values[-1],
        "standard": lambda: torch.ones_like(before),
    }
    codes = before.relu() * keep[kind]()
    dense = ((x - codes @ of["w_dec"] - of["b_dec"]) ** 2).mean()
    dense = dense + (0.5 * codes.sum(1).mean() / 6 if kind == "standard" else 0)
    expected = torch.autograd.grad(dense, list(of.values()))
    found = LOSSES[kind](of, x, SaeTrainingConfig(architecture=kind, latents=12, k=k), 0.5)  # type: ignore[arg-type]
    torch.testing.assert_close(found.loss, dense)
    for one, other in zip(
        torch.autograd.grad(found.loss, list(of.values())), expected, strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
