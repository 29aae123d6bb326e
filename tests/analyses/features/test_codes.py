"""Codes that are kept of every position: by hand, in two batches."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bitlens.analyses.features.codes import bytes_kept, entries, told
from bitlens.engine.accumulators import Accumulator, ReplicateState, SampledRows
from bitlens.engine.activations import Positions
from bitlens.engine.places import BITS
from bitlens.sae.sparse_codes import Codes
from tests.support import tiny


def positions(document: int, count: int) -> Positions:
    """The first so many of a document, in the shard of its number."""
    alike = torch.full((count,), document)
    place = torch.arange(count)
    return Positions(
        document=alike,
        shard=alike,
        shards=2,
        offset=place,
        target=place,
        key=place,
        token=place,
        length=torch.full((count,), count),
    )


def codes(*fires: tuple[int, int, float]) -> Codes:
    """Of three positions: row, latent and value of each activation."""
    row, latent, value = zip(*fires, strict=True)
    return Codes(
        row=torch.tensor(row),
        latent=torch.tensor(latent),
        value=torch.tensor(value),
        rows=3,
        latents=9,
    )


def state(reference: list[SampledRows], twin: list[SampledRows]) -> ReplicateState:
    """What was kept of an SAE called `one`."""
    whole = Accumulator(rows={"one/reference": reference, "one/twin": twin})
    return whole.under(np.ones((1, 2)))


def test_where_latents_fire_is_told_by_position() -> None:
    """Of two documents, the later read first: each activation of latents 4 and 7 with its place,
    ascending, the reference's before the twin's; latent 5 is not shown."""
    placed = tiny.placed(tiny.sae())
    later = entries(codes((0, 4, 2.0), (2, 5, 1.0)), positions(1, 3), placed)
    first = entries(codes((1, 4, 0.5), (1, 7, 3.0)), positions(0, 3), placed)
    other = entries(codes((2, 7, 4.0)), positions(0, 3), placed)
    found = told(state([later, first], [other]), "one", np.array([4, 7]))
    assert found is not None
    columns = {name: values.tolist() for name, values in found.columns.items()}
    assert columns == {
        "sae": ["one"] * 4,
        "place": [1, 1, 1 << BITS, 2],
        "latent": [4, 7, 4, 7],
        "value": [0.5, 3.0, 2.0, 4.0],
        "of_twin": [False, False, False, True],
    }


def test_a_crowded_batch_loses_all_of_its_model() -> None:
    """A reference with half a latent at a position allows twelve activations at three; a twin with
    thirteen is not kept, and nothing is told where one of both is missing."""
    placed = tiny.placed(tiny.sae())
    placed = replace(placed, fit=replace(placed.fit, l0=0.5))
    many = [(n // 5, n % 5, 1.0) for n in range(13)]
    few, crowded = (entries(codes(*of), positions(0, 3), placed) for of in (many[:12], many))
    assert (len(few.key), len(crowded.key)) == (12, 1)
    assert told(state([few], [crowded]), "one", np.arange(9)) is None
    assert told(Accumulator().under(np.ones((1, 2))), "one", np.arange(9)) is None


def test_of_long_texts_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten positions with 2.5 latents each take 18 bytes an activation: 450."""
    placed = tiny.placed(tiny.sae())
    placed = replace(placed, fit=replace(placed.fit, l0=2.5))
    monkeypatch.setattr("bitlens.analyses.features.codes.MOST_BYTES", 450)
    assert (bytes_kept(placed, 10), bytes_kept(placed, 11)) == (450, 0)
