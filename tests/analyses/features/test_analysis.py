"""Features: several SAEs at once, each with numbers of its own."""

from dataclasses import replace

import numpy as np
import torch

from bitlens.analyses.features.analysis import Features
from bitlens.engine.activations import Activations
from bitlens.engine.analysis import Sample
from bitlens.results.records import DetailTable, MetricResult
from bitlens.results.stats.replicates import leave_one_out
from bitlens.sae.placed_sae import PlacedSae
from tests.support import tiny
from tests.support.coded import pair


def test_two_saes_of_one_site_do_not_meddle() -> None:
    """Each has its own rows and numbers, as if it were alone; another site's is not asked."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(80, 16, generator=draw)
    y = x + 0.3 * torch.randn(80, 16, generator=draw)
    given = pair(x, y)
    saes = [tiny.placed(tiny.sae(16, n, seed=n, label=f"sae {n}"), "resid.0") for n in (20, 30)]
    elsewhere = tiny.placed(tiny.sae(16, 9, label="elsewhere"), "resid.1")
    weights = leave_one_out(np.ones(16, dtype=bool))

    def finish(*placed: PlacedSae) -> list[MetricResult | DetailTable]:
        analysis = Features(placed)
        fresh = replace(given, reference=Activations(x), twin=Activations(y))
        nothing = Sample(np.empty((0, 0)), np.empty(0))
        return analysis.compute(analysis.update(fresh).under(weights), nothing, nothing)

    both = finish(*saes, elsewhere)
    alone = [finish(one) for one in saes]
    found = {(o.metric, o.item): o for o in both if isinstance(o, MetricResult)}
    expected = [o for one in alone for o in one if isinstance(o, MetricResult)]
    assert len(found) == len(expected)
    for outcome in expected:
        assert np.array_equal(found[outcome.metric, outcome.item].values, outcome.values)
    assert Features((saes[0],)).settings["saes"].keys() == {"sae 20"}
