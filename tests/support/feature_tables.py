"""Tables of features made up, so that what drives survival is known."""

import numpy as np

from bitlens.results.insights.measured import Columns, TwinFeatures


def halves(n: int = 400, seed: int = 0) -> Columns:
    """Features like those of an SAE, all alike in what became of them: r is 1."""
    draw = np.random.default_rng(seed)
    rate = np.exp(draw.normal(-4, 0.5, n)).clip(0.002, 0.9)
    mean = rate * np.exp(draw.normal(0, 0.5, n))
    return {
        "latent": np.arange(n),
        "group": np.arange(n),
        "r_first": np.ones(n),
        "r_second": np.ones(n),
        "rate_first": rate,
        "mean_first": mean,
        "peak_first": np.exp(draw.normal(1, 0.7, n)),
        "sparseness_first": rate * draw.uniform(0.5, 0.9, n),
        "local_error_first": np.exp(draw.normal(-1, 0.1, n)),
        "decoder_norm": np.ones(n),
        "encoder_norm": np.exp(draw.normal(0, 0.1, n)),
        "bias": draw.normal(0, 0.3, n),
        "nearest": draw.uniform(0, 0.5, n),
    }


def twin(
    r: np.ndarray, name: str = "rtn:bits=4", seed: int = 0, **more: np.ndarray
) -> TwinFeatures:
    """A twin whose features have these correlations, on both halves alike or as told."""
    n = len(r)
    features = {
        "latent": np.arange(n),
        "r": r,
        "rate_reference": np.full(n, 0.01),
        "mean_reference": np.full(n, 0.1),
        "peak_reference": np.ones(n),
    }
    both = {"group": np.arange(n), "r_first": r, "r_second": r} | more
    like = name.removeprefix("noise:like=[").removesuffix("]") if name.startswith("noise") else None
    return TwinFeatures(
        compression=name,
        seed=seed,
        like=like,
        control=like is not None,
        features=features,
        halves=both,
    )
