"""The search for a direction: what each candidate is and does, by plain hooks on a whole model."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bitlens.data.groups import Groups
from bitlens.data.labelled_corpus import ClassPair, LabelledCorpus
from bitlens.engine.plan import make_plan
from bitlens.errors import BitlensError
from bitlens.models.layout import Layout
from bitlens.workflows.steer import search as searching
from bitlens.workflows.steer.prompts import log_odds
from bitlens.workflows.steer.search import CandidateDirection, search
from tests.support import tiny

TOKENS = (3, 5)
DOCUMENTS = 16
HELD = (0, 1, 8, 9)
"""One of every four of each class, which take turns."""


def labelled() -> LabelledCorpus:
    """Sixteen texts of six tokens, classes in turn, all learned from."""
    corpus = tiny.corpus([[6]] * DOCUMENTS, seed=4)
    groups = Groups(
        first=np.arange(DOCUMENTS),
        label=np.arange(DOCUMENTS) % 2,
        labels=("set\tno", "set\tyes"),
        mark=tuple(np.full(len(row), -1) for row in corpus.rows),
    )
    corpus = corpus.__class__(**{**vars(corpus), "groups": groups})
    pair = ClassPair(name="set", positive="yes", negative="no", labels=(0, 1))
    return LabelledCorpus(corpus, DOCUMENTS, (pair,))


def session(layout: Layout) -> Any:
    return SimpleNamespace(
        layout=layout, memory=1 << 30, plan=lambda corpus: make_plan(corpus, "content", 0, 64)
    )


def after(layout: Layout, rows: Tensor, changes: dict[str, Any]) -> Tensor:
    """The last logits by transformers, what some modules hand out changed from the second position
    on."""

    def changed(change: Any) -> Any:
        def put(_module: Any, _args: Any, output: Any) -> Any:
            first = (output[0] if isinstance(output, tuple) else output).clone()
            first[:, 1:] = change(first[:, 1:])
            return (first, *output[1:]) if isinstance(output, tuple) else first

        return put

    handles = [
        layout.model.get_submodule(name).register_forward_hook(changed(change))
        for name, change in changes.items()
    ]
    with torch.no_grad():
        logits = layout.model(rows, use_cache=False).logits[:, -1].float()
    for handle in handles:
        handle.remove()
    return logits


def states(layout: Layout, rows: Tensor, block: int) -> Tensor:
    with torch.no_grad():
        return layout.model(rows, use_cache=False, output_hidden_states=True).hidden_states[
            block + 1
        ]


def test_candidates_are_scored_as_hooks_on_the_whole_model_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Differences of means of three quarters of the texts, at the last two tokens after the first
    two of three blocks; on the last quarter the log-odds with the direction taken out of
    everything, and added, and the divergence."""
    monkeypatch.setattr(searching, "LEAST_INDUCED", -np.inf)
    monkeypatch.setattr(searching, "MOST_KL", np.inf)
    layout, texts = tiny.layout("llama"), labelled()
    found = search(session(layout), texts, TOKENS, 2)
    wanted = {(f"resid.{block}", token) for block in (0, 1) for token in (-1, -2)}
    assert {(one.site, one.token) for one in found} == wanted
    assert found[0].bypass == min(one.bypass for one in found)
    rows = torch.tensor(np.stack(texts.corpus.rows))
    learned = [n for n in range(DOCUMENTS) if n not in HELD]
    for one in found:
        depth = int(one.site[-1])
        at = states(layout, rows, depth)[:, one.token]
        yes, no = ([n for n in learned if n % 2 == kind] for kind in (1, 0))
        vector = at[yes].mean(dim=0) - at[no].mean(dim=0)
        assert torch.allclose(one.vector, vector, atol=1e-5)
        unit = vector / vector.norm()
        block = layout.block_name(0).rpartition(".")[0]
        places = [layout.model.get_input_embeddings()]
        names = [n for n, module in layout.model.named_modules() if module is places[0]]
        for n in range(layout.depth):
            names += [f"{block}.{n}{part}" for part in (".self_attn", ".mlp", "")]
        gone = dict.fromkeys(names, lambda x, unit=unit: x - (x @ unit)[..., None] * unit)
        positive = torch.tensor([n for n in HELD if n % 2])
        negative = torch.tensor([n for n in HELD if not n % 2])
        bypass = log_odds(after(layout, rows[positive], gone), TOKENS).mean()
        put = {f"{block}.{depth}": lambda x, vector=vector: x + vector}
        induced = log_odds(after(layout, rows[negative], put), TOKENS).mean()
        clean, without = (after(layout, rows[negative], c).log_softmax(-1) for c in ({}, gone))
        kl = (clean.exp() * (clean - without)).sum(dim=-1).mean()
        assert (one.bypass, one.induced, one.kl) == pytest.approx(
            (float(bypass), float(induced), float(kl)), abs=5e-5
        )


def test_what_may_be_chosen() -> None:
    """By the recipe: a direction that changes other answers, or does not bring these about, may
    not."""
    vector = torch.ones(2)
    for numbers, said in (
        ((-3.0, 0.5, 0.05), ""),
        ((-9.0, 0.5, 0.2), "changes other answers"),
        ((-9.0, -0.5, 0.05), "does not bring"),
        ((np.nan, 0.5, 0.05), "not finite"),
    ):
        bypass, induced, kl = numbers
        one = CandidateDirection(
            site="resid.0", token=-1, vector=vector, bypass=bypass, induced=induced, kl=kl
        )
        assert one.against.startswith(said)
        assert bool(one.against) == bool(said)


def test_where_none_may_be_chosen_it_is_said_why() -> None:
    """A random model answers nothing; nor have its texts nine tokens."""
    layout = tiny.layout("llama")
    with pytest.raises(
        BitlensError, match=r"(?s)None of 4 directions may be chosen.*--site resid.N"
    ):
        search(session(layout), labelled(), TOKENS, 2)
    with pytest.raises(BitlensError, match=r"(?s)a text of 6.*--site best:6"):
        search(session(layout), labelled(), TOKENS, 9)
