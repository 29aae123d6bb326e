"""What is a feature like on one half of the documents, and does it survive on the other?

What is to be predicted must not be measured on the text it is predicted from: `first` and `second`
are the shards of even and odd number, each of whole documents.
"""

from collections.abc import Callable

import numpy as np
import torch

from bitlens.analyses.analysis import Findings, Sample, Shown
from bitlens.analyses.survival import Sums, agreement, features_of
from bitlens.sae.sae import Sae

HALVES = "halves"
"""The table of what was read on each half."""


def halves(
    sums: Sums,
    sae: Sae,
    site: str,
    near: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    reference: Sample,
    twin: Sample,
) -> Findings:
    """One row a feature of the reference; nothing where one half has no documents.

    Of the reference alone, on the first half: `rate` (share of positions it fires on), `mean` and
    `peak` activation, and `sparseness` (mean^2 / mean square over all positions: 1 for one that
    always fires alike, its rate for one that fires seldom and then alike; Treves and Rolls 1991).
    Of the SAE alone: norms, `bias` (b_enc, less the threshold), the nearest other feature's
    decoder cosine and the `group` of near-duplicates, by `near`. Not of the reference alone:
    `error_first`, how far the twin moved what the encoder reads (root mean square of w_enc . dx
    over the sampled positions of the first half), and `r` on either half.
    """
    features = features_of(sums)
    shards = np.arange(sums.totals.weights.shape[1])
    split = sums.under(np.stack([shards % 2 == 0, shards % 2 == 1]).astype(np.float64))
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
        "peak_first": split.largest("peak_reference", shards % 2 == 0)[features],
        "sparseness_first": np.divide(total**2, energy, np.zeros_like(total), where=energy > 0),
        "error_first": _error(sae, features, reference, twin),
        **{name: values.cpu().numpy().astype(np.float64) for name, values in of_sae.items()},
        "nearest": cosine,
    }
    return [Shown(HALVES, columns)]


@torch.no_grad()
def _error(sae: Sae, features: np.ndarray, reference: Sample, twin: Sample) -> np.ndarray:
    """`[features]`: root mean square of what the encoder sees of the twin's error, over sampled
    positions of the first half; NaN where none was sampled."""
    mine = reference.shard % 2 == 0
    if not mine.any():
        return np.full(len(features), np.nan)
    read = []
    for sample in (reference, twin):
        x = torch.from_numpy(sample.values[mine]).to(sae.w_enc.device)
        codes = sae.codes(x)
        x = x if codes.shift is None else x - codes.shift
        read.append(x if codes.scale is None else x / codes.scale)
    seen = (read[1] - read[0]) @ sae.w_enc[:, features]
    return np.asarray(seen.double().square().mean(dim=0).sqrt().cpu().numpy())
