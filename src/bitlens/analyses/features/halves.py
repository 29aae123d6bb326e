"""The features on two halves of the documents: what each is like on one, survival on the other.

What is to be predicted must not be measured on the text it is predicted from: `first` and `second`
are the shards of even and odd number, each of whole documents.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitlens.analyses.features.survival import Sums, agreement, features_of
from bitlens.engine.activations import ActivationPair
from bitlens.engine.analysis import Results
from bitlens.results.records import DetailTable
from bitlens.sae.sae import Sae

HALVES = "halves"
"""The table of what was read on each half."""
_TILE_BYTES = 32 << 20
"""Of what encoder directions see at a time."""


def halves(
    sums: Sums,
    sae: Sae,
    site: str,
    near: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> Results:
    """One row a feature of the reference; nothing where one half has no documents.

    Of the reference alone, on the first half: `rate` (share of positions it fires on), `mean` and
    `peak` activation, and `sparseness` (mean^2 / mean square over all positions: 1 for one that
    always fires alike, its rate for one that fires seldom and then alike; Treves and Rolls 1991).
    Of the SAE alone: norms, `bias` (b_enc, less the threshold), the nearest other feature's
    decoder cosine and the `group` of near-duplicates, by `near`. Of the twin's weights on the
    reference's activations: `local_error_first`, by `seen` on the first half (root mean square;
    NaN where no block ran so). Of the twin: `r` on either half.
    """
    features = features_of(sums)
    shards = np.arange(sums.state.weights.shape[1])
    split = sums.under(np.stack([_first(shards), ~_first(shards)]).astype(np.float64))
    if len(features) < 2 or not np.all(split.count > 0):
        return []
    n, r = split.count[0, 0], agreement(split, features).r
    total, square, fired = (
        split(f"{name}_reference", features)[0] for name in ("sum", "square", "fired")
    )
    energy = n * square
    with torch.no_grad():
        of_sae = {
            "decoder_norm": sae.w_dec[features].norm(dim=1),
            "encoder_norm": sae.w_enc[:, features].norm(dim=0),
            "bias": (sae.b_enc if sae.threshold is None else sae.b_enc - sae.threshold)[features],
        }
    cosine, group = near(features)
    columns = {
        "sae": [sums.label] * len(features),
        "site": [site] * len(features),
        "latent": features,
        "group": group,
        "r_first": r[0],
        "r_second": r[1],
        "rate_first": fired / n,
        "mean_first": total / n,
        "peak_first": split.largest("peak_reference", _first(shards))[features],
        "sparseness_first": np.divide(total**2, energy, np.zeros_like(total), where=energy > 0),
        "local_error_first": _root_mean_square(split, features),
        **{name: values.cpu().numpy().astype(np.float64) for name, values in of_sae.items()},
        "nearest": cosine,
    }
    return [DetailTable(HALVES, columns)]


def _first(shards: Any) -> Any:
    """Which shards, of an array or a tensor of their numbers, are the first half?"""
    return shards % 2 == 0


@torch.no_grad()
def seen(sae: Sae, pair: ActivationPair) -> dict[str, Tensor]:
    """How large, to each encoder direction, is the error of the block's own weights?

    The twin's block is run on the reference's input, so that nothing before it counts. With dx
    its error as the encoder is given it: `local_error` `[shards, latents]`, the sum of
    (w_enc . dx)^2 over positions, and `local_count` `[shards]`, how many those are. Of the first
    half alone: the other is not to be looked at.
    """
    assert pair.alone is not None
    rows = torch.nonzero(_first(pair.positions.shard)).flatten()
    at = pair.positions.some(rows)
    alone, reference = (sae.read(of.values[rows])[0] for of in (pair.alone, pair.reference))
    error = alone - reference
    tile = max(1, _TILE_BYTES // (4 * max(1, len(error))))
    parts = [at.total((error @ part).square_()) for part in sae.w_enc.split(tile, dim=1)]
    count = at.total(torch.ones(len(at), device=error.device))
    return {"local_error": torch.cat(parts, dim=1), "local_count": count}


def _root_mean_square(split: Sums, features: np.ndarray) -> np.ndarray:
    """`[features]`: of what `seen` summed, on the first half."""
    ran = split.state.has(f"{split.label}/local_count")
    count = split("local_count")[0] if ran else 0
    if not count > 0:
        return np.full(len(features), np.nan)
    return np.asarray(np.sqrt(split("local_error", features)[0] / count))
