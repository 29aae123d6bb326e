"""Agreement on firing, and its chance."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from tests.support.coded import kappa


def test_kappa_of_one_latent_is_cohens() -> None:
    """What the many are compared with is, for one, what sklearn has."""
    fired = np.random.default_rng(0).random((200, 2)) < 0.3
    fired[:, 1] |= fired[:, 0]
    assert kappa(fired[:, :1], fired[:, 1:]) == pytest.approx(cohen_kappa_score(*fired.T))
