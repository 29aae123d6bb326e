"""How is a sparse autoencoder learnt from activations?

TopK with an auxiliary loss for dead latents (Gao et al. 2024, "Scaling and evaluating sparse
autoencoders") and ReLU with an L1 penalty on codes over unit decoder rows, dead latents
resampled (Bricken et al. 2023, "Towards Monosemanticity"). Both: unit decoder rows with the
gradient along them removed, `b_dec` begun at the mean, the encoder at the decoder's transpose.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize
from tqdm import tqdm

from bitlens import seeds
from bitlens.sae.fit import Fit, measure_fit
from bitlens.sae.sae import Sae, TrainedOn, largest


@dataclass(frozen=True)
class Recipe:
    """Everything the result depends on besides the activations."""

    architecture: Literal["topk", "standard"]
    latents: int
    k: int = 32
    """topk: latents kept at a position."""
    penalty: float = 0.0
    """standard: of the sum of codes, beside the squared error of activations scaled to a mean
    square of 1 a dimension."""
    steps: int = 3000
    batch: int = 2048
    rate: float = 3e-3
    warm_up: float = 0.05
    """Share of the steps in which the rate, and the penalty twice as slowly, rise."""
    decay: float = 0.3
    """Share of the steps at the end in which the rate falls to zero."""
    dead_after: int = 200_000
    """Positions without firing after which a latent counts as dead."""
    auxiliary: float = 1 / 32
    """topk: weight of the dead latents' own loss."""
    resamplings: tuple[float, ...] = (0.2, 0.35, 0.5)
    """standard: when dead latents are begun anew, as shares of the steps."""
    seed: int = 0

    def rate_at(self, step: int) -> float:
        """Up to the full rate, and down to zero at the end."""
        rising = (step + 1) / max(1.0, self.warm_up * self.steps)
        falling = (self.steps - step) / max(1.0, self.decay * self.steps)
        return self.rate * min(1.0, rising, falling)

    def penalty_at(self, step: int) -> float:
        return self.penalty * min(1.0, (step + 1) / max(1.0, 2 * self.warm_up * self.steps))


def train_sae(
    activations: Tensor,
    held_out: Tensor,
    recipe: Recipe,
    label: str,
    hook: str,
    trained_on: TrainedOn,
    quiet: bool = False,
) -> Sae:
    """An SAE of activations `[positions, width]`, which may lie in a memory-mapped file.

    `held_out` `[n, width]`, of other documents, is only looked at for the progress bar.
    """
    trainee = _Trainee(activations, recipe)
    bar = tqdm(_batches(activations, recipe), total=recipe.steps, disable=quiet, mininterval=5)
    for step, x in enumerate(bar):
        trainee.step(x, step)
        if not quiet and (step + 1) % 500 == 0:
            fit = measure_fit(trainee.sae(label, hook, trained_on), held_out)
            bar.set_postfix_str(describe(fit))
    return trainee.sae(label, hook, trained_on)


def describe(fit: Fit) -> str:
    fvu = "none" if fit.fvu is None else f"{fit.fvu:.3f}"
    return f"FVU {fvu}, L0 {fit.l0:.1f}, alive {fit.alive:.0%}"


def _batches(activations: Tensor, recipe: Recipe) -> Iterator[Tensor]:
    """Batches of rows in an order drawn anew for each pass."""
    order = torch.empty(0, dtype=torch.int64)
    passes = 0
    for _ in range(recipe.steps):
        while len(order) < recipe.batch:
            draw = torch.Generator().manual_seed(seeds.derive(recipe.seed, "order", passes))
            order = torch.cat([order, torch.randperm(len(activations), generator=draw)])
            passes += 1
        rows, order = order[: recipe.batch], order[recipe.batch :]
        yield activations[rows].float()


class _Trainee:
    """Weights on their way, for activations scaled to a mean square of 1 a dimension."""

    def __init__(self, activations: Tensor, recipe: Recipe) -> None:
        self.recipe = recipe
        draw = torch.Generator().manual_seed(seeds.derive(recipe.seed, "initial"))
        sample = activations[torch.randperm(len(activations), generator=draw)[:100_000]].float()
        mean = sample.mean(0)
        self.scale = float((sample - mean).square().mean().rsqrt())
        directions = torch.randn(recipe.latents, activations.shape[1], generator=draw)
        self.w_dec = normalize(directions, dim=1).requires_grad_()
        self.w_enc = self.w_dec.detach().T.clone().requires_grad_()
        self.b_enc = torch.zeros(recipe.latents, requires_grad=True)
        self.b_dec = (mean * self.scale).requires_grad_()
        self.silent = torch.zeros(recipe.latents, dtype=torch.int64)
        """Positions since each latent last fired."""
        self.weights = [self.w_enc, self.b_enc, self.w_dec, self.b_dec]
        self.optimizer = torch.optim.Adam(self.weights, betas=(0.9, 0.999), fused=True)
        self.resample_at = {int(share * recipe.steps) for share in recipe.resamplings}

    def step(self, x: Tensor, step: int) -> None:
        """One update on `[batch, width]`."""
        x = x * self.scale
        before = _product(x - self.b_dec, self.w_enc) + self.b_enc
        codes = self._codes(before)
        error = x - _product(codes, self.w_dec) - self.b_dec
        loss = error.square().sum(1).mean() / x.shape[1]
        self._note_firing(codes)
        if self.recipe.architecture == "topk":
            loss = loss + self.recipe.auxiliary * self._auxiliary(before, error.detach())
        else:
            loss = loss + self.recipe.penalty_at(step) * codes.sum(1).mean() / x.shape[1]
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._forget_lengths()
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate_at(step)
        self.optimizer.step()
        with torch.no_grad():
            self.w_dec.copy_(normalize(self.w_dec, dim=1))
        if self.recipe.architecture == "standard" and step in self.resample_at:
            self._resample(x, error.detach(), step)

    def sae(self, label: str, hook: str, trained_on: TrainedOn) -> Sae:
        """As it stands, with the scale folded in: codes and biases in the activations' units."""
        with torch.no_grad():
            return Sae(
                label=label,
                hook=hook,
                architecture=self.recipe.architecture,
                w_enc=self.w_enc.detach().clone(),
                b_enc=self.b_enc / self.scale,
                w_dec=self.w_dec.detach().clone(),
                b_dec=self.b_dec / self.scale,
                k=self.recipe.k if self.recipe.architecture == "topk" else None,
                trained_on=trained_on,
            )

    def _codes(self, before: Tensor) -> Tensor:
        if self.recipe.architecture == "standard":
            return before.relu()
        return _keep_largest(before, self.recipe.k)

    def _note_firing(self, codes: Tensor) -> None:
        self.silent += len(codes)
        self.silent[(codes > 0).any(0)] = 0

    def _dead(self) -> Tensor:
        return (self.silent > self.recipe.dead_after).nonzero()[:, 0]

    def _auxiliary(self, before: Tensor, error: Tensor) -> Tensor:
        """How badly the dead latents alone explain what the others leave: 0 to about 1.

        The `width / 2` largest of them at each position, as a share of what was left.
        """
        dead = self._dead()
        if len(dead) == 0:
            return error.new_zeros(())
        codes = _keep_largest(before[:, dead], min(len(dead), error.shape[1] // 2))
        unexplained = (error - _product(codes, self.w_dec[dead])).square().sum()
        return unexplained / (error - error.mean(0)).square().sum()

    @torch.no_grad()
    def _forget_lengths(self) -> None:
        """Remove from the decoder's gradient what would only change the rows' lengths."""
        gradient = self.w_dec.grad
        assert gradient is not None
        gradient -= (gradient * self.w_dec).sum(1, keepdim=True) * self.w_dec

    @torch.no_grad()
    def _resample(self, x: Tensor, error: Tensor, step: int) -> None:
        """Dead latents begin anew at positions that are badly explained, likelier the worse."""
        dead = self._dead()
        if len(dead) == 0:
            return
        draw = torch.Generator().manual_seed(seeds.derive(self.recipe.seed, "resample", step))
        badness = error.square().sum(1).square()
        chosen = torch.multinomial(badness, len(dead), len(dead) > len(x), generator=draw)
        rows = normalize(error[chosen], dim=1)
        alive = torch.ones(len(self.silent), dtype=torch.bool)
        alive[dead] = False
        length = 0.2 * self.w_enc[:, alive].norm(dim=0).mean()
        self.w_dec[dead] = rows
        self.w_enc[:, dead] = length * rows.T
        self.b_enc[dead] = 0
        self.silent[dead] = 0
        for moment in ("exp_avg", "exp_avg_sq"):
            self.optimizer.state[self.w_dec][moment][dead] = 0
            self.optimizer.state[self.b_enc][moment][dead] = 0
            self.optimizer.state[self.w_enc][moment][:, dead] = 0


def _product(a: Tensor, b: Tensor) -> Tensor:
    """In bf16, which is several times faster where the processor has it; summed in float32."""
    with torch.autocast(a.device.type, dtype=torch.bfloat16):
        return (a @ b).float()


def _keep_largest(before: Tensor, k: int) -> Tensor:
    """Each row's k largest, where they are positive; zero elsewhere."""
    place = largest(before.detach(), k)
    return torch.zeros_like(before).scatter(1, place, before.gather(1, place).relu())
