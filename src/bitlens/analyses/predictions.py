"""Predictions kept at every position of a short text, so that it need not be read again to be shown
token by token."""

from functools import partial

import torch
from torch import Tensor

from bitlens.engine.accumulators import ReplicateState, SampledRows
from bitlens.engine.activations import ActivationPair, Activations
from bitlens.engine.places import packed
from bitlens.results.records import DetailTable

PREDICTIONS = "predictions"
"""The table of what both models predict at every position that counts."""
FIRST = 5
"""Tokens kept of each prediction."""
MOST_BYTES = 16 << 20
"""Of one twin's predictions; of more nothing is kept."""
_ROW = 8 + 8 + 4 + 2 * (FIRST * (4 + 4) + 4)
"""Bytes of a position: where it is, its shard and divergence, and of either model tokens, their
probabilities and that of the true one."""


def bytes_kept(positions: int) -> int:
    """What the predictions at so many positions take; 0 where they are not kept."""
    size = positions * _ROW
    return size if size <= MOST_BYTES else 0


def likeliest(logits: Activations, target: Tensor) -> dict[str, Tensor]:
    """The tokens that come first and their probabilities, `[n, five]` each, and that of the true
    one, `[n]`."""
    first = logits.once("first", partial(_first, logits.values))
    known = logits.log_probabilities
    return {
        "ids": first.to(torch.int32),
        "shares": known.gather(1, first).exp(),
        "target": known.gather(1, target[:, None])[:, 0].exp(),
    }


def predictions(pair: ActivationPair, kl: Tensor) -> SampledRows:
    """What both models predict at the positions of a pair, and how far apart that is: `[n]`."""
    at = pair.positions
    of = {who: likeliest(run, at.target) for who, run in _both(pair).items()}
    values = {f"{name}_{who}": v for who, found in of.items() for name, v in found.items()}
    return SampledRows(packed(at.document, at.offset), at.shard, {"kl": kl, **values})


def told(state: ReplicateState) -> list[DetailTable]:
    """What was kept, by position; nothing where nothing was."""
    found = state.entries(PREDICTIONS)
    return [] if found is None else [DetailTable(PREDICTIONS, {"place": found[0], **found[1]})]


def _first(logits: Tensor) -> Tensor:
    return logits.topk(min(FIRST, logits.shape[1])).indices


def _both(pair: ActivationPair) -> dict[str, Activations]:
    return {"reference": pair.reference, "twin": pair.twin}
