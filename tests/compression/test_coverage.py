"""The coverage table: what the weights themselves say."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch

from bitlens.compression import coverage
from bitlens.compression.coverage import Row, Storage, measure, require_change, tied, total
from bitlens.errors import BitlensError
from bitlens.results.records import to_json


def stored(format: str, bits: float) -> Storage:
    return Storage(format=format, bits=bits)


def row(reference: object, twin: object, bits: float = 4.0) -> Row:
    before = torch.as_tensor(reference, dtype=torch.float32)
    after = None if twin is None else torch.as_tensor(twin, dtype=torch.float32)
    return measure("layers.0.fc", "block", before, after, storage=stored("rtn:bits=4", bits))


def test_by_hand() -> None:
    """[3, 4] becoming [3, 3.5]: one of two changed, error 0.5 / 5 = 0.1, which is 20 dB."""
    found = row([[3, 4]], [[3, 3.5]])
    assert (found.parameters, found.bytes, found.changed) == (2, 1, 0.5)
    assert found.relative_error == pytest.approx(0.1, rel=1e-6)
    assert found.sqnr_db == pytest.approx(20, rel=1e-6)
    assert found.reason is None
    assert found.compressed


@pytest.mark.parametrize("shape", [(7,), (5, 9), (3, 4, 5), (200, 30)])
def test_agrees_with_numpy_in_pieces(shape: tuple[int, ...], monkeypatch: object) -> None:
    """Figures do not depend on the pieces weights are compared in."""
    monkeypatch.setattr(coverage, "_PIECE", 64)  # type: ignore[attr-defined]
    random = np.random.default_rng(0)
    before = random.standard_normal(shape).astype(np.float32)
    after = before + random.standard_normal(shape).astype(np.float32) * 0.01
    after = np.where(random.random(shape) < 0.5, after, before)
    found = row(before, after)
    error = np.linalg.norm((after - before).astype(np.float64)) / np.linalg.norm(
        before.astype(float)
    )
    assert found.changed == (after != before).mean()
    assert found.relative_error == pytest.approx(error, rel=1e-5)
    assert found.sqnr_db == pytest.approx(-20 * math.log10(error), rel=1e-5)


def test_no_figure_is_nan() -> None:
    """Identical, left alone, zero and broken weights give a reason in place of a figure."""
    cases = {
        "identical to the reference": row([[1, 2]], [[1, 2]]),
        "left alone": row([[1, 2]], None),
        "the reference is zero": row([[0, 0]], [[0, 1]]),
        "weights that are infinite or not a number": row([[1, 2]], [[1, float("nan")]]),
    }
    for reason, found in cases.items():
        assert found.reason == reason
        assert found.sqnr_db is None
        assert json.loads(to_json(asdict(found)))["reason"] == reason
    assert [case.relative_error for case in cases.values()] == [0.0, 0.0, None, None]
    assert [case.compressed for case in cases.values()] == [True, False, True, True]


def test_half_precision_reference() -> None:
    """A bfloat16 reference is compared by its values: the same values are no change."""
    weight = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert measure("m", "block", weight, weight.float(), storage=stored("float32", 16)).changed == 0


def test_shapes_must_agree() -> None:
    """A twin of another shape is named, not broadcast."""
    with pytest.raises(BitlensError, match=r"layers\.0\.fc has shape \(1, 2\)"):
        row([[1, 2], [3, 4]], [[1, 2]])


def test_totals_by_hand() -> None:
    """60 weights at 4 bits of which half changed, 30 at 8 all changed, 10 of 32 bits left alone,
    and a tied one counted once: 60 % changed, 480/90 bits over what was compressed, 800/100 over
    the whole, 100 bytes."""
    ones = torch.ones(60)
    half = torch.cat([torch.ones(30), torch.zeros(30)])
    rows = [
        measure("a", "block", ones, half, storage=stored("rtn:bits=4", 4)),
        measure("b", "block", ones[:30], ones[:30] * 2, storage=stored("rtn:bits=8", 8)),
        measure("embed", "embedding", ones[:10], None, storage=stored("float32", 32)),
        tied("lm_head", "unembedding", to="embed", storage=stored("float32", 32)),
    ]
    found = total(rows)
    assert (found.parameters, found.bytes) == (100, 30 + 30 + 40)
    assert found.changed == pytest.approx(0.6)
    assert found.bits == pytest.approx(480 / 90)
    assert found.whole_bits == pytest.approx(8)
    assert total(rows[2:]).bits is None
    assert rows[3].note == "tied to embed"
    assert rows[3].parameters == 0


def test_a_twin_equal_to_its_reference() -> None:
    """Nothing changed stops, unless it is allowed; one changed weight is enough."""
    same = [row([[1, 2]], [[1, 2]]), row([[1, 2]], None)]
    with pytest.raises(BitlensError) as error:
        require_change(same, allow_identical=False)
    assert "rtn:bits=4: all weights of 1 matrix are those of the reference" in error.value.found
    assert "--allow identical" in error.value.remedy
    require_change(same, allow_identical=True)
    require_change([*same, row([[1, 2]], [[1, 3]])], allow_identical=False)
