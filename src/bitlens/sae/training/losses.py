"""Losses: what each architecture minimises.

One function each: weights and a batch to the loss and what else a step needs. Activations come
scaled to a mean square of 1 a dimension; losses are shares of it, so that none depends on units
or on the model's width.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from bitlens.models.sixteen_bits import instructions
from bitlens.sae.sae import largest
from bitlens.sae.training.config import SaeTrainingConfig

Weights = dict[str, Tensor]
"""`w_enc` `[width, latents]`, `b_enc` `[latents]`, `w_dec` `[latents, width]`, `b_dec` `[width]`;
gated: `r_mag` and `b_mag` `[latents]`, with `b_enc` the gate's; jumprelu: `log_threshold`
`[latents]`; seed-gated: `w_gate` and `b_gate`, shaped as the encoder's."""

BANDWIDTH = 0.05
"""Of the rectangle through which JumpReLU's thresholds learn, in units of a dimension's root mean
square: what 0.001 of the mean length is (Rajamanoharan et al. 2024b) at a width of 2,500."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainingStep:
    """What one pass over a batch gave."""

    loss: Tensor
    """Reconstruction and sparsity."""
    error: Tensor
    """`[batch, width]`, detached: what is left unexplained."""
    fired: Tensor
    """`[latents]` bool: which latents fired at all."""
    before: Tensor
    """`[batch, latents]`: pre-activations."""
    least: Tensor | None = None
    """batchtopk: the smallest code that was kept."""


def topk(weights: Weights, x: Tensor, config: SaeTrainingConfig, _penalty: float) -> TrainingStep:
    """Squared error of the k largest at each position (Gao et al. 2024, "Scaling and evaluating
    sparse autoencoders", section 2.3)."""
    before = _before(weights, x)
    latent = largest(before.detach(), config.k)
    value = before.gather(1, latent).relu()
    decoded = embedding_bag(latent, weights["w_dec"], mode="sum", per_sample_weights=value)
    return _outcome(weights, x, decoded, before, firing=latent[value > 0])


def batchtopk(
    weights: Weights, x: Tensor, config: SaeTrainingConfig, _penalty: float
) -> TrainingStep:
    """Squared error of the k n largest of a batch of n positions (Bussmann et al. 2024, "BatchTopK
    Sparse Autoencoders", section 3)."""
    before = _before(weights, x)
    latents = before.shape[1]
    place = before.detach().flatten().topk(len(x) * config.k, sorted=False).indices.sort().values
    value = before.flatten()[place].relu()
    starts = torch.arange(0, before.numel(), latents, device=x.device)
    latent = place % latents
    decoded = embedding_bag(
        latent,
        weights["w_dec"],
        torch.searchsorted(place, starts),
        mode="sum",
        per_sample_weights=value,
    )
    kept = value.detach()[value > 0]
    least = kept.min() if len(kept) else kept.new_zeros(())
    return _outcome(weights, x, decoded, before, firing=latent[value > 0], least=least)


def standard(
    weights: Weights, x: Tensor, _config: SaeTrainingConfig, penalty: float
) -> TrainingStep:
    """Squared error and the sum of codes, of unit decoder rows (Bricken et al. 2023, "Towards
    Monosemanticity"). Sums, not means: the penalty does not depend on the number of latents."""
    before = _before(weights, x)
    codes = before.relu()
    sparsity = penalty * codes.sum(1).mean() / x.shape[1]
    decoded = product(codes, weights["w_dec"])
    return _outcome(weights, x, decoded, before, firing=codes, sparsity=sparsity)


def gated(weights: Weights, x: Tensor, _config: SaeTrainingConfig, penalty: float) -> TrainingStep:
    """Squared error, the sum of the gates' positive pre-activations, and the squared error of
    decoding these by a decoder that does not learn from it (Rajamanoharan et al. 2024, "Improving
    Dictionary Learning with Gated Sparse Autoencoders", equation 8)."""
    shared = _before(weights, x) - weights["b_enc"]
    gate = shared + weights["b_enc"]
    magnitude = (weights["r_mag"].exp() * shared + weights["b_mag"]).relu()
    codes = torch.where(gate > 0, magnitude, 0.0)
    opened = gate.relu()
    frozen = product(opened, weights["w_dec"].detach()) + weights["b_dec"].detach()
    auxiliary = (x - frozen).square().sum(1).mean()
    sparsity = (penalty * opened.sum(1).mean() + auxiliary) / x.shape[1]
    decoded = product(codes, weights["w_dec"])
    return _outcome(weights, x, decoded, gate, firing=codes, sparsity=sparsity)


def jumprelu(
    weights: Weights, x: Tensor, _config: SaeTrainingConfig, penalty: float
) -> TrainingStep:
    """Squared error and the number of latents above their thresholds, whose gradients go straight
    through a rectangle: dH/dt = -K/e, df/dt = -t K/e where K is 1 within e/2 of the threshold
    (Rajamanoharan et al. 2024b, "Jumping Ahead", equations 9 to 12)."""
    before = _before(weights, x)
    threshold = weights["log_threshold"].exp()
    fires = (before > threshold).float()
    near = ((before - threshold).abs() < BANDWIDTH / 2).float()
    slope = -near / BANDWIDTH * (threshold - threshold.detach())
    codes = before * fires + threshold.detach() * slope
    sparsity = penalty * (fires + slope).sum(1).mean()
    decoded = product(codes, weights["w_dec"])
    return _outcome(weights, x, decoded, before, firing=fires, sparsity=sparsity)


def seed_plain(
    weights: Weights, x: Tensor, _config: SaeTrainingConfig, penalty: float
) -> TrainingStep:
    """Mean squared error and the mean code, as an earlier study of quantization trained its SAEs.

    What is wrong with it: both terms are means, so the penalty weighs less the more latents there
    are (width / latents of what a sum would); the decoder's rows are free to grow, by which codes
    shrink and evade it; the activations' mean and scale are left in. Codes come out nearly dense.
    """
    before = x @ weights["w_enc"] + weights["b_enc"]
    codes = before.relu()
    error = x - codes @ weights["w_dec"] - weights["b_dec"]
    loss = error.square().mean() + penalty * codes.mean()
    return TrainingStep(
        loss=loss, error=error.detach(), fired=(codes > 0).any(0), before=before.detach()
    )


def seed_gated(
    weights: Weights, x: Tensor, _config: SaeTrainingConfig, _penalty: float
) -> TrainingStep:
    """Mean squared error of sigmoid(gate) * relu(magnitude), as another earlier study calls gated.

    What is wrong with it: a sigmoid is never shut, so nothing is switched off that the ReLU leaves
    on; gate and magnitude share no weights, so a latent has two directions; and nothing is paid
    for firing, so that about half of all latents do.
    """
    before = x @ weights["w_enc"] + weights["b_enc"]
    codes = (x @ weights["w_gate"] + weights["b_gate"]).sigmoid() * before.relu()
    error = x - codes @ weights["w_dec"] - weights["b_dec"]
    return TrainingStep(
        loss=error.square().mean(),
        error=error.detach(),
        fired=(codes > 0).any(0),
        before=before.detach(),
    )


Loss = Callable[[Weights, Tensor, SaeTrainingConfig, float], TrainingStep]

LOSSES: dict[str, Loss] = {
    "topk": topk,
    "batchtopk": batchtopk,
    "standard": standard,
    "gated": gated,
    "jumprelu": jumprelu,
    "seed-plain": seed_plain,
    "seed-gated": seed_gated,
}


def auxiliary(weights: Weights, outcome: TrainingStep, dead: Tensor) -> Tensor:
    """How badly do the dead latents alone explain what the others leave? 0 to about 1.

    The `width / 2` largest of them at each position, as a share of what was left (Gao et al. 2024,
    appendix A.2). `dead`: their numbers.
    """
    error = outcome.error
    if len(dead) == 0:
        return error.new_zeros(())
    before = outcome.before[:, dead]
    place = largest(before.detach(), min(len(dead), error.shape[1] // 2))
    codes = torch.zeros_like(before).scatter(1, place, before.gather(1, place).relu())
    unexplained = (error - product(codes, weights["w_dec"][dead])).square().sum()
    varies = (error - error.mean(0)).square().sum().clamp(min=torch.finfo(error.dtype).tiny)
    return unexplained / varies


def product(a: Tensor, b: Tensor) -> Tensor:
    """In bf16, summed in float32, where the device multiplies bf16 itself and is several times
    faster for it; in float32 on other processors, which take ten times as long for bf16."""
    if a.device.type == "cpu" and not instructions():
        return a @ b
    with torch.autocast(a.device.type, dtype=torch.bfloat16):
        return (a @ b).float()


def _before(weights: Weights, x: Tensor) -> Tensor:
    """`[batch, latents]`: (x - b_dec) W + b. The last term is zero; through it `b_dec` learns
    without a product over the whole batch."""
    b_dec, w_enc = weights["b_dec"], weights["w_enc"]
    moved = (b_dec - b_dec.detach()) @ w_enc
    return product(x - b_dec.detach(), w_enc) + (weights["b_enc"] - moved)


def _outcome(
    weights: Weights,
    x: Tensor,
    decoded: Tensor,
    before: Tensor,
    *,
    firing: Tensor,
    sparsity: Tensor | float = 0.0,
    least: Tensor | None = None,
) -> TrainingStep:
    """`firing`: dense codes, or the numbers of the latents that fired."""
    error = x - decoded - weights["b_dec"]
    if firing.dtype == torch.int64:
        fired = torch.zeros(before.shape[1], dtype=torch.bool, device=x.device)
        fired[firing] = True
    else:
        fired = (firing > 0).any(0)
    loss = error.square().sum(1).mean() / x.shape[1] + sparsity
    return TrainingStep(loss=loss, error=error.detach(), fired=fired, before=before, least=least)
