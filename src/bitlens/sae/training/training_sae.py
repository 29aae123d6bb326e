"""An SAE on its way: its weights, one step of learning, and what it is so far."""

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bitlens import seeds
from bitlens.sae.formats import files as stored
from bitlens.sae.sae import Sae, TrainedOn
from bitlens.sae.training.config import SEEDS, WITH_K, SaeTrainingConfig
from bitlens.sae.training.losses import LOSSES, TrainingStep, Weights, auxiliary

SAMPLE = 100_000
"""Rows of which mean and scale are taken."""
FIRST_ENCODER = 0.3
"""Length of an encoder column at first where k latents fire whatever the length: shorter, it turns
faster (a step of Adam is as long as ever), and FVU after a short run is lower."""
DECODER_RATE = 3.0
"""Times the rate, for decoder rows: held at length 1 they turn slower than free ones would."""
FIRST_THRESHOLD = 0.5
"""Of JumpReLU, in units of a dimension's root mean square."""
LONGEST_MEMORY, SHARE_REMEMBERED = 1000, 0.05
"""Steps over which BatchTopK's threshold is averaged: an exponential mean with a rate of 0.001, or
faster where that would reach back over more than a twentieth of a short run."""


class TrainingSae:
    """Weights for activations times `scale`, which gives them a mean square of 1 a dimension.

    `step` is one update; the same configuration, rows and order give the same weights.
    """

    def __init__(self, config: SaeTrainingConfig, weights: Weights, scale: float) -> None:
        self.config, self.scale = config, scale
        self.weights = {name: tensor.requires_grad_() for name, tensor in weights.items()}
        some = weights["w_enc"]
        self.silent = torch.zeros(config.latents, dtype=torch.int64, device=some.device)
        """Positions since each latent last fired."""
        self.level = torch.zeros((), device=some.device)
        """batchtopk: the mean over steps of the smallest code kept."""
        self.steps = 0
        """Done so far."""
        plain = config.architecture in SEEDS
        groups = [
            {"params": [tensor], "times": 1.0 if plain or name != "w_dec" else DECODER_RATE}
            for name, tensor in self.weights.items()
        ]
        self.optimizer = torch.optim.Adam(groups, betas=(0.9, 0.999), fused=True)
        self.resample_at = {int(share * config.steps) for share in config.resamplings}

    @classmethod
    def begun(cls, config: SaeTrainingConfig, activations: Tensor) -> "TrainingSae":
        """Before the first step, on `[positions, width]`: unit decoder rows drawn at random, the
        encoder their transpose, `b_dec` the mean."""
        draw = torch.Generator().manual_seed(seeds.derive(config.seed, "initial"))
        if config.architecture in SEEDS:
            return cls(config, _seed_weights(config, activations, draw), 1.0)
        chosen = torch.randperm(len(activations), generator=draw)[:SAMPLE]
        sample = activations[chosen.to(activations.device)].float()
        mean = sample.mean(0)
        spread = float((sample - mean).square().mean())
        scale = 1 / math.sqrt(max(spread, torch.finfo(torch.float32).tiny))
        directions = torch.randn(config.latents, activations.shape[1], generator=draw)
        w_dec = normalize(directions, dim=1).to(sample.device)
        length = FIRST_ENCODER if config.architecture in WITH_K else 1.0
        nothing = torch.zeros(config.latents, device=sample.device)
        weights = {
            "w_enc": (length * w_dec.T).contiguous(),
            "b_enc": nothing.clone(),
            "w_dec": w_dec,
            "b_dec": mean * scale,
        }
        if config.architecture == "gated":
            weights |= {"r_mag": nothing.clone(), "b_mag": nothing.clone()}
        if config.architecture == "jumprelu":
            weights["log_threshold"] = nothing + math.log(FIRST_THRESHOLD)
        return cls(config, weights, scale)

    def state(self) -> dict[str, Tensor]:
        """All that the next steps depend on."""
        found = {f"weights.{name}": tensor.detach() for name, tensor in self.weights.items()}
        for name, tensor in self.weights.items():
            for key, value in self.optimizer.state[tensor].items():
                found[f"adam.{key}.{name}"] = value
        found |= {"silent": self.silent, "level": self.level}
        return found | {"scale": torch.tensor(self.scale, dtype=torch.float64)}

    @classmethod
    def restored(
        cls, config: SaeTrainingConfig, state: Mapping[str, Tensor], steps: int
    ) -> "TrainingSae":
        """After so many steps, from `state`."""
        weights = {
            name.removeprefix("weights."): tensor
            for name, tensor in state.items()
            if name.startswith("weights.")
        }
        trainee = cls(config, weights, float(state["scale"]))
        trainee.silent, trainee.level = state["silent"], state["level"]
        trainee.steps = steps
        for name, tensor in trainee.weights.items():
            moments = ("step", "exp_avg", "exp_avg_sq")
            trainee.optimizer.state[tensor] = {m: state[f"adam.{m}.{name}"] for m in moments}
        return trainee

    def step(self, x: Tensor) -> None:
        """One update on `[batch, width]`."""
        config, step = self.config, self.steps
        outcome = self._outcome(x, config.penalty_at(step))
        loss = outcome.loss
        self.silent += len(x)
        self.silent[outcome.fired] = 0
        if config.architecture in WITH_K:
            loss = loss + config.auxiliary * auxiliary(self.weights, outcome, self._dead())
        if outcome.least is not None:
            memory = min(step + 1, LONGEST_MEMORY, max(1, int(SHARE_REMEMBERED * config.steps)))
            self.level = self.level + (outcome.least - self.level) / memory
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for group in self.optimizer.param_groups:
            group["lr"] = group["times"] * config.rate_at(step)
        if config.architecture in SEEDS:
            self.optimizer.step()
        else:
            self._forget_lengths()
            self.optimizer.step()
            with torch.no_grad():
                self.weights["w_dec"].copy_(normalize(self.weights["w_dec"], dim=1))
            if config.architecture not in WITH_K and step in self.resample_at:
                self._resample(x * self.scale, outcome.error, step)
        self.steps += 1

    @torch.no_grad()
    def objective(self, x: Tensor) -> float:
        """What is minimised, at the full penalty, on other rows `[n, width]`."""
        parts = x.split(self.config.batch)
        total = sum(
            float(self._outcome(part, self.config.penalty).loss) * len(part) for part in parts
        )
        return total / len(x)

    @torch.no_grad()
    def sae(self, label: str, hook: str, trained_on: TrainedOn) -> Sae:
        """The autoencoder as it stands, with the scale folded in: codes and biases in the
        activations' units."""
        weights = {name: tensor.detach().clone() for name, tensor in self.weights.items()}
        kind = self.config.architecture
        w_enc, b_enc, threshold = weights["w_enc"], weights["b_enc"], None
        if kind == "gated":
            r_mag, b_mag = weights["r_mag"], weights["b_mag"]
            w_enc, b_enc, threshold = stored.gated(w_enc, b_enc, r_mag, b_mag, where=label)
        elif kind == "jumprelu":
            threshold = weights["log_threshold"].exp()
        elif kind == "batchtopk":
            threshold = stored.every(self.level, self.config.latents).to(w_enc.device)
        names = {"batchtopk": "jumprelu", "seed-plain": "standard"}
        return Sae(
            label=label,
            hook=hook,
            architecture=names.get(kind, kind),  # type: ignore[arg-type]
            w_enc=w_enc,
            b_enc=b_enc / self.scale,
            w_dec=weights["w_dec"],
            b_dec=weights["b_dec"] / self.scale,
            threshold=None if threshold is None else threshold / self.scale,
            w_gate=weights.get("w_gate"),
            b_gate=weights.get("b_gate"),
            k=self.config.k if kind == "topk" else None,
            apply_b_dec_to_input=kind not in SEEDS,
            trained_on=replace(trained_on, seed=self.config.seed),
        )

    def _outcome(self, x: Tensor, penalty: float) -> TrainingStep:
        loss = LOSSES[self.config.architecture]
        return loss(self.weights, x.float() * self.scale, self.config, penalty)

    def _dead(self) -> Tensor:
        return (self.silent > self.config.dead_after).nonzero()[:, 0]

    @torch.no_grad()
    def _forget_lengths(self) -> None:
        """Remove from the decoder's gradient what would only change the rows' lengths."""
        w_dec = self.weights["w_dec"]
        gradient = w_dec.grad
        assert gradient is not None
        gradient -= (gradient * w_dec).sum(1, keepdim=True) * w_dec

    @torch.no_grad()
    def _resample(self, x: Tensor, error: Tensor, step: int) -> None:
        """Dead latents begin anew at positions that are badly explained, likelier the worse
        (Bricken et al. 2023, appendix "Neuron Resampling")."""
        dead = self._dead()
        badness = error.square().sum(1).square().cpu()
        if len(dead) == 0 or not float(badness.sum()) > 0:
            return
        draw = torch.Generator().manual_seed(seeds.derive(self.config.seed, "resample", step))
        chosen = torch.multinomial(badness, len(dead), len(dead) > len(x), generator=draw)
        rows = normalize(error[chosen.to(error.device)], dim=1)
        alive = torch.ones_like(self.silent, dtype=torch.bool)
        alive[dead] = False
        typical = self.weights["w_enc"][:, alive].norm(dim=0).mean() if alive.any() else 1.0
        for name, tensor in self.weights.items():
            if name == "b_dec":
                continue
            at = (slice(None), dead) if name == "w_enc" else (dead,)
            if name == "w_enc":
                tensor[at] = 0.2 * typical * rows.T
            elif name == "w_dec":
                tensor[at] = rows
            elif name == "log_threshold" and alive.any():
                tensor[at] = tensor[alive].mean()
            else:
                tensor[at] = 0
            for moment in ("exp_avg", "exp_avg_sq"):
                self.optimizer.state[tensor][moment][at] = 0
        self.silent[dead] = 0


def _seed_weights(config: SaeTrainingConfig, activations: Tensor, draw: torch.Generator) -> Weights:
    """Matrices by Glorot and Bengio (2010), uniform; biases of nought."""
    width, latents, device = activations.shape[1], config.latents, activations.device
    bound = math.sqrt(6 / (width + latents))

    def drawn(*shape: int) -> Tensor:
        return ((torch.rand(shape, generator=draw) * 2 - 1) * bound).to(device)

    weights = {
        "w_enc": drawn(width, latents),
        "b_enc": torch.zeros(latents, device=device),
        "w_dec": drawn(latents, width),
        "b_dec": torch.zeros(width, device=device),
    }
    if config.architecture == "seed-gated":
        gate = {"w_gate": drawn(width, latents), "b_gate": torch.zeros(latents, device=device)}
        weights |= gate
    return weights
