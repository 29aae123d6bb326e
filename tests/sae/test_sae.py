"""Codes and reconstructions are what the definition says, however the rows are tiled."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlens.errors import BitlensError
from bitlens.sae import sae as module
from bitlens.sae.sae import Sae, largest
from tests.support.saes import ARCHITECTURES, NORMALISATIONS, activations, small_sae


def by_hand(**other: Any) -> Sae:
    """Two dimensions, three latents: along x, along y, against x."""
    return Sae(
        **{
            "label": "hand",
            "hook": "resid.0",
            "architecture": "standard",
            "w_enc": torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 0.0]]),
            "b_enc": torch.tensor([0.0, -1.0, 0.5]),
            "w_dec": torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]),
            "b_dec": torch.tensor([1.0, 1.0]),
            **other,
        }
    )


X = torch.tensor([[3.0, 2.0], [0.0, 1.0], [1.25, 1.25]])
"""Less b_dec (2, 1), (-1, 0), (1/4, 1/4); through the encoder (2, 1, -3/2), (-1, -1, 3/2),
(1/4, -1/2, 1/4)."""


@pytest.mark.parametrize(
    ("other", "codes"),
    [
        ({}, [[2, 1, 0], [0, 0, 1.5], [0.25, 0, 0.25]]),
        ({"architecture": "topk", "k": 1}, [[2, 0, 0], [0, 0, 1.5], None]),
        (
            {"architecture": "jumprelu", "threshold": torch.tensor([0.25, 0.9, -2.0])},
            [[2, 1, 0], [0, 0, 1.5], [0, 0, 0.25]],
        ),
        # Not less b_dec: before (3, 3, -5/2), (0, 1, 1/2), (5/4, 3/2, -3/4).
        ({"apply_b_dec_to_input": False}, [[3, 3, 0], [0, 1, 0.5], [1.25, 1.5, 0]]),
    ],
    ids=["standard", "topk", "jumprelu", "b_dec not subtracted"],
)
def test_codes_worked_by_hand(other: dict[str, Any], codes: list[Any]) -> None:
    """A latent at its threshold does not fire, a negative one never does; of ties one of both."""
    found = by_hand(**other).encode(X)
    for row, expected in zip(found, codes, strict=True):
        if expected is None:
            assert sorted(row.tolist()) == [0, 0, 0.25]
        else:
            assert row.tolist() == expected


def test_reconstruction_worked_by_hand() -> None:
    """(2, 1, 0) decodes to (2, 1) + b_dec, (1/4, 0, 1/4) to b_dec itself."""
    sae = by_hand()
    assert sae.decode(sae.codes(X)).tolist() == [[3, 2], [-0.5, 1], [1, 1]]


def test_layer_norm_worked_by_hand() -> None:
    """(3, 1) has mean 2 and deviation sqrt 2 (of a sample): it is encoded as (1, -1)/sqrt 2, and
    what decodes to nothing but b_dec = (1, 1) comes back as 2 + sqrt 2 twice."""
    sae = by_hand(normalisation="layer_norm", apply_b_dec_to_input=False)
    codes = sae.codes(torch.tensor([[3.0, 1.0]]))
    assert codes.dense()[0] == pytest.approx([0.7071, 0, 0], abs=1e-4)
    silent = replace(codes, value=torch.zeros(1))
    assert sae.decode(silent)[0] == pytest.approx([2 + 2**0.5] * 2, abs=1e-4)


def test_constant_norm_worked_by_hand() -> None:
    """(3, 4) of length 5 is encoded at length sqrt 2; b_dec comes back 5 / sqrt 2 times as long."""
    sae = by_hand(normalisation="constant_norm_rescale", apply_b_dec_to_input=False)
    codes = sae.codes(torch.tensor([[3.0, 4.0]]))
    assert codes.dense()[0, 0] == pytest.approx(0.6 * 2**0.5)
    silent = replace(codes, value=torch.zeros(len(codes.value)))
    assert sae.decode(silent)[0] == pytest.approx([5 / 2**0.5] * 2)


def test_a_row_of_zeros_has_no_norm_and_is_read_as_zeros() -> None:
    """Never NaN: its code is that of nothing, and it decodes to nothing."""
    sae = by_hand(normalisation="constant_norm_rescale", apply_b_dec_to_input=False)
    nothing = torch.zeros(1, 2)
    assert sae.read(nothing)[0].tolist() == [[0, 0]]
    codes = sae.codes(nothing)
    assert codes.dense()[0].tolist() == sae.b_enc.relu().tolist()
    assert sae.decode(codes).tolist() == [[0, 0]]


def test_centring_worked_by_hand() -> None:
    """(3, 1) is encoded as (1, -1), and what decodes to b_dec comes back with its mean 2 added:
    (1, 0) + (1, 1) + 2."""
    sae = by_hand(centred=True, apply_b_dec_to_input=False)
    codes = sae.codes(torch.tensor([[3.0, 1.0]]))
    assert codes.dense().tolist() == [[1, 0, 0]]
    assert sae.decode(codes).tolist() == [[4, 3]]


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_centring_does_not_see_the_mean(normalisation: Any) -> None:
    """Rows moved by a constant each: the same codes, and reconstructions moved by it."""
    sae, x = small_sae(centred=True, normalisation=normalisation), activations()
    shift = torch.linspace(-4, 4, len(x))[:, None]
    codes, moved = sae.codes(x), sae.codes(x + shift)
    torch.testing.assert_close(moved.dense(), codes.dense(), atol=1e-4, rtol=1e-4)
    found = sae.decode(moved) - shift
    torch.testing.assert_close(found, sae.decode(codes), atol=1e-4, rtol=1e-4)


def dense_oracle(sae: Sae, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes and reconstruction in float64, by dense products and the definition."""
    x, scale, shift = x.double(), torch.ones(len(x), 1), torch.zeros(len(x), 1)
    if sae.normalisation == "layer_norm":
        shift, scale = x.mean(1, keepdim=True), x.std(1, keepdim=True)
        x = (x - shift) / (scale + 1e-5)
    if sae.normalisation == "constant_norm_rescale":
        scale = x.square().sum(1, keepdim=True).sqrt() / sae.width**0.5
        x = x / scale
    before = (x - sae.apply_b_dec_to_input * sae.b_dec) @ sae.w_enc.double() + sae.b_enc
    codes = before.relu()
    if sae.threshold is not None:
        codes = codes * (before > sae.threshold)
    if sae.k is not None:
        least = before.sort(1, descending=True).values[:, sae.k - 1 : sae.k]
        codes = codes * (before >= least)
    return codes, (codes @ sae.w_dec.double() + sae.b_dec) * scale + shift


@pytest.mark.parametrize("apply", [True, False])
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_agrees_with_dense_products(architecture: str, normalisation: Any, apply: bool) -> None:
    """Every architecture with every normalisation, against float64 written out."""
    sae = small_sae(architecture, normalisation=normalisation, apply_b_dec_to_input=apply)
    x = activations()
    codes, reconstruction = dense_oracle(sae, x)
    assert 0 < (codes > 0).double().mean() < 0.9
    torch.testing.assert_close(sae.encode(x).double(), codes, atol=1e-5, rtol=1e-5)
    found = sae.decode(sae.codes(x)).double()
    torch.testing.assert_close(found, reconstruction, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("rows_a_tile", [1, 7, 50])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_tiles_do_not_matter(
    architecture: str, rows_a_tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows, latents and values are the same and in order however many rows a tile has."""
    sae, x = small_sae(architecture), activations()
    whole = sae.codes(x)
    monkeypatch.setattr(module, "_TILE_BYTES", rows_a_tile * 4 * sae.latents)
    tiled = sae.codes(x)
    assert torch.equal(whole.row, tiled.row)
    assert torch.equal(whole.latent, tiled.latent)
    torch.testing.assert_close(whole.value, tiled.value)
    key = tiled.row * sae.latents + tiled.latent
    assert (key.diff() > 0).all()
    assert (tiled.value > 0).all()


@settings(max_examples=60)
@given(st.integers(1, 200), st.data())
def test_largest_is_a_full_sort(columns: int, data: st.DataObject) -> None:
    """For any number of columns, prime or not, and any k."""
    k = data.draw(st.integers(1, columns))
    draw = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    before = torch.randn(5, columns, generator=draw)
    found = before.gather(1, largest(before, k)).sort(1, descending=True).values
    assert torch.equal(found, before.sort(1, descending=True).values[:, :k])


def test_latents_that_never_fire_change_nothing() -> None:
    """Ten dead latents more: the same values and reconstruction."""
    for architecture in ARCHITECTURES:
        sae, x = small_sae(architecture), activations()
        more = replace(
            sae,
            w_enc=torch.cat([sae.w_enc, torch.zeros(sae.width, 10)], 1),
            b_enc=torch.cat([sae.b_enc, torch.full((10,), -9.0)]),
            w_dec=torch.cat([sae.w_dec, torch.ones(10, sae.width)]),
            threshold=None if sae.threshold is None else torch.cat([sae.threshold, torch.ones(10)]),
        )
        a, b = sae.codes(x), more.codes(x)
        assert torch.equal(a.row, b.row)
        assert torch.equal(a.latent, b.latent)
        torch.testing.assert_close(sae.decode(a), more.decode(b))


def test_positions_without_codes() -> None:
    """No row, and rows at which nothing fires, decode to b_dec."""
    sae = small_sae(b_enc=torch.full((40,), -99.0))
    assert sae.decode(sae.codes(activations())).eq(sae.b_dec).all()
    assert sae.decode(sae.codes(activations(0))).shape == (0, sae.width)
    assert sae.encode(activations(0)).shape == (0, sae.latents)


def test_entries_of_a_row_are_found() -> None:
    """`starts` bounds each row's entries, rows without any included."""
    sae = small_sae(b_enc=torch.full((40,), -4.5))
    codes = sae.codes(activations())
    starts, dense = codes.starts(), codes.dense()
    assert (starts.diff() == 0).any()
    assert len(starts) == codes.rows + 1
    assert starts.diff().tolist() == (dense > 0).sum(1).tolist()


def test_half_precision_activations_are_read() -> None:
    """A bf16 model's activations are encoded in float32."""
    x = activations().bfloat16()
    sae = small_sae()
    assert torch.equal(sae.encode(x), sae.encode(x.float()))


@pytest.mark.parametrize("shape", [(3, 11), (2, 3, 12), (12,)])
def test_another_width_is_refused(shape: tuple[int, ...]) -> None:
    """Both widths, and the model it was trained on, are named."""
    with pytest.raises(BitlensError, match=r"(?s)width 12.*tiny"):
        small_sae().codes(torch.zeros(shape))
