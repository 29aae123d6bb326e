"""What experts add on equal input and equal routing: what is summed of it, and its error."""

import numpy as np
import torch
from torch import Tensor

from bitlens.engine.accumulators import ReplicateState
from bitlens.engine.activations import ActivationPair
from bitlens.engine.analysis import Results
from bitlens.models.expert_routing import Added
from bitlens.results.records import MetricResult

NO_TOKEN = "the reference sends no token of these documents to it"
ALONE = "one document alone sends tokens to it: no replicate can do without"
NOTHING = "what the reference's adds is zero"


def output_sums(pair: ActivationPair) -> dict[str, Tensor]:
    """Energies of the errors and of what the reference's experts add: of each on the tokens it is
    sent, `[shards, experts]`, and of their sum, `[shards]`."""
    reference, twin = Added.of(pair.reference.values), Added.of(pair.twin.values)
    at, error = pair.positions, twin.outputs - reference.outputs
    sums = {}
    for name, of in (("error", error), ("energy", reference.outputs)):
        each = torch.zeros(len(at), reference.count, device=of.device)
        each.scatter_add_(-1, reference.numbers, of.square().sum(-1))
        sums[f"{name}_of_each"] = at.total(each.double())
        sums[f"{name}_of_all"] = at.total(of.sum(-2).square().sum(-1))
    return sums


def output_results(state: ReplicateState) -> Results:
    """The relative error of all experts together and of each one."""
    error, energy = state.sum("error_of_each"), state.sum("energy_of_each")
    found: Results = [
        _relative("weights_error", "", state.sum("error_of_all"), state.sum("energy_of_all"))
    ]
    for e in range(error.shape[-1]):
        found.append(_relative("expert_error", f"expert {e}", error[:, e], energy[:, e]))
    return found


def _relative(metric: str, item: str, error: np.ndarray, energy: np.ndarray) -> MetricResult:
    if np.all(energy > 0):
        return MetricResult(metric, np.sqrt(error / energy), item=item)
    reason = (ALONE if energy[0] > 0 else NO_TOKEN) if item else NOTHING
    return MetricResult(metric, None, item=item, reason=reason)
