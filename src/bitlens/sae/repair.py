"""Can an SAE be read on a twin as it is read on its reference? Its encoder adapted, step by step.

What is learnt from: activations of both models at the same positions of calibration documents. A
gain and an offset of a latent move what it says, not how it orders positions, so that they mend its
strength and when it fires (concordance, F1) but hardly its correlation; a linear map of what the
encoder reads, and an encoder trained against the reference's codes, mend correlation too, as far as
the twin's activations still hold what the latent reads. The latents keep their decoder directions
but for one linear map of all of them together. What comes out is an ordinary SAE.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bitlens import seeds
from bitlens.errors import BitlensError
from bitlens.sae.sae import Sae

UNREPAIRED, GAIN, MAP, TRAINED = "as it is", "gain and offset", "linear map", "fine-tuned"
"""The steps; each but the gain begins with what the one before it made."""
ADAPTABLE = ("standard", "topk", "jumprelu", "gated")
SHRINKAGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Of a linear map towards the identity, in units of the mean variance of what it maps."""
FEWEST_FIRINGS = 2
"""On which a gain is fitted."""
ACTIVE = 0.001
"""Share of positions on which a latent fires to count as a feature; see `analyses.survival`."""
BATCH, STEPS, RATE, EVERY, PATIENCE = 1024, 600, 1e-3, 50, 3
"""Of the training: positions a step, steps at most, Adam's step, steps between two looks at the
held-out positions, and looks without gain after which it ends."""
_ENTRIES = 1 << 24
"""Of dense codes at a time."""
_ROWS = 1 << 14
"""Of activations in float64 at a time."""


@dataclass(frozen=True, eq=False)
class Activations:
    """Both models at the same positions of the same documents."""

    reference: Tensor
    """`[n, width]` float32."""
    twin: Tensor
    held_out: Tensor
    """`[n]` bool: positions, of whole documents, that are not learnt from but choose."""

    def part(self, held_out: bool) -> "Activations":
        mine = self.held_out == held_out
        return Activations(self.reference[mine], self.twin[mine], self.held_out[mine])


@dataclass(frozen=True, eq=False)
class Step:
    """An SAE after one step of repair."""

    name: str
    sae: Sae
    error: float
    """On the held-out calibration positions, see `code_error`."""


@dataclass(frozen=True, eq=False)
class Repaired:
    """What came of a repair."""

    steps: list[Step]
    """The SAE as it is first."""
    readable: Tensor
    """`[latents]`: see `readable`."""

    @property
    def best(self) -> Step:
        """The step that the held-out calibration positions choose."""
        return min(self.steps, key=lambda step: step.error)


def repair(
    sae: Sae,
    on: Activations,
    finetune: bool = False,
    seed: int = 0,
    progress: Callable[[int], None] = lambda step: None,
) -> Repaired:
    """The SAE as it is and after every step of repair, each with its error on the held-out
    calibration positions. `progress` is told every step of training.

    BitlensError where there are too few positions to learn from, and for an SAE whose code is not
    its pre-activation where it fires.
    """
    if sae.architecture not in ADAPTABLE:
        raise BitlensError(
            f"The SAE {sae.label} is {sae.architecture}.",
            f"one of {', '.join(ADAPTABLE)}: what they say is linear in what they read.",
            "another --sae.",
        )
    learnt, held = on.part(False), on.part(True)
    if len(learnt.twin) <= sae.width or len(held.twin) < 2:
        raise BitlensError(
            f"There are {len(learnt.twin):,} calibration positions to learn from and "
            f"{len(held.twin):,} to choose by.",
            f"more than {sae.width:,}, the width of the model, and some of other documents.",
            "more --calibration documents, or more --calibration-tokens.",
        )
    mapped = with_map(sae, learnt, held)
    made = {GAIN: with_gain(sae, learnt), MAP: mapped}
    if finetune:
        made[TRAINED] = trained(mapped, sae, learnt, held, seed, progress)
    steps = [Step(UNREPAIRED, sae, code_error(sae, sae, held))]
    for name, adapted in made.items():
        adapted = with_decoder(with_thresholds(adapted, sae, learnt), learnt, held)
        steps.append(Step(name, adapted, code_error(sae, adapted, held)))
    return Repaired(steps, readable(sae, mapped, held))


def with_gain(sae: Sae, on: Activations) -> Sae:
    """A gain and an offset of each latent's pre-activation, folded into encoder and bias.

    Least squares of the reference's code on the twin's pre-activation z over the positions where
    the twin fires: a = cov(z, f) / var(z), b = mean(f) - a mean(z). There the code is z itself and
    no position is chosen by what is to be predicted. A latent that fires on fewer than two of
    them, or whose gain would not be positive, stays as it is.
    """
    n, z, f, zz, zf = _moments(sae, on)
    count = n.clamp(min=1)
    variance = zz / count - (z / count) ** 2
    covariance = zf / count - z * f / count**2
    known = (n >= FEWEST_FIRINGS) & (variance > 1e-9 * zz / count) & (covariance > 0)
    gain = torch.where(known, covariance / variance, 1.0)
    offset = torch.where(known, (f - gain * z) / count, 0.0)
    gain, offset = gain.float(), offset.float()
    return replace(sae, w_enc=sae.w_enc * gain, b_enc=sae.b_enc * gain + offset)


def _moments(sae: Sae, on: Activations) -> tuple[Tensor, ...]:
    """`[latents]` float64 each, over the positions where the twin fires: how many, and the sums of
    z, f, z^2 and z f."""
    sums = torch.zeros(5, sae.latents, dtype=torch.float64, device=sae.w_enc.device)
    for x, y in _tiles(sae, on):
        codes, wanted = sae.codes(y), sae.encode(x)
        z = codes.value.double()
        f = wanted[codes.row, codes.latent].double()
        for total, value in zip(sums, (torch.ones_like(z), z, f, z * z, z * f), strict=True):
            total += torch.bincount(codes.latent, value, minlength=sae.latents)
    return tuple(sums)


def readable(sae: Sae, mapped: Sae, held: Activations) -> Tensor:
    """`[latents]`: how well does the best linear reading of the twin tell each latent's
    pre-activation in the reference? Pearson correlation over held-out positions with that of
    `mapped`, the SAE `with_map` made; 0 where one of them does not vary."""
    sums = torch.zeros(5, sae.latents, dtype=torch.float64, device=sae.w_enc.device)
    for x, y in _tiles(sae, held):
        a = (sae.read(x)[0] @ sae.w_enc).double()
        b = (sae.read(y)[0] @ mapped.w_enc).double()
        for total, value in zip(sums, (a, b, a * a, b * b, a * b), strict=True):
            total += value.sum(dim=0)
    a, b, aa, bb, ab = sums / len(held.twin)
    scale = ((aa - a * a).clamp(min=0) * (bb - b * b).clamp(min=0)).sqrt()
    return torch.where(scale > 0, (ab - a * b) / scale.clamp(min=1e-30), 0.0).float()


def with_map(sae: Sae, learnt: Activations, held: Activations) -> Sae:
    """What the encoder reads of the twin, mapped linearly onto what it would read of the
    reference, folded into encoder and bias: of all latents the least squares of the reference's
    pre-activations on the twin's activations."""
    x, y = (sae.read(part)[0] for part in (learnt.twin, learnt.reference))
    x_held, y_held = (sae.read(part)[0] for part in (held.twin, held.reference))
    weight, bias = _best_map(x, y, x_held, y_held)
    return replace(sae, w_enc=weight @ sae.w_enc, b_enc=sae.b_enc + bias @ sae.w_enc)


def affine(x: Tensor, y: Tensor, shrinkage: Sequence[float]) -> Iterator[tuple[Tensor, Tensor]]:
    """`weight` `[width, width]` and `bias` `[width]` of the least squares y = x weight + bias,
    shrunk towards weight = 1: min ||x weight - y||^2 + l ||weight - 1||^2 over centred rows, with
    l = `shrinkage` times the number of rows and the mean variance of x; one for each shrinkage.

    With D = weight - 1 it is the ridge regression of y - x on x (Hoerl and Kennard 1970).
    """
    mean_x, mean_y = (part.mean(dim=0, dtype=torch.float64) for part in (x, y))
    width = x.shape[1]
    gram, product = x.new_zeros(2, width, width, dtype=torch.float64)
    for a, b in zip(x.split(_ROWS), y.split(_ROWS), strict=True):
        a, b = a.double() - mean_x, b.double() - mean_y
        gram += a.T @ a
        product += a.T @ (b - a)
    one = torch.eye(width, dtype=torch.float64, device=x.device)
    for share in shrinkage:
        penalty = share * gram.diagonal().mean().clamp(min=torch.finfo(torch.float32).tiny)
        weight = one + torch.linalg.solve(gram + penalty * one, product)
        yield weight.float(), (mean_y - mean_x @ weight).float()


def _best_map(x: Tensor, y: Tensor, x_held: Tensor, y_held: Tensor) -> tuple[Tensor, Tensor]:
    """With the shrinkage that leaves least on other positions."""

    def left(of: tuple[Tensor, Tensor]) -> float:
        return float((x_held @ of[0] + of[1] - y_held).square().mean())

    return min(affine(x, y, SHRINKAGES), key=left)


def with_decoder(sae: Sae, learnt: Activations, held: Activations) -> Sae:
    """What the code decodes to, mapped linearly onto the twin's activations, folded into decoder
    and bias; codes stay what they are."""
    decoded = []
    for part in (learnt, held):
        codes = sae.codes(part.twin)
        plain = sae.decode(replace(codes, scale=None, shift=None))
        wanted = part.twin if codes.shift is None else part.twin - codes.shift
        decoded += [plain, wanted if codes.scale is None else wanted / codes.scale]
    weight, bias = _best_map(*decoded)
    b_dec = sae.b_dec @ weight + bias
    b_enc = sae.b_enc
    if sae.apply_b_dec_to_input:
        b_enc = b_enc + (b_dec - sae.b_dec) @ sae.w_enc
    return replace(sae, w_dec=sae.w_dec @ weight, b_dec=b_dec, b_enc=b_enc)


def with_thresholds(sae: Sae, reference: Sae, on: Activations) -> Sae:
    """Each latent with the threshold above which it fires in the twin as often as in the reference;
    an SAE without thresholds, and a latent that never fires in the reference, as they are."""
    if sae.threshold is None:
        return sae
    n = len(on.twin)
    fired = torch.bincount(reference.codes(on.reference).latent, minlength=sae.latents)
    rows, threshold = sae.read(on.twin)[0], sae.threshold.clone()
    for some in fired.nonzero().flatten().split(max(1, _ENTRIES // n)):
        before = rows @ sae.w_enc[:, some] + sae.b_enc[some]
        # Half-way between the least value that is to fire and the one below it.
        least = n - fired[some]
        place = torch.stack([(least - 1).clamp(min=0), least])
        between = before.sort(dim=0).values.gather(0, place).mean(dim=0)
        threshold[some] = between.clamp(min=0)
    return replace(sae, threshold=threshold)


def trained(
    sae: Sae,
    reference: Sae,
    learnt: Activations,
    held: Activations,
    seed: int = 0,
    progress: Callable[[int], None] = lambda step: None,
) -> Sae:
    """The encoder trained against the reference's codes, by Adam (Kingma and Ba 2015), from `sae`
    on; of what it was on the way, that which leaves least on the held-out positions.

    Where a latent fires in either model its pre-activation is to be the reference's code, 0 where
    it is silent there; squared errors in units of each feature's variance, so that rare features
    count as much as strong ones.
    """
    wanted = _spread(reference, learnt.reference)
    weight = torch.where(wanted > 0, 1 / wanted.clamp(min=1e-30), 0.0).float()
    w_enc, b_enc = (of.clone().requires_grad_() for of in (sae.w_enc, sae.b_enc))
    optimizer = torch.optim.Adam([w_enc, b_enc], lr=RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, STEPS)
    draw = torch.Generator().manual_seed(seeds.derive(seed, "repair"))
    best, least, waited = sae, code_error(reference, sae, held), 0
    for step in range(1, STEPS + 1):
        chosen = torch.randint(len(learnt.twin), (BATCH,), generator=draw).to(w_enc.device)
        x, y = learnt.reference[chosen], learnt.twin[chosen]
        now = replace(sae, w_enc=w_enc.detach(), b_enc=b_enc.detach())
        target, own = reference.encode(x), now.encode(y)
        before = sae.read(y)[0] @ w_enc + b_enc
        error = torch.where((target > 0) | (own > 0), before - target, 0.0)
        loss = (error.square().sum(dim=0) * weight).sum() / BATCH
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        progress(step)
        if step % EVERY == 0:
            now = replace(sae, w_enc=w_enc.detach().clone(), b_enc=b_enc.detach().clone())
            found = code_error(reference, now, held)
            waited = 0 if found < least else waited + 1
            best, least = (now, found) if found < least else (best, least)
            if waited == PATIENCE:
                break
    return best


def code_error(reference: Sae, made: Sae, on: Activations) -> float:
    """How far is the twin's code from the reference's? Mean over features of the squared
    difference beside the feature's variance, at most 1 each; 0 is the same code, 1 no better than
    always saying the mean. 1 where there is no feature.

    A feature is a latent that fires on more than 0.1 % of the positions in the reference.
    """
    spread = _spread(reference, on.reference)
    error = torch.zeros_like(spread)
    for x, y in _tiles(reference, on):
        error += (made.encode(y) - reference.encode(x)).double().square().sum(dim=0)
    known = spread > 0
    shares = error[known] / (spread[known] * len(on.reference))
    return float(shares.clamp(max=1).mean()) if len(shares) else 1.0


def _spread(sae: Sae, x: Tensor) -> Tensor:
    """`[latents]` float64: the variance of each feature's code; 0 for what is no feature."""
    fired, total, square = torch.zeros(3, sae.latents, dtype=torch.float64, device=x.device)
    for part in x.split(max(1, _ENTRIES // sae.latents)):
        codes = sae.codes(part)
        value = codes.value.double()
        for sums, values in ((fired, torch.ones_like(value)), (total, value), (square, value**2)):
            sums += torch.bincount(codes.latent, values, minlength=sae.latents)
    variance = square / len(x) - (total / len(x)) ** 2
    return torch.where(fired > ACTIVE * len(x), variance, 0.0).clamp(min=0)


def _tiles(sae: Sae, on: Activations) -> Iterator[tuple[Tensor, Tensor]]:
    """Positions a few at a time: dense codes of all of them would not fit."""
    rows = max(1, _ENTRIES // sae.latents)
    return zip(on.reference.split(rows), on.twin.split(rows), strict=True)
