"""What is read on each half of the documents: by hand, and against numpy on those rows."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from bitlens.analyses.analysis import Sample, Shown
from bitlens.analyses.features import Features, Placed
from bitlens.analyses.halves import HALVES
from bitlens.stats.replicates import bootstrap, leave_one_out
from bitlens.tally import Tally

from .by_hand import NOTHING
from .test_features import codes, identity, pair


def table(
    placed: Placed,
    x: Tensor,
    y: Tensor,
    shard: Tensor,
    samples: tuple[Sample, Sample] = (NOTHING, NOTHING),
) -> dict[str, np.ndarray] | None:
    """The table of one SAE, the rows given in two batches."""
    analysis, whole, middle = Features((placed,)), Tally(), len(x) // 3
    both = pair(x, y, shard)
    for rows in (slice(middle), slice(middle, None)):
        at = both.positions
        names = ("document", "shard", "offset", "target", "key", "token", "length")
        some = replace(at, **{name: getattr(at, name)[rows] for name in names})
        part = pair(x[rows], y[rows], shard[rows])
        whole.add(analysis.tally(replace(part, positions=some)))
    weights = leave_one_out(np.bincount(shard) > 0)
    found = analysis.finish(whole.totals(weights), *samples)
    tables = [o for o in found if isinstance(o, Shown) and o.name == HALVES]
    return {c: np.asarray(v) for c, v in tables[0].columns.items()} if tables else None


def test_one_feature_by_hand() -> None:
    """On the even shards (1, 3, 0, 0) stays as it is: it fires on half, mean 1, peak 3, and
    sparseness 1 / (10 / 4) = 0.4. On the odd ones (1, 0) becomes (0, 1): r = -1."""
    x = torch.tensor([[1.0], [3], [-1], [-1], [1], [-1]]).repeat(1, 2)
    y = torch.tensor([[1.0], [3], [-1], [-1], [-1], [1]]).repeat(1, 2)
    found = table(identity(2), x, y, torch.tensor([0, 0, 2, 2, 1, 1]))
    assert found is not None
    assert found["rate_first"][0] == 0.5 and found["mean_first"][0] == 1
    assert found["peak_first"][0] == 3
    assert found["sparseness_first"][0] == pytest.approx(0.4)
    assert (found["r_first"][0], found["r_second"][0]) == pytest.approx((1, -1))
    assert found["decoder_norm"][0] == found["encoder_norm"][0] == 1
    assert found["bias"][0] == 0 and found["nearest"][0] == 0
    assert found["group"].tolist() == [0, 1]
    assert np.isnan(found["error_first"]).all()


def test_halves_are_those_of_numpy() -> None:
    """Every number of the table from the rows of its half alone; thresholds count as bias."""
    draw = torch.Generator().manual_seed(0)
    x = codes(300, 12, 1)
    y = x + 0.5 * torch.randn(300, 12, generator=draw)
    shard = torch.randint(6, (300,), generator=draw)
    placed = identity(12)
    threshold = torch.linspace(0.05, 0.3, 12)
    placed = replace(placed, sae=replace(placed.sae, threshold=threshold, w_dec=2 * torch.eye(12)))
    found = table(placed, x, y, shard)
    assert found is not None
    first = (shard % 2 == 0).numpy()
    a, b = (np.where(v > threshold, v, 0) for v in (x, y))
    for column, mine in {"r_first": first, "r_second": ~first}.items():
        expected = [np.corrcoef(a[mine, j], b[mine, j])[0, 1] for j in range(12)]
        assert found[column] == pytest.approx(expected)
    own = a[first]
    assert found["rate_first"] == pytest.approx((own > 0).mean(axis=0))
    assert found["mean_first"] == pytest.approx(own.mean(axis=0))
    assert found["peak_first"] == pytest.approx(own.max(axis=0))
    assert found["sparseness_first"] == pytest.approx(own.mean(axis=0) ** 2 / (own**2).mean(axis=0))
    assert found["bias"] == pytest.approx(-threshold.numpy())
    assert found["decoder_norm"] == pytest.approx(np.full(12, 2))


def test_the_error_is_what_the_encoder_sees_of_it() -> None:
    """Of the sampled positions of the first half only; an error across the encoder is not seen."""
    placed = identity(3)
    placed = replace(placed, sae=replace(placed.sae, w_enc=torch.diag(torch.tensor([1.0, 2, 0]))))
    x = codes(40, 3, 2)
    shard = torch.arange(40) % 4
    values = x[:4].numpy()
    moved = values + np.array([[3, 3, 3], [9, 9, 9], [4, 4, 4], [9, 9, 9]], np.float32)
    samples = Sample(values, np.arange(4)), Sample(moved, np.arange(4))
    found = table(placed, x, x, shard, samples)
    assert found is not None
    # Rows 0 and 2 are of even shards: sqrt((9 + 16) / 2) = 3.5355, seen twice as large by 2.
    by_latent = dict(zip(found["latent"].tolist(), found["error_first"], strict=True))
    assert by_latent[0] == pytest.approx(3.5355, abs=1e-4)
    assert by_latent[1] == pytest.approx(7.0711, abs=1e-4)


def test_a_normalised_code_sees_a_normalised_error() -> None:
    """An SAE that divides by each row's length sees no error where only that changes."""
    placed = identity(3)
    placed = replace(placed, sae=replace(placed.sae, normalisation="constant_norm_rescale"))
    x = codes(40, 3, 3).abs()
    samples = Sample(x.numpy(), np.arange(40) % 4), Sample(2 * x.numpy(), np.arange(40) % 4)
    found = table(placed, x, x, torch.arange(40) % 4, samples)
    assert found is not None and found["error_first"] == pytest.approx(np.zeros(3), abs=1e-6)


def test_one_shard_has_no_halves() -> None:
    """Then there is no table, rather than one with nothing on one side."""
    x = codes(40, 3, 4)
    assert table(identity(3), x, x, torch.zeros(40, dtype=torch.int64)) is None


def test_replicates_do_not_matter() -> None:
    """Halves are of the documents, however intervals are made."""
    x, shard = codes(90, 4, 5), torch.arange(90) % 9
    analysis = Features((identity(4),))
    tally = analysis.tally(pair(x, x.flip(1), shard))
    rows = []
    for weights in (leave_one_out(np.ones(9)), bootstrap(np.ones(9), draws=20)):
        found = analysis.finish(tally.totals(weights), NOTHING, NOTHING)
        (one,) = (o for o in found if isinstance(o, Shown) and o.name == HALVES)
        rows.append(np.array([one.columns[c] for c in ("r_first", "r_second", "peak_first")]))
    assert np.array_equal(*rows)
