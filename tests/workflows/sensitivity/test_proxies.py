"""Proxy scores beside gradients that autograd takes of the whole model at once."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from bitlens.config.study import audit_of
from bitlens.results.sensitivity.proxies import GRADIENT, OUTPUT, TRACE
from bitlens.results.sensitivity.records import SQNR
from bitlens.workflows.sensitivity.proxies import proxy_scores
from bitlens.workflows.sensitivity.units import units_of
from bitlens.workflows.session import Session

COMPRESSION = "rtn:bits=2"


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_proxies_are_what_autograd_says(
    tiny_folder: Callable[..., Path], tmp_path: Path, family: str
) -> None:
    """One document, so one batch of one row: the model's own forward and backward, and the four
    definitions written out."""
    folder = tiny_folder(family)
    (tmp_path / "text.txt").write_text("a line of words that is no longer than a window ")
    study = audit_of(
        str(folder),
        (COMPRESSION,),
        text=str(tmp_path / "text.txt"),
        controls=(),
        positions="all",
        bos="no",
    )
    session = Session.open(study, lambda line: None)
    layout, plan = session.layout, session.plan()
    twin = session.twin_builder(apart_from=None).build(session.requests()).twins[COMPRESSION]
    units = [unit for unit in units_of(layout, "matrix") if unit.block is not None]
    found = {
        (p.proxy, p.unit): p.value
        for p in proxy_scores(layout, {COMPRESSION: twin}, units, plan)  # type: ignore[dict-item]
    }
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    changed = twin.model()
    (tokens,) = [batch.tokens for batch in plan.batches]
    unit = units[-1]
    module = model.get_submodule(unit.matrices[0])
    seen: dict[str, torch.Tensor] = {}

    def hear(_: object, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        output.retain_grad()
        seen.update(x=args[0].detach(), y=output)

    module.register_forward_hook(hear)
    logits = model(tokens).logits[0]
    cross_entropy(logits[:-1], tokens[0, 1:]).backward()
    weight = module.weight.detach()
    change = changed.get_submodule(unit.matrices[0]).weight.detach() - weight
    transposed = family == "gpt2"
    moved = seen["x"] @ (change if transposed else change.T)
    gradient, g = module.weight.grad, seen["y"].grad
    assert gradient is not None
    assert g is not None
    by_hand = {
        OUTPUT: (g.square() * moved.square()).sum(),
        GRADIENT: (gradient * change).abs().sum(),
        TRACE: gradient.square().sum() * change.square().mean() / 2,
        SQNR: 20 * torch.log10(change.norm() / weight.norm()),
    }
    for proxy, value in by_hand.items():
        assert found[proxy, unit.name] == pytest.approx(float(value), rel=1e-4), proxy
