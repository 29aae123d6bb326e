"""Geometry: numbers worked by hand, and independent implementations to agree with."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cosine, euclidean
from sklearn.metrics.pairwise import cosine_similarity

from bitlens.analyses.geometry import Geometry, debiased_cka
from bitlens.engine.activations import ActivationPair
from bitlens.engine.gram import Gram
from bitlens.results.stats.replicates import leave_one_out
from tests.support import tiny
from tests.support.by_hand import outcomes, pair, value

Array = np.ndarray


def test_one_position_by_hand() -> None:
    """Reference (3, 4), twin (4, 3): error (1, -1). Cosine 24/25; distance sqrt(2); relative
    error sqrt(2/25) = 0.28284; SQNR 10 log10(25/2) = 10.9691 dB; about their means the two are
    (-1/2, 1/2) and (1/2, -1/2): Pearson -1."""
    given = pair([[3.0, 4.0]], [[4.0, 3.0]])
    assert value(Geometry(), given, "cosine") == pytest.approx(0.96, abs=1e-6)
    assert value(Geometry(), given, "l2") == pytest.approx(np.sqrt(2), rel=1e-6)
    assert value(Geometry(), given, "relative_error") == pytest.approx(0.2828427, rel=1e-6)
    assert value(Geometry(), given, "sqnr") == pytest.approx(10.9691, abs=1e-4)
    assert value(Geometry(), given, "pearson") == pytest.approx(-1, abs=1e-6)


def test_means_are_over_positions_and_ratios_of_energies_by_hand() -> None:
    """Two positions: (3, 4) to (0, 4), (1, 0) to (1, 2). Cosines 4/5 and 1/sqrt(5), mean 0.62361;
    distances 3 and 2, mean 2.5; energies of error 9 + 4 = 13 and of signal 25 + 1 = 26, so the
    relative error is sqrt(1/2), not the mean of 3/5 and 2, and SQNR 3.0103 dB."""
    given = pair([[3.0, 4.0], [1.0, 0.0]], [[0.0, 4.0], [1.0, 2.0]])
    assert value(Geometry(), given, "cosine") == pytest.approx((0.8 + 5**-0.5) / 2, rel=1e-6)
    assert value(Geometry(), given, "l2") == pytest.approx(2.5, rel=1e-6)
    assert value(Geometry(), given, "relative_error") == pytest.approx(0.5**0.5, rel=1e-6)
    assert value(Geometry(), given, "sqnr") == pytest.approx(3.0103, abs=1e-4)


def test_pearson_by_hand() -> None:
    """(1, 2, 3) against (1, 3, 2): about the means (-1, 0, 1) and (-1, 1, 0), product 1, lengths
    sqrt(2) each: 1/2."""
    assert value(Geometry(), pair([[1.0, 2, 3]], [[1.0, 3, 2]]), "pearson") == pytest.approx(0.5)


def test_massive_share_by_hand() -> None:
    """In 150 dimensions 1 % is one: the third, where the reference is 10 and elsewhere 1. The
    twin is 2 off there and 1 off in two others: 4 of 6 parts of the error's energy. Spread
    evenly it would be one in 150."""
    reference = torch.ones(1, 150)
    reference[0, 2] = 10
    twin = reference.clone()
    twin[0, 2] += 2
    twin[0, [7, 9]] -= 1
    found = outcomes(Geometry(), pair(reference, twin))["massive_share"]
    assert found.values is not None
    assert found.values[0] == pytest.approx(4 / 6, rel=1e-6)
    assert found.chance == pytest.approx(1 / 150)


def test_cka_by_hand() -> None:
    """Four positions on a line, x = (1, -1, 1, -1) and y = (1, 1, -1, -1). Gram matrices without
    their diagonals: +1 where signs agree, else -1; each row sums to -1, the whole to -4.
    HSIC(K, L) = (tr KL + s_K s_L / ((n - 1)(n - 2)) - 2 r_K.r_L / (n - 2)) / (n (n - 3)) with
    tr KL = -4: (-4 + 16/6 - 4) / 4 = -4/3. HSIC(K, K), tr = 12: (12 + 16/6 - 4) / 4 = 8/3.
    CKA = -(4/3) / (8/3) = -1/2."""
    given = pair([[1.0], [-1], [1], [-1]], [[1.0], [1], [-1], [-1]])
    assert value(Geometry(), given, "cka") == pytest.approx(-0.5, abs=1e-6)


@pytest.fixture(scope="module")
def random_pair() -> ActivationPair:
    """300 positions in 6 shards and 150 dimensions, two of them massive, about a common mean."""
    draw = torch.Generator().manual_seed(0)
    reference = torch.randn(300, 150, generator=draw) + 0.3
    reference[:, 40] += 30
    reference[:, 7] -= 12
    twin = 1.1 * reference + 0.4 * torch.randn(300, 150, generator=draw)
    twin[:, 40] += torch.randn(300, generator=draw)
    return pair(reference, twin, shard=torch.randint(0, 6, (300,), generator=draw))


def feature_cka(x: Array, y: Array) -> float:
    """Debiased linear CKA without a Gram matrix, in float64: the other form of the estimator."""
    n = len(x)

    def hsic(x: Array, y: Array) -> float:
        xx, yy = (x**2).sum(1), (y**2).sum(1)
        sx, sy = x.sum(0), y.sum(0)
        trace = ((x.T @ y) ** 2).sum() - (xx * yy).sum()
        k, m = (sx**2).sum() - xx.sum(), (sy**2).sum() - yy.sum()
        km = ((x @ sx - xx) * (y @ sy - yy)).sum()
        return (trace + k * m / ((n - 1) * (n - 2)) - 2 * km / (n - 2)) / (n * (n - 3))

    return hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y))


def dense(x: Array, y: Array) -> dict[str, float]:
    """Every metric but massive_share of two `[n, width]` in float64, by others' code."""
    error, energy = ((y - x) ** 2).sum(), (x**2).sum()
    return {
        "cosine": float(np.diag(cosine_similarity(x, y)).mean()),
        "l2": float(np.mean([euclidean(a, b) for a, b in zip(x, y, strict=True)])),
        "relative_error": float(np.sqrt(error / energy)),
        "sqnr": float(10 * np.log10(energy / error)),
        "pearson": float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(x, y, strict=True)])),
        "cka": feature_cka(x, y),
    }


def test_agrees_with_scipy_sklearn_and_numpy(random_pair: ActivationPair) -> None:
    """Everything again in float64 by others' code, for the whole and for each shard left out."""
    found = outcomes(Geometry(), random_pair)
    x, y = (r.values.double().numpy() for r in (random_pair.reference, random_pair.twin))
    assert cosine(x[0], y[0]) == pytest.approx(1 - cosine_similarity(x[:1], y[:1])[0, 0])
    shard = random_pair.positions.shard.numpy()
    largest = np.argsort(-(x**2).sum(0))[:1]
    assert largest.tolist() == [40]
    for row, left_out in enumerate([None, *range(6)]):
        keep = shard != left_out
        expected = dense(x[keep], y[keep])
        error = ((y - x) ** 2)[keep]
        expected["massive_share"] = error[:, largest].sum() / error.sum()
        assert expected.keys() == found.keys()
        for name, number in expected.items():
            values = found[name].values
            assert values is not None, name
            assert values[row] == pytest.approx(number, rel=2e-5), name


def test_what_does_not_tell_the_two_apart_does_not(random_pair: ActivationPair) -> None:
    """Cosine, distance, Pearson and CKA are the same with reference and twin exchanged; the
    relative error is not, being of the reference's size."""
    turned = ActivationPair(
        site=random_pair.site,
        item=random_pair.item,
        reference=random_pair.twin,
        twin=random_pair.reference,
        positions=random_pair.positions,
        threshold=random_pair.threshold,
    )
    one, other = outcomes(Geometry(), random_pair), outcomes(Geometry(), turned)
    for name in ("cosine", "l2", "pearson", "cka"):
        assert np.allclose(one[name].values, other[name].values, rtol=1e-5)
    assert one["relative_error"].values[0] > 1.05 * other["relative_error"].values[0]


@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1.0, 1e3, 1e8])
def test_angles_do_not_depend_on_size(random_pair: ActivationPair, scale: float) -> None:
    """Activations of any size, as far as float32 holds their squares."""
    given = pair(random_pair.reference.values * scale, random_pair.twin.values * scale)
    small = outcomes(Geometry(), given)
    whole = outcomes(Geometry(), pair(random_pair.reference.values, random_pair.twin.values))
    for name in ("cosine", "relative_error", "sqnr", "pearson", "massive_share", "cka"):
        assert small[name].values[0] == pytest.approx(whole[name].values[0], rel=1e-4), name
    assert small["l2"].values[0] == pytest.approx(scale * whole["l2"].values[0], rel=1e-4)


def test_cka_of_gram_matrices_leaves_shards_out_as_recomputing_would() -> None:
    """Sums over blocks of shards against new Gram matrices of the rows that are kept, with
    shards of very different size and one that is empty."""
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(60, 10)), draw.normal(size=(60, 14))
    y[:, :10] += x
    shard = draw.choice(5, 60, p=[0.5, 0.25, 0.2, 0.05, 0.0])
    weights = leave_one_out(np.bincount(shard, minlength=5) > 0)

    grams = [Gram.of(torch.from_numpy(z).float(), shard) for z in (x, y)]
    found = debiased_cka(grams[0], grams[1], weights)
    assert found is not None
    assert found.shape == (5,)
    for weight, number in zip(weights, found, strict=True):
        keep = weight[shard] > 0
        assert number == pytest.approx(feature_cka(x[keep], y[keep]), rel=1e-4)


def test_cka_of_unrelated_data_is_nought_and_does_not_see_shift_turn_or_size() -> None:
    """Independent rows give 0 whatever the width, where the biased form gives 0.8; a shift, a
    rotation and a factor give 1."""
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 200, 400, generator=draw)
    assert abs(value(Geometry(), pair(x, y), "cka")) < 0.05
    turned = 3 * x @ torch.linalg.qr(torch.randn(400, 400, generator=draw))[0] + 7
    assert value(Geometry(), pair(x, turned), "cka") == pytest.approx(1, abs=1e-4)


def test_no_error_is_said_and_not_divided_by() -> None:
    """Equal activations: no SQNR and no share of an error, with the reason; the rest intact."""
    x = torch.randn(10, 5, generator=torch.Generator().manual_seed(0))
    found = outcomes(Geometry(), pair(x, x))
    for name in ("sqnr", "massive_share"):
        assert found[name].values is None
        assert "no error" in found[name].reason
    assert found["relative_error"].values[0] == 0
    assert found["cosine"].values[0] == 1


def test_a_replicate_without_error_is_said() -> None:
    """Where the only document that changed is left out, there is no error to divide by."""
    x = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    y = x.clone()
    y[:4] += 1
    found = outcomes(Geometry(), pair(x, y, shard=[0] * 4 + [1] * 4 + [2] * 4))
    assert found["sqnr"].values is None
    assert found["sqnr"].reason


def test_a_reference_of_nothing_is_said() -> None:
    """A block that adds nothing has no relative error; equal nothings point the same way."""
    zero, other = torch.zeros(6, 5), torch.ones(6, 5)
    found = outcomes(Geometry(), pair(zero, other))
    for name in ("relative_error", "sqnr", "massive_share", "cka"):
        assert found[name].values is None
        assert found[name].reason
    assert found["cosine"].values[0] == 0
    assert outcomes(Geometry(), pair(zero, zero))["cosine"].values[0] == 1


def test_three_positions_are_too_few_for_cka() -> None:
    """The unbiased estimator divides by n - 3."""
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    found = outcomes(Geometry(), pair(x, x + 1))["cka"]
    assert found.values is None
    assert "4" in found.reason


def test_chance_of_cka_is_near_nought(tmp_path: Path) -> None:
    """Positions of the twin are shuffled against the reference's, not with them: nothing is left
    of what four bits keep."""
    layout, analyses = tiny.layout("llama"), [Geometry()]
    plan = tiny.plan(tiny.corpus([[60]] * 12, seed=4), analyses)
    values = tiny.values(tiny.measurement(layout, {"twin": "rtn:bits=4"}, plan, tmp_path, analyses))
    cka = values["geometry", "twin", "cumulative", "resid.1", "cka"]
    assert cka.value is not None
    assert cka.value > 0.8
    assert cka.chance is not None
    assert abs(cka.chance) < 0.2


def test_cells_of_larger_samples_are_made_again() -> None:
    """CKA of the first form, which had no mark, was of up to 1,024 positions, not 512."""
    assert Geometry().settings == {"form": 2}
