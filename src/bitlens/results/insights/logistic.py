"""Logistic regression of several samples at once: the exact optimum, by Newton's method."""

import numpy as np

MOST_STEPS = 100
CLOSE = 1e-10
"""A step that moves no coefficient farther than this is the last."""


def fits(columns: np.ndarray, outcome: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Coefficients `[samples, 1 + k]`, the intercept first, of columns `[samples, n, k]`.

    `outcome` `[n]` is true or false, `samples` `[samples, n]` which rows each fit sees. They are
    the least of sum(ln(1 + exp(-y z))) + |w|^2 / 2, as scikit-learn's LogisticRegression(C=1) has
    it: the intercept bears no penalty.
    """
    ones = np.ones((*columns.shape[:2], 1))
    x = np.concatenate([ones, columns], axis=2)
    penalty = np.append(0.0, np.ones(columns.shape[2]))
    seen = samples.astype(np.float64)
    at = np.zeros((len(seen), x.shape[2]))
    loss = _loss(x, outcome, seen, at, penalty)
    for _ in range(MOST_STEPS):
        step = _step(x, outcome, seen, at, penalty)
        # A whole step may be too long far from the optimum; of a convex loss a part is not.
        size = np.ones((len(seen), 1))
        while True:
            found = _loss(x, outcome, seen, at - size * step, penalty)
            longer = ~(found <= loss + 1e-12 * np.abs(loss))
            if not longer.any() or size.min() < CLOSE:
                break
            size[longer] /= 2
        at, loss = at - size * step, found
        if np.abs(size * step).max() < CLOSE:
            break
    return at


def chances(columns: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """`[samples, n]` of columns `[samples, n, k]`: each row's probability by each sample's fit."""
    z = np.einsum("snk,sk->sn", columns, coefficients[:, 1:])
    return probability(z + coefficients[:, :1])


def probability(z: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-z)), whatever z is."""
    return np.asarray((1 + np.tanh(z / 2)) / 2)


def scaled(columns: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """`[samples, n, k]` of columns `[n, k]`: each sample's rows with mean 0 and variance 1, and the
    others on the same scale; a column that does not vary stays at 0."""
    seen = samples.astype(np.float64)
    share = seen / seen.sum(axis=1, keepdims=True)
    mean = share @ columns
    away = columns[None] - mean[:, None]
    spread = np.sqrt(np.einsum("sn,snk->sk", share, away**2))
    # Rounding of the mean is no variation.
    still = spread <= len(columns) * np.finfo(np.float64).eps * np.abs(mean)
    return np.asarray(away / np.where(still, 1.0, spread)[:, None])


def _loss(
    x: np.ndarray, outcome: np.ndarray, seen: np.ndarray, at: np.ndarray, penalty: np.ndarray
) -> np.ndarray:
    """`[samples]`."""
    z = np.einsum("snk,sk->sn", x, at)
    return np.asarray(
        (seen * (np.logaddexp(0, z) - outcome * z)).sum(axis=1) + (penalty * at**2).sum(axis=1) / 2
    )


def _step(
    x: np.ndarray, outcome: np.ndarray, seen: np.ndarray, at: np.ndarray, penalty: np.ndarray
) -> np.ndarray:
    """`[samples, 1 + k]`: the loss's slope over its curvature."""
    p = probability(np.einsum("snk,sk->sn", x, at))
    slope = np.einsum("snk,sn->sk", x, seen * (p - outcome)) + penalty * at
    weighted = x * (seen * p * (1 - p))[:, :, None]
    curvature = weighted.transpose(0, 2, 1) @ x + np.diag(penalty)
    return np.asarray(np.linalg.solve(curvature, slope[:, :, None])[:, :, 0])
