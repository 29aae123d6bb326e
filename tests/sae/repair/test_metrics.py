"""How far codes are apart, and what a linear reading tells."""

import numpy as np
import pytest
import torch

from bitlens.sae.repair.least_squares import with_map
from bitlens.sae.repair.metrics import code_error, readable
from bitlens.sae.sae import Sae
from tests.support.planted_repair import LATENTS, activations, on, sae, turned


def test_the_error_by_hand() -> None:
    """Ten times each. f = (0, 2), variance 1: said (0, 1), it is off by 1/2; said (9, 9) by much
    more, which counts 1; a latent that never fires counts nothing."""
    three = torch.eye(3)
    whole = Sae(
        label="by hand",
        hook="resid.0",
        architecture="standard",
        w_enc=three,
        b_enc=torch.zeros(3),
        w_dec=three,
        b_dec=torch.zeros(3),
    )
    x, y = torch.tensor([[0.0, 0, 0], [2, 2, 0]]), torch.tensor([[0.0, 9, 5], [1, 9, 5]])
    x, y = x.repeat(10, 1), y.repeat(10, 1)
    assert code_error(whole, whole, on(y, x)) == pytest.approx((0.5 + 1) / 2)


def test_what_can_be_read_is_a_correlation() -> None:
    """numpy's, of the pre-activations."""
    whole, x = sae(), activations()
    y = turned(x) + 0.5 * activations(seed=6)
    part = on(y)
    mapped = with_map(whole, part.part(held_out=False), part.part(held_out=True))
    held = part.part(held_out=True)
    a, b = (held.reference @ whole.w_enc).numpy(), (held.twin @ mapped.w_enc).numpy()
    wanted = [np.corrcoef(a[:, j], b[:, j])[0, 1] for j in range(LATENTS)]
    assert readable(whole, mapped, held).numpy() == pytest.approx(wanted, abs=1e-4)
