"""What is read on each half of the documents: by hand, and against numpy on those rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bitlens.analyses.features import halves as module
from bitlens.analyses.features.analysis import Features
from bitlens.analyses.features.halves import HALVES
from bitlens.engine.accumulators import Accumulator
from bitlens.engine.activations import Activations
from bitlens.results.records import DetailTable
from bitlens.results.stats.replicates import bootstrap, leave_one_out
from bitlens.sae.placed_sae import PlacedSae
from tests.support import tiny
from tests.support.by_hand import NOTHING
from tests.support.coded import codes, identity, pair


def table(
    placed: PlacedSae,
    x: Tensor,
    y: Tensor,
    shard: Tensor,
    alone: Tensor | None = None,
    branched: int | None = None,
) -> dict[str, np.ndarray] | None:
    """The table of one SAE, the rows given in two batches. `alone`: what the twin's block makes of
    the reference's input, in the first `branched` rows and no others, a batch of their own."""
    analysis, whole, middle = Features((placed,)), Accumulator(), branched or len(x) // 3
    both = pair(x, y, shard)
    for rows in (slice(middle), slice(middle, None)):
        some = both.positions.some(torch.arange(len(x))[rows])
        part = replace(pair(x[rows], y[rows], shard[rows]), positions=some)
        if alone is not None and rows.start is None:
            part = replace(part, alone=Activations(alone[rows]))
        whole.add(analysis.update(part))
    weights = leave_one_out(np.bincount(shard) > 0)
    found = analysis.compute(whole.under(weights), NOTHING, NOTHING)
    tables = [o for o in found if isinstance(o, DetailTable) and o.name == HALVES]
    return {c: np.asarray(v) for c, v in tables[0].columns.items()} if tables else None


def test_one_feature_by_hand() -> None:
    """Ten times each. On the even shards (1, 3, 0, 0) stays as it is: it fires on half, mean 1,
    peak 3, and sparseness 1 / (10 / 4) = 0.4. On the odd ones (1, 0) becomes (0, 1): r = -1."""
    x = torch.tensor([[1.0], [3], [-1], [-1], [1], [-1]]).repeat(1, 2)
    y = torch.tensor([[1.0], [3], [-1], [-1], [-1], [1]]).repeat(1, 2)
    x, y, shard = (
        of.repeat_interleave(10, dim=0) for of in (x, y, torch.tensor([0, 0, 2, 2, 1, 1]))
    )
    found = table(identity(2), x, y, shard)
    assert found is not None
    assert found["rate_first"][0] == 0.5
    assert found["mean_first"][0] == 1
    assert found["peak_first"][0] == 3
    assert found["sparseness_first"][0] == pytest.approx(0.4)
    assert (found["r_first"][0], found["r_second"][0]) == pytest.approx((1, -1))
    assert found["decoder_norm"][0] == found["encoder_norm"][0] == 1
    assert found["bias"][0] == 0
    assert found["nearest"][0] == 0
    assert found["group"].tolist() == [0, 1]
    assert np.isnan(found["local_error_first"]).all()


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


def test_the_local_error_by_hand() -> None:
    """The block moves the first half's two branched rows by 3 and 4 in every dimension, whatever
    the twin itself does: sqrt((9 + 16) / 2) = 3.5355 by an encoder vector of length 1, twice that
    by one of 2, nothing by one of zero. Rows of the other half, or not branched, do not count."""
    placed = identity(3)
    placed = replace(placed, sae=replace(placed.sae, w_enc=torch.diag(torch.tensor([1.0, 2, 0]))))
    x = codes(40, 3, 2)
    alone = x.clone()
    alone[:5] += torch.tensor([3.0, 9, 4, 9, 0])[:, None]
    alone[5:] += 100
    shard = torch.arange(40) % 4
    shard[4] = 1
    found = table(placed, x, x + 7, shard, alone, branched=5)
    assert found is not None
    by_latent = dict(zip(found["latent"].tolist(), found["local_error_first"], strict=True))
    assert by_latent[0] == pytest.approx(3.5355, abs=1e-4)
    assert by_latent[1] == pytest.approx(7.0711, abs=1e-4)
    assert by_latent.get(2, 0) == 0


def test_local_errors_are_those_of_numpy() -> None:
    """Of an encoder that is no identity, a bias before it and latents in several tiles."""
    draw = torch.Generator().manual_seed(7)
    placed = identity(12)
    w_enc, b_dec = torch.eye(12) + 0.3 * torch.randn(12, 12, generator=draw), torch.rand(12)
    placed = replace(placed, sae=replace(placed.sae, w_enc=w_enc, b_dec=b_dec))
    x = codes(300, 12, 6)
    alone = x + 0.5 * torch.randn(300, 12, generator=draw)
    shard = torch.randint(6, (300,), generator=draw)
    found = table(placed, x, x, shard, alone, branched=120)
    assert found is not None
    first = (shard[:120] % 2 == 0).numpy()
    seen = ((alone - x)[:120].double() @ w_enc.double()).numpy()[first]
    expected = np.sqrt((seen**2).mean(axis=0))
    assert found["local_error_first"] == pytest.approx(expected[found["latent"]], rel=1e-5)


def test_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether all latents are looked at together or one after the other."""
    x, shard = codes(60, 4, 8), torch.arange(60) % 4
    both = []
    for size in (1 << 20, 1):
        monkeypatch.setattr(module, "_TILE_BYTES", size)
        found = table(identity(4), x, x, shard, x.flip(1), branched=30)
        assert found is not None
        both.append(found["local_error_first"])
    assert both[0] == pytest.approx(both[1], rel=1e-6)
    assert np.all(both[0] > 0)


def test_a_normalised_code_sees_a_normalised_error() -> None:
    """An SAE that divides by each row's length sees no error where only that changes."""
    placed = identity(3)
    placed = replace(placed, sae=replace(placed.sae, normalisation="constant_norm_rescale"))
    x = codes(40, 3, 3).abs()
    found = table(placed, x, x, torch.arange(40) % 4, 2 * x, branched=20)
    assert found is not None
    assert found["local_error_first"] == pytest.approx(np.zeros(3), abs=1e-6)


def test_branches_of_the_other_half_alone_tell_nothing() -> None:
    """Then the column is empty, and the rest is there."""
    x, shard = codes(40, 3, 3), torch.arange(40) % 4
    shard[:10] = 1
    found = table(identity(3), x, x, shard, x + 1, branched=10)
    assert found is not None
    assert np.isnan(found["local_error_first"]).all()
    assert np.all(found["r_first"] > 0.99)


def test_one_shard_has_no_halves() -> None:
    """Then there is no table, rather than one with nothing on one side."""
    x = codes(40, 3, 4)
    assert table(identity(3), x, x, torch.zeros(40, dtype=torch.int64)) is None


def test_replicates_do_not_matter() -> None:
    """Halves are of the documents, however intervals are made."""
    x, shard = codes(90, 4, 5), torch.arange(90) % 9
    analysis = Features((identity(4),))
    accumulator = analysis.update(pair(x, x.flip(1), shard))
    rows = []
    for weights in (leave_one_out(np.ones(9)), bootstrap(np.ones(9), draws=20)):
        found = analysis.compute(accumulator.under(weights), NOTHING, NOTHING)
        (one,) = (o for o in found if isinstance(o, DetailTable) and o.name == HALVES)
        rows.append(np.array([one.columns[c] for c in ("r_first", "r_second", "peak_first")]))
    assert np.array_equal(*rows)


def test_only_the_blocks_own_weights_count(tmp_path: Path) -> None:
    """Swept: where only block 0 is compressed, its local error is all of the models' own states
    at resid.0, as the encoder of an SAE there sees it; block 1 has none, for all that it moved."""
    layout = tiny.layout("llama")
    text = f"rtn:bits=2,include=[{layout.block_name(0)}.*]"
    saes = [tiny.placed(tiny.sae(label=f"at {n}"), f"resid.{n}") for n in (0, 1)]
    analyses = [Features(tuple(saes))]
    plan = tiny.plan(tiny.corpus([[12], [9], [12], [7], [10], [12]], seed=4), analyses)
    found = tiny.measurement(layout, {"twin": text}, plan, tmp_path, analyses).values()
    tables = [t.columns for one in found for t in one.shown if t.name == HALVES]
    first, second = ({k: np.asarray(v) for k, v in columns.items()} for columns in tables)
    assert np.all(second["local_error_first"] == 0)
    assert np.nanmin(second["r_first"]) < 0.99
    moved = []
    twin = tiny.twin(layout, text).model()
    for batch in plan.batches:
        both = [tiny.own_states(m, layout, batch)["resid.0"] for m in (layout.model, twin)]
        of_first = plan.sets["corpus"].shard[batch.document[batch.index]] % 2 == 0
        moved.append((both[1] - both[0]).flatten(0, 1)[batch.index[of_first]])
    seen = torch.cat(moved).double() @ saes[0].sae.w_enc[:, first["latent"]].double()
    expected = seen.square().mean(dim=0).sqrt().numpy()
    assert expected.min() > 0
    assert first["local_error_first"] == pytest.approx(expected, rel=1e-4)
