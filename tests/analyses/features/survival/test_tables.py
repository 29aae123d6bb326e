"""Where features fire most, and which of them are shown."""

import numpy as np
import pytest
import torch

from bitlens.analyses.features.analysis import TOP
from bitlens.analyses.features.survival import PLACES, shown, tables
from bitlens.engine.activations import ActivationPair
from bitlens.engine.places import BITS
from tests.support.coded import LABEL, activations, findings, identity, pair, part, table


def test_where_features_fire_most(random_pair: ActivationPair) -> None:
    """The ten largest activations of every shown feature in either model, largest first, with
    document and place; fewer where it fires less often; the same whatever the batches."""
    cut = [slice(0, 70), slice(70, 90), slice(90, 200)]
    parts = [part(random_pair, c) for c in (cut[2], cut[0], cut[1])]
    at = random_pair.positions
    for given in ([random_pair], parts):
        places = table(findings(identity(30), *given), PLACES)
        for who, read in zip(("reference", "twin"), activations(random_pair), strict=True):
            for latent in set(places["latent"].tolist()):
                mine = (places["latent"] == latent) & (places["found"] == who)
                column = read.values[:, latent]
                best = [int(n) for n in torch.argsort(-column, stable=True)[:TOP] if column[n] > 0]
                expected = [(int(at.document[n]) << BITS) + int(at.offset[n]) for n in best]
                assert places["position"][mine].tolist() == expected
    assert set(places["sae"]) == {LABEL}
    assert set(places["site"]) == {"resid.0"}


def test_equal_activations_are_ordered_by_where_they_are() -> None:
    """Texts that begin alike activate alike: which of them are kept does not depend on the order
    in which they came."""
    flat = torch.ones(30, 2)
    flat[20:] = 0.5
    whole = pair(flat, flat)
    turned = [part(whole, slice(a, a + 6)) for a in (24, 6, 18, 0, 12)]
    for given in ([whole], turned):
        places = table(findings(identity(2), *given), PLACES)
        mine = (places["latent"] == 0) & (places["found"] == "twin")
        offsets = places["position"][mine] & ((1 << BITS) - 1)
        assert offsets.tolist() == list(range(TOP))


def test_shown_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """All, the most damaged first; where there are too many those, and the ones that fire most of
    those in the twin only."""
    features = np.arange(100) * 2
    r = np.linspace(1, 0, 100)
    only = np.array([1, 3, 5, 7, 9, 11])
    rate = np.zeros(200)
    rate[only] = [0.1, 0.6, 0.2, 0.5, 0.4, 0.3]
    found = shown(features, only, r, rate).tolist()
    assert found == [*range(198, -1, -2), 3, 7, 9, 11, 5, 1]
    monkeypatch.setattr(tables, "MOST_SHOWN", 10)
    monkeypatch.setattr(tables, "TWIN_ONLY", 4)
    assert shown(features, only, r, rate).tolist() == [*range(198, 186, -2), 3, 7, 9, 11]
    assert sorted(shown(features[:3], only[:0], r[:3], rate).tolist()) == [0, 2, 4]
