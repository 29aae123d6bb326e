"""All of it beside numpy and scikit-learn; SAEs with few features or none."""

import numpy as np
import pytest
import torch
from scipy.stats import t as student
from sklearn.metrics import f1_score

from bitlens.analyses.features.analysis import TOP, Features
from bitlens.engine.activations import ActivationPair
from bitlens.results.records import MetricResult
from tests.support.coded import activations, findings, identity, kappa, numbers, pair, table


def test_agrees_with_numpy_and_sklearn(random_pair: ActivationPair) -> None:
    """Every feature and every share again from dense codes, in float64, for the whole and without
    each document."""
    found = findings(identity(30), random_pair)
    values, rows = numbers(found), table(found)
    x, y = (r.values.double().clamp(min=0).numpy() for r in activations(random_pair))
    shard = random_pair.positions.shard.numpy()
    features = np.flatnonzero((x > 0).sum(axis=0) >= 10)
    only = np.setdiff1d(np.flatnonzero((y > 0).sum(axis=0) >= 10), features)
    seen = np.concatenate([features, only])
    assert rows["latent"].tolist() == [*features, *only]
    every_r = []
    for row, left_out in enumerate([None, *range(8)]):
        keep = shard != left_out
        f, g = x[keep], y[keep]
        r, gain, offset, concordance = [], [], [], []
        for latent in features:
            a, b = f[:, latent], g[:, latent]
            r.append(np.corrcoef(a, b)[0, 1] if b.std() else 0.0)
            slope, intercept = np.polyfit(a, b, 1)
            gain.append(slope)
            offset.append(intercept)
            concordance.append(
                2 * np.cov(a, b, ddof=0)[0, 1] / (a.var() + b.var() + (a.mean() - b.mean()) ** 2)
            )
        every_r.append(r)
        if left_out is None:
            for column, expected in {
                "r": r,
                "gain": gain,
                "offset": offset,
                "concordance": concordance,
            }.items():
                known = rows[column][: len(features)]
                assert np.allclose(known, expected, rtol=1e-5, atol=1e-6), column
                assert np.isnan(rows[column][len(features) :]).all()
        fires, still = f[:, features] > 0, g[:, features] > 0
        alive = (x > 0).any(axis=0) | (y > 0).any(axis=0)
        width = x.shape[1]
        r = np.array(r)
        expected = {
            "r": np.median(r),
            "gain": np.median(gain),
            "concordance": np.median(concordance),
            "feature_correlation": np.mean(r),
            "survived": np.mean(r > 0.9),
            "degraded": np.mean((r >= 0.5) & (r <= 0.9)),
            "damaged": np.mean(r < 0.5),
            **{f"kept_{t}": np.mean(r > t / 100) for t in (10, 50, 90, 95, 99)},
            "lost_firings": (fires & ~still).sum() / fires.sum(),
            "new_firings": (still & ~fires).sum() / still.sum(),
            "firing_f1": f1_score(fires.ravel(), still.ravel()),
            "firing_kappa": kappa(f[:, alive] > 0, g[:, alive] > 0),
            "firing_agreement": ((f > 0) == (g > 0)).mean(),
            "l0 reference": (f > 0).sum(axis=1).mean(),
            "l0 twin": (g > 0).sum(axis=1).mean(),
            "twin_only": (often(g) & ~often(f))[seen].sum() / often(f)[seen].sum(),
            "sample_correlation": np.mean(
                [np.corrcoef(a, b)[0, 1] for a, b in zip(f, g, strict=True)]
            ),
            "sample_correlation_alive": np.mean(
                [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(f, g, strict=True)]
            ),
            "top10_agreement": np.mean(
                [
                    len(top(a) & top(b)) / min(TOP, (a > 0).sum())
                    for a, b in zip(f, g, strict=True)
                    if (a > 0).any()
                ]
            ),
        }
        assert f.shape[1] == width
        for name, number in expected.items():  # type: ignore[attr-defined]
            assert values[name][row] == pytest.approx(number, rel=1e-5, abs=1e-6), (name, row)
    # The interval of every feature, by the jackknife on the scale of artanh.
    z = np.arctanh(np.array(every_r))
    half = student.ppf(0.975, 7) * np.sqrt(7 / 8 * ((z[1:] - z[1:].mean(0)) ** 2).sum(0))
    known = slice(0, len(features))
    fine = np.abs(every_r[0]) < 1 - 1e-9
    assert np.allclose(rows["r_low"][known][fine], np.tanh(z[0] - half)[fine], atol=1e-5)
    assert np.allclose(rows["r_high"][known][fine], np.tanh(z[0] + half)[fine], atol=1e-5)


def often(codes: np.ndarray) -> np.ndarray:
    """Which latents fire ten times?"""
    return (codes > 0).sum(axis=0) >= 10


def top(row: np.ndarray) -> set[int]:
    return {int(n) for n in np.argsort(-row, kind="stable")[:TOP] if row[n] > 0}


def test_an_sae_that_hardly_fires_is_said() -> None:
    """With one feature there are no shares; with none, nothing to be alike."""
    x = torch.full((50, 3), -1.0)
    found = findings(identity(3), pair(x, x))
    values = numbers(found)
    for name in ("survived", "r", "firing_kappa", "top10_agreement", "lost_firings"):
        assert values[name] is None, name
    assert {o.metric for o in found if isinstance(o, MetricResult)} == {
        m.name for m in Features.metrics
    }
    x[:, 1] = torch.rand(50) + 1
    values = numbers(findings(identity(3), pair(x, x)))
    assert values["survived"] is None
    assert values["active"][0] == 1


def test_rare_latents_are_no_features() -> None:
    """Of 20,000 positions 20 are not more than 0.1 %, 21 are."""
    x = torch.full((20_000, 4), -1.0)
    x[:5000, :2] = torch.rand(5000, 2) + 1
    x[:20, 2] = 1
    x[:21, 3] = 1
    rows = table(findings(identity(4), pair(x, x, torch.arange(20_000) // 1000)))
    assert rows["latent"].tolist() == [0, 1, 3]


def test_a_share_of_few_positions_makes_no_feature() -> None:
    """Nine firings are 3.5 % of a document of 255 positions, and tell nothing; ten count, in the
    twin too."""
    x = torch.full((255, 5), -1.0)
    x[:100, :2] = torch.rand(100, 2) + 1
    x[:9, 2] = 1
    x[:10, 3] = 1
    y = x.clone()
    y[:9, 4] = 1
    rows = table(findings(identity(5), pair(x, y, torch.arange(255) // 30)))
    assert rows["latent"].tolist() == [0, 1, 3]
    y[:10, 4] = 1
    rows = table(findings(identity(5), pair(x, y, torch.arange(255) // 30)))
    assert rows["state"].tolist()[-1] == "twin only"
    assert rows["latent"].tolist()[-1] == 4
