"""Attention, heads, lens and features on families that differ: finite numbers at every site."""

import math
from pathlib import Path

import pytest
import torch

from bitlens.analyses.features.analysis import Features
from bitlens.models.layout import Layout
from tests.support import tiny

SITES = ("embed", "resid.0", "attn.1", "mlp.1")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "dtype"),
    [
        ("gpt2", torch.float32),
        ("opt", torch.float32),
        ("bloom", torch.float32),
        ("qwen3_moe", torch.float32),
        ("gpt_oss", torch.float32),
        ("llama", torch.bfloat16),
        ("gemma3_text", torch.float16),
    ],
    ids=str,
)
def test_every_family_is_read_at_every_site(
    family: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    """An unchanged twin is intact to the last digit, a compressed one is not, in many waves and
    whatever a family's blocks look like; an SAE fits any site as wide as the model."""
    layout = Layout(tiny.build(family, dtype, attention="eager"))
    saes = [tiny.placed(tiny.sae(seed=n, label=site), site) for n, site in enumerate(SITES)]
    analyses = [Features(tuple(saes)), *map(tiny.analysis, ("attention", "lens", "heads"))]
    plan = tiny.plan(tiny.corpus([[12], [12, 5], [9], [3]]), analyses, batch_tokens=40)
    twins = {"same": "nothing", "less": "rtn:bits=3"}
    measured = tiny.measurement(layout, twins, plan, tmp_path, analyses, hidden_bytes=0)
    values = tiny.values(measured)
    intact = {(a.name, m.name): m.intact for a in analyses for m in a.metrics}
    moved = set()
    for (name, twin, item, site, metric), value in values.items():
        if value.value is None:
            assert value.reason
            continue
        assert math.isfinite(value.value)
        whole = intact[name, metric]
        if whole is None:
            continue
        if twin == "same":
            assert value.value == pytest.approx(whole, abs=1e-6), (item, site, metric)
        elif value.value != whole:
            moved.add((name, site))
    depths = range(layout.depth)
    expected = {("features", site) for site in SITES if site != "embed"}
    expected |= {(n, f"pattern.{d}") for n in ("attention", "heads") for d in depths if d}
    expected |= {("lens", f"resid.{d}") for d in depths}
    assert expected <= moved
    assert ("features", "embed") not in moved
