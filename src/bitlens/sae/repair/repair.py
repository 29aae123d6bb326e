"""The steps of a repair of an SAE, each made and measured: which leaves least?"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from bitlens.errors import DataError, SaeError
from bitlens.sae.repair.activations import PairedActivations
from bitlens.sae.repair.finetune import trained
from bitlens.sae.repair.least_squares import with_decoder, with_gain, with_map, with_thresholds
from bitlens.sae.repair.metrics import code_error, readable
from bitlens.sae.sae import Sae

UNREPAIRED, GAIN, MAP, TRAINED = "as it is", "gain and offset", "linear map", "fine-tuned"
STEPS = (UNREPAIRED, GAIN, MAP, TRAINED)
"""The steps; each but the gain begins with what the one before it made."""
ADAPTABLE = ("standard", "topk", "jumprelu", "gated")


@dataclass(frozen=True, eq=False)
class RepairStep:
    """An SAE after one step of repair."""

    name: str
    sae: Sae
    error: float
    """On the held-out calibration positions, see `code_error`."""


@dataclass(frozen=True, eq=False)
class Repaired:
    """What came of a repair."""

    steps: list[RepairStep]
    """The SAE as it is first."""
    readable: Tensor
    """`[latents]`: see `readable`."""

    @property
    def best(self) -> RepairStep:
        """The step that the held-out calibration positions choose."""
        return min(self.steps, key=lambda step: step.error)


def repair(
    sae: Sae,
    on: PairedActivations,
    finetune: bool = False,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> Repaired:
    """The SAE as it is and after every step of repair, each with its error on the held-out
    calibration positions. `progress` is told every step of training.

    BitlensError where there are too few positions to learn from, and for an SAE whose code is not
    its pre-activation where it fires.
    """
    if sae.architecture not in ADAPTABLE:
        raise SaeError(
            f"The SAE {sae.label} is {sae.architecture}.",
            f"one of {', '.join(ADAPTABLE)}: what they say is linear in what they read.",
            "another --sae.",
        )
    learnt, held = on.part(held_out=False), on.part(held_out=True)
    if len(learnt.twin) <= sae.width or len(held.twin) < 2:
        raise DataError(
            f"There are {len(learnt.twin):,} calibration positions to learn from and "
            f"{len(held.twin):,} to choose by.",
            f"more than {sae.width:,}, the width of the model, and some of other documents.",
            "more --calibration documents, or more --calibration-tokens.",
        )
    mapped = with_map(sae, learnt, held)
    made = {GAIN: with_gain(sae, learnt), MAP: mapped}
    if finetune:
        made[TRAINED] = trained(mapped, sae, learnt, held, seed=seed, progress=progress)
    steps = [RepairStep(UNREPAIRED, sae, code_error(sae, sae, held))]
    for name, adapted in made.items():
        adapted = with_decoder(with_thresholds(adapted, sae, learnt), learnt, held)
        steps.append(RepairStep(name, adapted, code_error(sae, adapted, held)))
    return Repaired(steps, readable(sae, mapped, held))
