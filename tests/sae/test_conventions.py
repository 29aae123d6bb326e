"""Laws of the conventions by which activations may be read."""

from dataclasses import replace

import pytest
import torch

from bitlens.sae.conventions import better, conventions, scaled
from bitlens.sae.fit import Fit
from bitlens.sae.sae import TrainedOn
from tests.support.saes import ARCHITECTURES, activations, small_sae


def fit(fvu: float | None) -> Fit:
    return Fit(10, fvu, 1.0, 1.0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_scale_moves_from_activations_to_weights(architecture: str) -> None:
    """The codes of activations times a factor, and their reconstruction divided by it."""
    sae, x = small_sae(architecture), activations()
    own = scaled(sae, 3.0)
    torch.testing.assert_close(own.encode(x), sae.encode(3 * x))
    torch.testing.assert_close(own.decode(own.codes(x)), sae.decode(sae.codes(3 * x)) / 3)


def test_only_what_is_open_is_tried() -> None:
    """Centring where the model reads no mean; the rest where the files are silent; what is open
    at once also together, and scaled by the length of what is then read."""
    sae, norms = small_sae("standard"), {False: 4.0, True: 2.0}
    (stated,) = conventions(sae, False, norms)
    assert stated.sae is sae
    assert not stated.settings
    centring, scale, b_dec = (
        "center_writing_weights",
        "normalize_activations",
        "apply_b_dec_to_input",
    )
    assert [c.settings for c in conventions(sae, True, None)] == [set(), {centring}]
    silent = replace(sae, trained_on=TrainedOn(unsaid=(scale, b_dec)))
    tried = {frozenset(c.settings): c for c in conventions(silent, True, norms)}
    assert len(tried) == 8
    assert frozenset([centring, scale, b_dec]) in tried
    left, taken = (tried[frozenset(of)].sae for of in ([scale], [centring, scale]))
    root = sae.width**0.5
    torch.testing.assert_close(left.w_enc, sae.w_enc * root / 4)
    torch.testing.assert_close(taken.w_enc, sae.w_enc * root / 2)


@pytest.mark.parametrize(
    ("here", "others", "best"),
    [
        (0.4, [0.3, 0.2], 1),
        (0.4, [0.37], None),
        (0.4, [], None),
        (0.9, [0.6], None),
        (None, [0.2], 0),
        (0.4, [None], None),
    ],
)
def test_another_is_better_where_it_fits_and_leaves_clearly_less(
    here: float | None, others: list[float | None], best: int | None
) -> None:
    """A tenth less at least, and half of the variance at most."""
    assert better(fit(here), [fit(other) for other in others]) == best
