"""Attribution patching, held against finite differences by plain hooks on a whole model."""

import numpy as np
import torch

from bitlens.analyses.causal.attribution import STEPS, attributions, first_cut
from bitlens.analyses.causal.nodes import nodes_of
from tests.support import circuits as support
from tests.support import tiny


def test_attributions_are_slopes_on_the_way_from_corrupt_to_clean() -> None:
    """A node's change times the mean slope of the score at it: what half a step up and down along
    that change gives at each point between the two embeddings, in transformers' own forward."""
    layout = tiny.layout("llama", torch.float32)
    task = support.repeats(pairs=10, vocabulary=tiny.VOCABULARY)
    nodes = nodes_of(layout)
    chosen = [n for n in nodes if n.name in ("0.1", "1.0", "mlp 1")]
    said = attributions(layout, task, chosen, 4096)
    found = dict(zip(chosen, said.nodes, strict=True))
    model, rows = layout.model, support.tokens(task.choosing)
    clean, corrupt = (support.values(model, layout, chosen, rows[n::2]) for n in (0, 1))
    embed = model.get_input_embeddings()
    with torch.no_grad():
        ends = [embed(rows[n::2]) for n in (0, 1)]

    def score(start: torch.Tensor) -> float:
        with torch.no_grad():
            logits = model(inputs_embeds=start, use_cache=False).logits[:, -1].double()
        each = [logits[n, p.right[0]] - logits[n, p.wrong[0]] for n, p in enumerate(task.choosing)]
        return float(torch.stack(each).mean())

    for node in chosen:
        moved = clean[node] - corrupt[node]
        slopes = []
        for step in range(STEPS):
            start = ends[1] + (step + 0.5) / STEPS * (ends[0] - ends[1])
            at = support.values(model, layout, [node], start)[node]
            ups = []
            for sign in (1, -1):
                with support.put(model, layout, {node: at + sign * 0.05 * moved}):
                    ups.append(score(start))
            slopes.append((ups[0] - ups[1]) / 0.1)
        np.testing.assert_allclose(found[node], np.mean(slopes), rtol=0.02, atol=2e-5)


def test_a_first_cut_keeps_what_matters_for_any_task() -> None:
    """Of two tasks of different size the largest of each is kept, in the model's order."""
    nodes = nodes_of(tiny.layout("llama"))[:4]
    of = [np.array([0.1, -8.0, 0.0, 0.2]), np.array([0.0, 0.0, 0.001, -0.0002])]
    assert first_cut(nodes, of, 2) == [nodes[1], nodes[2]]
