"""Features: small codes worked by hand, and numpy and scikit-learn to agree with."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import t as student
from sklearn.metrics import cohen_kappa_score, confusion_matrix, f1_score
from torch import Tensor

import tiny
from bitlens.analyses.analysis import Outcome, Sample, Shown
from bitlens.analyses.features import BITS, TOP, Features, Placed
from bitlens.analyses.survival import PLACES, shown
from bitlens.readings import Pair, Positions, Reading
from bitlens.sae.sae import Sae
from bitlens.stats.replicates import leave_one_out
from bitlens.tally import Tally

from .by_hand import NOTHING

LABEL = "identity"
Numbers = dict[str, np.ndarray | None]


def identity(latents: int) -> Placed:
    """An SAE whose latents are the dimensions, where positive; so codes can be written down."""
    eye = torch.eye(latents)
    sae = Sae(LABEL, "resid.0", "standard", eye, torch.zeros(latents), eye, torch.zeros(latents))
    return Placed(sae, "resid.0", torch.zeros(latents))


def pair(reference: Tensor, twin: Tensor, shard: Tensor | None = None) -> Pair:
    """Codes as they are to be, a document a shard, in the order of their keys."""
    place = torch.arange(len(reference))
    shards = place // 5 if shard is None else shard
    at = Positions(
        shards, shards, int(shards.max()) + 1, place, place, place, 100 + place, place + 1
    )
    both = (Reading(torch.as_tensor(v, dtype=torch.float32)) for v in (reference, twin))
    return Pair("resid.0", "cumulative", *both, at, lambda size: size)


def findings(placed: Placed, *parts: Pair) -> list[Outcome | Shown]:
    analysis = Features((placed,))
    whole = Tally()
    for part in parts:
        whole.add(analysis.tally(part))
    shards = torch.cat([p.positions.shard for p in parts])
    weights = leave_one_out(np.bincount(shards, minlength=parts[0].positions.shards) > 0)
    return analysis.finish(whole.totals(weights), NOTHING, NOTHING)


def numbers(found: list[Outcome | Shown]) -> Numbers:
    return {
        " ".join([o.metric, *o.item.split(", ")[1:]]): o.values
        for o in found
        if isinstance(o, Outcome)
    }


def table(found: list[Outcome | Shown], name: str = "features") -> dict[str, np.ndarray]:
    (one,) = (o for o in found if isinstance(o, Shown) and o.name == name)
    return {column: np.asarray(values) for column, values in one.columns.items()}


def codes(n: int, latents: int, seed: int, rate: float = 0.4) -> Tensor:
    """Sparse positive codes; negative where nothing fires."""
    draw = torch.Generator().manual_seed(seed)
    fires = torch.rand(n, latents, generator=draw) < rate
    return torch.where(fires, torch.rand(n, latents, generator=draw) * 3 + 0.1, -0.5)


def test_one_feature_by_hand() -> None:
    """f = (1, 2, 0, 0) becomes (2, 1, 0, 1): means 3/4 and 1, variances 11/16 and 1/2,
    covariance 1 - 3/4 = 1/4. r = (1/4) / sqrt(11/32) = 0.4264; gain (1/4) / (11/16) = 4/11,
    offset 1 - 4/11 * 3/4 = 8/11; concordance (1/2) / (11/16 + 1/2 + 1/16) = 0.4. It fires twice,
    three times, twice at the same places: nothing lost, a third new, F1 4/5."""
    reference = torch.tensor([[1.0, 1], [2, 1], [-1, 1], [-1, 0]])
    twin = torch.tensor([[2.0, 1], [1, 1], [-1, 1], [1, 0]])
    shard = torch.zeros(4, dtype=torch.int64)
    rows = table(findings(identity(2), pair(reference, twin, shard)))
    assert rows["r"][0] == pytest.approx(0.25 / np.sqrt(11 / 32))
    assert rows["gain"][0] == pytest.approx(4 / 11)
    assert rows["offset"][0] == pytest.approx(8 / 11)
    assert rows["concordance"][0] == pytest.approx(0.4)
    assert rows["rate_reference"][0] == 0.5 and rows["rate_twin"][0] == 0.75
    assert rows["lost"][0] == 0 and rows["new"][0] == pytest.approx(1 / 3)
    assert rows["f1"][0] == pytest.approx(0.8)
    assert (rows["peak_reference"][0], rows["peak_twin"][0]) == (2, 2)
    assert rows["mean_reference"][0] == 0.75
    assert rows["state"].tolist() == ["damaged", "survived"]


def test_three_states_and_one_more_by_hand() -> None:
    """Above 0.9, from 0.5 to 0.9, below 0.5; and what fires in the twin only."""
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(400, 4, generator=draw) + 1
    noise = torch.rand(400, 4, generator=draw)
    y = x + noise * torch.tensor([0.1, 1.0, 0.0, 0.0])
    y[:, 2] = noise[:, 2]
    x[:, 3] = -1
    found = findings(identity(4), pair(x, y, torch.arange(400) // 20))
    rows = table(found)
    assert rows["state"].tolist() == ["survived", "degraded", "damaged", "twin only"]
    assert rows["latent"].tolist() == [0, 1, 2, 3]
    assert rows["sure"].tolist() == ["survived", "lost", "lost", "undecided"]
    assert np.isnan(rows["r"][3]) and rows["rate_reference"][3] == 0 and rows["new"][3] == 1
    values = numbers(found)
    for name, share in {
        "survived": 1 / 3,
        "degraded": 1 / 3,
        "damaged": 1 / 3,
        "kept_50": 2 / 3,
        "kept_90": 1 / 3,
        "surely_survived": 1 / 3,
        "surely_lost": 2 / 3,
        "undecided": 0,
        "twin_only": 1 / 3,
        "active": 3,
        "alive": 3,
    }.items():
        assert values[name][0] == pytest.approx(share), name


@pytest.fixture(scope="module")
def random_pair() -> Pair:
    """200 positions in 8 documents, 30 latents of every rate, two of them dead, one never in the
    twin, one in the twin only; several gains and offsets."""
    draw = torch.Generator().manual_seed(3)
    x = codes(200, 30, 0) * torch.linspace(0.2, 3, 30)
    gain = torch.rand(30, generator=draw) + 0.5
    noise = torch.randn(200, 30, generator=draw) * torch.linspace(0, 2, 30)
    y = torch.where(x > 0, gain * x + noise, x + 0.3 * noise)
    x[:, [4, 9]] = y[:, [4, 9]] = -1
    y[:, 11] = x[:, 12] = y[:, 12] = -1
    y[:3, 12] = 1
    return pair(x, y, torch.arange(200) // 25)


def _kappa(f: np.ndarray, g: np.ndarray) -> float:
    """Cohen's kappa of many latents together, each expected to agree by its own rates."""
    tables = [
        confusion_matrix(a, b, labels=[False, True]) / len(a) for a, b in zip(f.T, g.T, strict=True)
    ]
    observed = np.mean([np.trace(t) for t in tables])
    expected = np.mean([t.sum(axis=0) @ t.sum(axis=1) for t in tables])
    return float((observed - expected) / (1 - expected))


def test_agreement_on_firing_stands_beside_its_chance() -> None:
    """Two latents at four positions. One fires at two, in the twin at one of them: 3 of 4 agree,
    where rates of 1/2 and 1/4 alone give 1/8 + 3/8. The other never does: 4 of 4, either way."""
    reference = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    twin = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    found = findings(identity(2), pair(reference, twin))
    (agreement,) = (o for o in found if isinstance(o, Outcome) and o.metric == "firing_agreement")
    assert agreement.values is not None
    assert (agreement.values[0], agreement.chance) == (7 / 8, 3 / 4)


def test_kappa_of_one_latent_is_cohens() -> None:
    """What the many are compared with is, for one, what sklearn has."""
    fired = np.random.default_rng(0).random((200, 2)) < 0.3
    fired[:, 1] |= fired[:, 0]
    assert _kappa(fired[:, :1], fired[:, 1:]) == pytest.approx(cohen_kappa_score(*fired.T))


def test_agrees_with_numpy_and_sklearn(random_pair: Pair) -> None:
    """Every feature and every share again from dense codes, in float64, for the whole and without
    each document."""
    found = findings(identity(30), random_pair)
    values, rows = numbers(found), table(found)
    x, y = (r.values.double().clamp(min=0).numpy() for r in readings(random_pair))
    shard = random_pair.positions.shard.numpy()
    features = np.flatnonzero((x > 0).any(axis=0))
    only = [12]
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
            "firing_kappa": _kappa(f[:, alive] > 0, g[:, alive] > 0),
            "firing_agreement": ((f > 0) == (g > 0)).mean(),
            "l0 reference": (f > 0).sum(axis=1).mean(),
            "l0 twin": (g > 0).sum(axis=1).mean(),
            "twin_only": (0 if left_out == 0 else 1) / len(features),
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
        for name, number in expected.items():
            assert values[name][row] == pytest.approx(number, rel=1e-5, abs=1e-6), (name, row)
    # The interval of every feature, by the jackknife on the scale of artanh.
    z = np.arctanh(np.array(every_r))
    half = student.ppf(0.975, 7) * np.sqrt(7 / 8 * ((z[1:] - z[1:].mean(0)) ** 2).sum(0))
    known = slice(0, len(features))
    fine = np.abs(every_r[0]) < 1 - 1e-9
    assert np.allclose(rows["r_low"][known][fine], np.tanh(z[0] - half)[fine], atol=1e-5)
    assert np.allclose(rows["r_high"][known][fine], np.tanh(z[0] + half)[fine], atol=1e-5)


def readings(given: Pair) -> tuple[Reading, Reading]:
    return given.reference, given.twin


def top(row: np.ndarray) -> set[int]:
    return {int(n) for n in np.argsort(-row, kind="stable")[:TOP] if row[n] > 0}


def test_what_the_sae_leaves_unexplained() -> None:
    """By the mean over documents that are there, with every shard left out; about the mean."""
    sae = tiny.sae(16, 24)
    draw = torch.Generator().manual_seed(0)
    x = 2 * torch.randn(60, 16, generator=draw) + 3
    y = x + 0.7 * torch.randn(60, 16, generator=draw)
    shard = torch.arange(60) // 15
    placed = replace(tiny.placed(sae), site="resid.0")
    values = numbers(findings(placed, pair(x, y, shard)))
    for row, left_out in enumerate([None, *range(4)]):
        fvu = []
        for v in (x, y):
            v = v[shard != left_out] if left_out is not None else v
            relu = torch.relu((v - sae.b_dec) @ sae.w_enc + sae.b_enc)
            error = (v - relu @ sae.w_dec - sae.b_dec).double().square().sum()
            fvu.append(float(error / (v - v.mean(0)).double().square().sum()))
        assert values["fvu reference"][row] == pytest.approx(fvu[0], rel=1e-5)
        assert values["fvu twin"][row] == pytest.approx(fvu[1], rel=1e-5)
        assert values["fvu_ratio"][row] == pytest.approx(fvu[1] / fvu[0], rel=1e-5)


def test_centred_codes_lose_what_the_mean_code_gives() -> None:
    """Two codes that share nothing but a large mean: alike by an earlier tool's measure, nothing
    alike about the mean."""
    draw = torch.Generator().manual_seed(0)
    mean = torch.rand(20, generator=draw) * 10
    x, y = (mean + 0.3 * torch.randn(300, 20, generator=draw) for _ in range(2))
    placed = replace(identity(20), centre=mean)
    values = numbers(findings(placed, pair(x, y)))
    assert values["sample_correlation"][0] > 0.95
    assert abs(values["sample_correlation_alive"][0]) < 0.05


def test_where_features_fire_most(random_pair: Pair) -> None:
    """The ten largest activations of every shown feature in either model, largest first, with
    document and place; fewer where it fires less often; the same whatever the batches."""
    cut = [slice(0, 70), slice(70, 90), slice(90, 200)]
    parts = [part(random_pair, c) for c in (cut[2], cut[0], cut[1])]
    at = random_pair.positions
    for given in ([random_pair], parts):
        places = table(findings(identity(30), *given), PLACES)
        for who, reading in zip(("reference", "twin"), readings(random_pair), strict=True):
            for latent in set(places["latent"].tolist()):
                mine = (places["latent"] == latent) & (places["found"] == who)
                column = reading.values[:, latent]
                best = [int(n) for n in torch.argsort(-column, stable=True)[:TOP] if column[n] > 0]
                expected = [(int(at.document[n]) << BITS) + int(at.offset[n]) for n in best]
                assert places["position"][mine].tolist() == expected
    assert set(places["sae"]) == {LABEL} and set(places["site"]) == {"resid.0"}


def part(whole: Pair, rows: slice) -> Pair:
    at = whole.positions
    names = ("document", "shard", "offset", "target", "key", "token", "length")
    some = {name: getattr(at, name)[rows] for name in names}
    return replace(
        whole,
        reference=Reading(whole.reference.values[rows]),
        twin=Reading(whole.twin.values[rows]),
        positions=Positions(shards=at.shards, **some),
    )


def test_equal_activations_are_ordered_by_where_they_are() -> None:
    """Texts that begin alike activate alike: which of them are kept does not depend on the order
    in which they came."""
    flat = torch.ones(30, 2)
    flat[20:] = 0.5
    whole = pair(flat, flat)
    turned = [part(whole, slice(a, a + 6)) for a in (24, 6, 18, 0, 12)]
    for given in ([whole], turned):
        places = table(findings(identity(2), *given), PLACES)
        mine = (places["latent"] == 0) & (places["found"] == "twin")
        offsets = places["position"][mine] & ((1 << BITS) - 1)
        assert offsets.tolist() == list(range(TOP))


def test_token_sets_by_hand() -> None:
    """Feature 0 keeps 9 of its ten top tokens (0.9), feature 1 keeps 7 (0.7, below 0.8): one in
    two; a third fires in neither and does not count."""
    x = torch.full((40, 3), -1.0)
    x[:10, 0] = x[10:20, 1] = torch.arange(10, 0, -1.0)
    y = x.clone()
    y[0, 0], y[30, 0] = -1, 5
    y[10:13, 1], y[30:33, 1] = -1, 5
    values = numbers(findings(identity(3), pair(x, y)))
    assert values["top20_token_sets"][0] == 0.5


def test_shown_features() -> None:
    """The ten most damaged, ten from all of the others' range, and the four that fire most of
    those in the twin only, each once."""
    features = np.arange(100) * 2
    r = np.linspace(1, 0, 100)
    only = np.array([1, 3, 5, 7, 9, 11])
    rate = np.zeros(200)
    rate[only] = [0.1, 0.6, 0.2, 0.5, 0.4, 0.3]
    found = shown(features, only, r, rate).tolist()
    assert found[:10] == [198, 196, 194, 192, 190, 188, 186, 184, 182, 180]
    across = found[10:20]
    assert across[0] == 178 and across[-1] == 0 and across == sorted(across, reverse=True)
    assert found[20:] == [3, 7, 9, 11]
    assert len(set(found)) == 24
    few = shown(features[:3], only[:0], r[:3], rate).tolist()
    assert sorted(few) == [0, 2, 4]


def test_an_sae_that_hardly_fires_is_said() -> None:
    """With one feature there are no shares; with none, nothing to be alike."""
    x = torch.full((50, 3), -1.0)
    found = findings(identity(3), pair(x, x))
    values = numbers(found)
    for name in ("survived", "r", "firing_kappa", "top10_agreement", "lost_firings"):
        assert values[name] is None, name
    assert {o.metric for o in found if isinstance(o, Outcome)} == {m.name for m in Features.metrics}
    x[:, 1] = torch.rand(50) + 1
    values = numbers(findings(identity(3), pair(x, x)))
    assert values["survived"] is None and values["active"][0] == 1


def test_rare_latents_are_no_features() -> None:
    """One position in a thousand is not more than 0.1 %; two are."""
    x = torch.full((1000, 4), -1.0)
    x[:500, :2] = torch.rand(500, 2) + 1
    x[0, 2] = 1
    x[:2, 3] = 1
    rows = table(findings(identity(4), pair(x, x, torch.arange(1000) // 100)))
    assert rows["latent"].tolist() == [0, 1, 3]


def test_two_saes_of_one_site_do_not_meddle() -> None:
    """Each has its own rows and numbers, as if it were alone; another site's is not asked."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(80, 16, generator=draw)
    y = x + 0.3 * torch.randn(80, 16, generator=draw)
    given = pair(x, y)
    saes = [tiny.placed(tiny.sae(16, n, seed=n, label=f"sae {n}"), "resid.0") for n in (20, 30)]
    elsewhere = tiny.placed(tiny.sae(16, 9, label="elsewhere"), "resid.1")
    weights = leave_one_out(np.ones(16, dtype=bool))

    def finish(*placed: Placed) -> list[Outcome | Shown]:
        analysis = Features(placed)
        fresh = replace(given, reference=Reading(x), twin=Reading(y))
        nothing = Sample(np.empty((0, 0)), np.empty(0))
        return analysis.finish(analysis.tally(fresh).totals(weights), nothing, nothing)

    both = finish(*saes, elsewhere)
    alone = [finish(one) for one in saes]
    found = {(o.metric, o.item): o for o in both if isinstance(o, Outcome)}
    expected = [o for one in alone for o in one if isinstance(o, Outcome)]
    assert len(found) == len(expected)
    for outcome in expected:
        assert np.array_equal(found[outcome.metric, outcome.item].values, outcome.values)
    assert Features((saes[0],)).settings["saes"].keys() == {"sae 20"}
