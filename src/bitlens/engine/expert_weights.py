"""How far each expert's weights are from the reference's: one number for all its matrices."""

from collections.abc import Mapping

import numpy as np
import torch

from bitlens.engine.runs import REFERENCE
from bitlens.models.block_runner import Block

ExpertErrors = dict[tuple[str, int], np.ndarray]
"""By model and block, `[experts]`: ||twin - reference|| / ||reference|| over all matrices of an
expert, Frobenius; 0 intact, not a number where the reference's are all 0."""


def expert_errors(blocks: Mapping[str, Block], depth: int) -> ExpertErrors:
    """Of every twin's block at this depth, beside the reference's; nothing of blocks without
    experts, nor of a twin that multiplies what it does not hold as one parameter (a kernel's)."""
    reference = blocks[REFERENCE]
    names = reference.names
    if names.routing is None:
        return {}
    inside = [p for group in names.groups for p in group if p.parameter != "weight"]
    own = [p.key for p in inside if f"{p.module}.".startswith(f"{names.routing.experts}.")]
    if not own:
        return {}
    size = torch.stack([_energy(reference.weights[key]) for key in own]).sum(0)
    return {
        (name, depth): torch.sqrt(
            torch.stack([_energy(block.weights[key] - reference.weights[key]) for key in own]).sum(
                0
            )
            / size
        ).numpy()
        for name, block in blocks.items()
        if name != REFERENCE and block.weights.keys() >= set(own)
    }


def _energy(stack: torch.Tensor) -> torch.Tensor:
    """`[experts]`, float64 on the processor: the sum of the squares of each."""
    return stack.flatten(1).float().square().sum(-1).double().cpu()
