"""Only latents that are alive and have directions are compared."""

import pytest
import torch

from bitlens.errors import BitlensError
from bitlens.sae.alignment.dictionary import dictionary
from tests.support.planted_dictionaries import sae_of, unit


def test_directions_are_unit_rows_of_either_side() -> None:
    """Whatever the lengths of the weights."""
    decoder, encoder = unit(6, 4), unit(6, 4, seed=5)
    found = dictionary(sae_of(decoder, encoder))
    torch.testing.assert_close(found.directions("decoder"), decoder)
    torch.testing.assert_close(found.directions("encoder"), encoder)


def test_dead_latents_are_left_out() -> None:
    """As the mask says, and where one of the directions is zero."""
    decoder, encoder = unit(6, 4), unit(6, 4, seed=5)
    decoder[1], encoder[2] = 0, 0
    alive = torch.tensor([True, True, True, False, True, True])
    found = dictionary(sae_of(decoder, encoder), alive)
    torch.testing.assert_close(found.directions("decoder"), decoder[[0, 4, 5]])
    torch.testing.assert_close(found.directions("encoder"), encoder[[0, 4, 5]])
    assert (found.about.compared, found.about.latents, found.about.alive_given) == (3, 6, True)


@pytest.mark.parametrize(
    ("alive", "message"),
    [
        (torch.ones(5, dtype=torch.bool), r"shape \[5\]"),
        (torch.ones(6, 1, dtype=torch.bool), r"shape \[6, 1\]"),
        (torch.ones(6), "float32"),
        (torch.arange(6) == 0, "1 of 6 latents"),
        (torch.zeros(6, dtype=torch.bool), "0 of 6 latents"),
    ],
)
def test_masks_that_do_not_fit(alive: torch.Tensor, message: str) -> None:
    """The SAE, what was given and what would do are named."""
    with pytest.raises(BitlensError, match=f"planted(?s:.*){message}"):
        dictionary(sae_of(unit(6, 4)), alive)
