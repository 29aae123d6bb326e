"""Heads against TransformerLens, where it is installed: its cached patterns, our scores."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bitlens.analyses.heads.analysis import CHOOSING, KINDS, Heads
from bitlens.models.layout import Layout
from tests.support import planted_models as planted
from tests.support import tiny

pytestmark = pytest.mark.against


@pytest.fixture(scope="module", params=["planted", "random"])
def layout(request) -> Layout:
    if request.param == "planted":
        return planted.copier()
    settings = {"n_positions": planted.SIZE, "vocab_size": planted.SIZE}
    return Layout(tiny.build("gpt2", attention="eager", **settings))


@pytest.mark.parametrize("bos", [None, 0], ids=["no BOS", "BOS"])
def test_scores_are_those_of_its_cached_patterns(
    layout: Layout, bos: int | None, tmp_path: Path
) -> None:
    """Induction, previous and duplicate scores of every head on the same tokens."""
    lens = pytest.importorskip("transformer_lens")
    analyses = [Heads()]
    own = tiny.own_documents(analyses, context=planted.SIZE, bos=bos, vocabulary=planted.SIZE)
    draw = np.random.default_rng(0)
    corpus = tiny.corpus([[draw.integers(2, planted.SIZE, 9)] for _ in range(3)])
    plan = tiny.plan(corpus, analyses, own=own)
    values = tiny.values(tiny.measurement(layout, {"same": "nothing"}, plan, tmp_path, analyses))
    hooked = _hooked(lens, layout)
    start = int(bos is not None)
    scores: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    for row in own["heads"][0].rows[CHOOSING:]:
        period = (len(row) - start) // 2
        _, cache = hooked.run_with_cache(torch.from_numpy(row).long()[None], prepend_bos=False)
        patterns = torch.stack([cache["pattern", n][0] for n in range(layout.depth)]).double()
        for kind, below, first in (
            ("induction", period - 1, start + 2),
            ("previous", 1, start),
            ("duplicate", period, start),
        ):
            along = patterns.diagonal(-below, dim1=2, dim2=3)[..., first:]
            scores[kind].append(along.mean(dim=-1).numpy())
    heads = scores["previous"][0].shape[1]
    for kind in KINDS:
        expected = np.mean(scores[kind], axis=0)
        found = [
            [
                values["heads", "same", f"head {h}, reference", f"pattern.{n}", kind].value
                for h in range(heads)
            ]
            for n in range(layout.depth)
        ]
        assert np.abs(found - expected).max() < 1e-5, kind


def _hooked(lens, layout: Layout):
    """TransformerLens' model with the weights of ours, unprocessed."""
    from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights

    config = layout.config
    made = lens.HookedTransformer(
        lens.HookedTransformerConfig(
            n_layers=config.n_layer,
            d_model=config.n_embd,
            d_head=config.n_embd // config.n_head,
            n_heads=config.n_head,
            n_ctx=config.n_positions,
            d_mlp=config.n_inner or 4 * config.n_embd,
            d_vocab=config.vocab_size,
            act_fn="gelu_new",
            normalization_type="LN",
            eps=config.layer_norm_epsilon,
        )
    )
    made.load_state_dict(convert_gpt2_weights(layout.model, made.cfg), strict=False)
    return made.eval()
