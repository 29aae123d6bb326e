"""Laws of accumulators: they merge in any order, and come back from a file as they were."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from bitlens.engine.accumulators import Accumulator, DocumentSums, SampledRows, Top
from bitlens.results.stats.replicates import leave_one_out

SHARDS = 4


def accumulator(seed: int, n: int = 5) -> Accumulator:
    """One with something of every kind; sums are whole numbers, so that adding is exact."""
    draw = torch.Generator().manual_seed(seed)
    key = torch.randint(0, 1 << 40, (n,), generator=draw)
    largest = torch.randn(SHARDS, generator=draw, dtype=torch.float64)
    largest[seed % SHARDS] = -torch.inf
    return Accumulator(
        sums={
            "count": torch.randint(0, 99, (SHARDS,), generator=draw).double(),
            "by dimension": torch.randint(-9, 9, (SHARDS, 3), generator=draw).double(),
        },
        largest={"kl": largest},
        rows={
            "positions": [
                SampledRows(
                    key,
                    torch.randint(0, SHARDS, (n,), generator=draw),
                    {
                        "kl": torch.randn(n, generator=draw),
                        "states": torch.randn(n, 2, generator=draw),
                    },
                )
            ]
        },
        top={"latents": top(seed)},
        documents={"kl": [documents(seed, n)]},
    )


def documents(seed: int, n: int) -> DocumentSums:
    """Sums of up to n documents, whole numbers; document d is of shard d modulo four."""
    draw = torch.Generator().manual_seed(seed)
    document = torch.randint(0, 2 * n + 1, (n,), generator=draw)
    columns = {"kl": torch.randint(0, 99, (n,), generator=draw)}
    return DocumentSums.of(document, document % SHARDS, columns)


def test_documents_by_hand() -> None:
    """Positions of documents 7, 2, 7 and then 7 again in another part: 2 has its one number, 7 the
    sum of its three; each keeps its shard, and the lower number comes first."""
    first = DocumentSums.of(
        torch.tensor([7, 2, 7]), torch.tensor([1, 3, 1]), {"kl": torch.tensor([0.5, 4.0, 0.25])}
    )
    second = DocumentSums.of(torch.tensor([7]), torch.tensor([1]), {"kl": torch.tensor([2.0])})
    whole = DocumentSums.joined([first, second])
    assert whole.document.tolist() == [2, 7]
    assert whole.shard.tolist() == [3, 1]
    assert whole.sums["kl"].tolist() == [4.0, 2.75]


def top(seed: int, things: int = 3, k: int = 4) -> Top:
    """The k largest of some whole numbers, many of them equal, at positions of their own; the
    last thing has fewer."""
    draw = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 4, (things, k), generator=draw).float()
    position = seed * 1000 + torch.rand(things, k, generator=draw).argsort(dim=1)
    token = torch.randint(0, 99, (things, k), generator=draw)
    values[-1, 1:], position[-1, 1:], token[-1, 1:] = -torch.inf, -1, -1
    order = torch.argsort(position, dim=1)
    order = order.gather(
        1, values.gather(1, order).sort(dim=1, descending=True, stable=True).indices
    )
    places = {"position": position.gather(1, order), "token": token.gather(1, order)}
    return Top(values.gather(1, order), places)


def merged(*parts: Accumulator) -> dict[str, torch.Tensor]:
    whole = Accumulator()
    for part in parts:
        whole.add(part)
    return whole.tensors()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(
        torch.equal(v, b[k]) and v.dtype == b[k].dtype for k, v in a.items()
    )


def test_tallies_commute_and_associate() -> None:
    """Any order, any grouping, one result."""
    a, b, c = accumulator(1), accumulator(2, 0), accumulator(3)
    whole = merged(a, b, c)
    assert same(whole, merged(c, a, b))
    left, right = Accumulator(), Accumulator()
    for part in (a, b):
        left.add(part)
    for part in (b, c):
        right.add(part)
    assert same(whole, merged(left, c))
    assert same(whole, merged(a, right))


def test_an_empty_tally_changes_nothing() -> None:
    """Nothing seen adds nothing, on either side."""
    a = accumulator(1)
    assert same(merged(a), merged(Accumulator(), a))
    assert same(merged(a), merged(a, Accumulator()))
    assert Accumulator().tensors() == {}


def test_merging_leaves_the_other_as_it_was() -> None:
    """What is added is neither changed nor changed later."""
    a, b = accumulator(1), accumulator(2)
    before = {k: v.clone() for k, v in a.tensors().items()}
    whole = Accumulator()
    whole.add(a)
    whole.add(b)
    assert same(a.tensors(), before)


def test_sums_extremes_and_rows_by_hand() -> None:
    """Sums add, extremes take the larger, rows stand in the order of their keys."""
    a = Accumulator(
        sums={"n": torch.tensor([1.0, 2.0])}, largest={"m": torch.tensor([3.0, -torch.inf])}
    )
    b = Accumulator(sums={"n": torch.tensor([10.0, 20.0])}, largest={"m": torch.tensor([1.0, 5.0])})
    a.rows["r"] = [
        SampledRows(torch.tensor([30, 10]), torch.tensor([0, 1]), {"v": torch.tensor([3, 1])})
    ]
    b.rows["r"] = [SampledRows(torch.tensor([20]), torch.tensor([1]), {"v": torch.tensor([2])})]
    whole = merged(a, b)
    assert whole["sum/n"].tolist() == [11, 22]
    assert whole["largest/m"].tolist() == [3, 5]
    assert whole["rows/r/key"].tolist() == [10, 20, 30]
    assert whole["rows/r/shard"].tolist() == [1, 1, 0]
    assert whole["rows/r/values/v"].tolist() == [1, 2, 3]


@settings(max_examples=20)
@given(seeds=st.lists(st.integers(0, 50), max_size=4))
def test_tallies_survive_a_file(seeds: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Written and read back, an accumulator is what it was, and merges as it would have."""
    parts = [accumulator(seed) for seed in seeds]
    path = tmp_path_factory.mktemp("accumulator") / "accumulator.safetensors"
    save_file(merged(*parts), path)
    again = Accumulator.from_tensors(load_file(path))
    assert same(again.tensors(), merged(*parts))
    assert same(merged(again, accumulator(99)), merged(*parts, accumulator(99)))


def test_a_sum_that_was_read_back_can_be_added_to(tmp_path: Path) -> None:
    """Going on from a file gives the digits of never having stopped."""
    draw = torch.Generator().manual_seed(0)
    parts = [Accumulator(sums={"x": torch.randn(3, generator=draw).double() / 3}) for _ in range(6)]
    save_file(merged(*parts[:3]), tmp_path / "half")
    half = Accumulator.from_tensors(load_file(tmp_path / "half"))
    assert torch.equal(merged(half, *parts[3:])["sum/x"], merged(*parts)["sum/x"])


def test_totals_are_sums_under_weights() -> None:
    """The first row is the whole; every other leaves a shard out, as adding up the rest would."""
    a = accumulator(5)
    weights = leave_one_out(np.ones(SHARDS, dtype=bool))
    state = a.under(weights)
    for name, value in a.sums.items():
        parts = value.numpy()
        found = state.sum(name)
        assert found.shape == (SHARDS + 1, *parts.shape[1:])
        assert np.array_equal(found[0], parts.sum(axis=0))
        for left_out in range(SHARDS):
            assert np.array_equal(found[1 + left_out], np.delete(parts, left_out, 0).sum(axis=0))
    assert state.largest("kl") == a.largest["kl"].max()
    found_rows = state.rows("positions")
    assert found_rows is not None
    shard, values = found_rows
    order = np.argsort(a.rows["positions"][0].key.numpy())
    assert np.array_equal(shard, a.rows["positions"][0].shard.numpy()[order])
    assert np.array_equal(values["states"], a.rows["positions"][0].values["states"].numpy()[order])
    assert state.rows("unheard of") is None


def test_the_largest_by_hand() -> None:
    """5 3 1 and 4 3 0 give 5 4 3; of the two threes the one at the first position, whichever
    came first; each value keeps its token."""
    a = Top(torch.tensor([[5.0, 3, 1]]), {"position": torch.tensor([[7, 20, 1]])})
    b = Top(torch.tensor([[4.0, 3, 0]]), {"position": torch.tensor([[8, 12, 2]])})
    a.places["token"], b.places["token"] = torch.tensor([[1, 2, 3]]), torch.tensor([[4, 5, 6]])
    for whole in (a.merge(b), b.merge(a)):
        assert whole.values.tolist() == [[5, 4, 3]]
        assert whole.places["position"].tolist() == [[7, 8, 12]]
        assert whole.places["token"].tolist() == [[1, 4, 5]]


def test_the_largest_of_many_are_those_of_all_at_once() -> None:
    """Merged in any order, the k largest of twelve parts are what sorting all of them gives."""
    parts = [top(seed) for seed in range(12)]
    for some in (parts, parts[::-1], parts[5:] + parts[:5]):
        whole = some[0]
        for part in some[1:]:
            whole = whole.merge(part)
        for thing in range(3):
            entries = [
                (-value, position, token)
                for p in parts
                for value, position, token in zip(
                    p.values[thing].tolist(),
                    p.places["position"][thing].tolist(),
                    p.places["token"][thing].tolist(),
                    strict=True,
                )
            ]
            expected = sorted(entries)[:4]
            assert [-v for v in whole.values[thing].tolist()] == [e[0] for e in expected]
            assert whole.places["position"][thing].tolist() == [e[1] for e in expected]
            assert whole.places["token"][thing].tolist() == [e[2] for e in expected]


def test_tallies_that_began_with_the_same_can_be_written_together(tmp_path: Path) -> None:
    """The reference's largest go into the accumulator of every twin: each has its own."""
    shared = accumulator(1)
    twins = {"a": Accumulator(), "b": Accumulator()}
    for twin in twins.values():
        twin.add(shared)
    tensors = {f"{n}/{k}": v for n, twin in twins.items() for k, v in twin.tensors().items()}
    save_file(tensors, tmp_path / "both")
    assert len(load_file(tmp_path / "both")) == 2 * len(shared.tensors())


def test_totals_see_parts_of_sums() -> None:
    """Some columns under every weight, the whole without weights, and whether all is finite."""
    a = accumulator(5)
    state = a.under(leave_one_out(np.ones(SHARDS, dtype=bool)))
    columns = np.array([2, 0])
    assert np.array_equal(state.sum("by dimension", columns), state.sum("by dimension")[:, [2, 0]])
    assert np.array_equal(state.value("by dimension"), state.sum("by dimension")[0])
    assert state.has("count")
    assert not state.has("unheard of")
    values, places = state.top("latents")
    assert np.array_equal(values, a.top["latents"].values.numpy())
    assert np.array_equal(places["token"], a.top["latents"].places["token"].numpy())
    assert state.finite
    for broken in (torch.nan, torch.inf):
        a.sums["by dimension"][1, 2] = broken
        assert not state.finite
        a.sums["by dimension"][1, 2] = 0


def test_narrower_rows_are_filled_with_noughts() -> None:
    """Patterns over fewer keys stand beside those over more."""
    a = Accumulator(
        rows={"r": [SampledRows(torch.tensor([2]), torch.tensor([0]), {"p": torch.ones(1, 2, 3)})]}
    )
    b = Accumulator(
        rows={"r": [SampledRows(torch.tensor([1]), torch.tensor([0]), {"p": torch.ones(1, 2, 5)})]}
    )
    a.add(b)
    found = a.sample("r").values["p"]
    assert found.shape == (2, 2, 5)
    assert found.sum(dim=(1, 2)).tolist() == [10, 6]
    assert (found[1, :, 3:] == 0).all()
