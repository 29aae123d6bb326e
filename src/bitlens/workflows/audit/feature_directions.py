"""What a feature's decoder direction says by itself: tokens it makes likelier, and unlikelier."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitlens.engine.sweep import logits_chunk
from bitlens.models.layout import Layout
from bitlens.results.records import DetailTable
from bitlens.sae.placed_sae import PlacedSae
from bitlens.workflows.session import Session

TOKENS = 5
"""Of each feature, so many tokens at either end."""
Effects = dict[str, list[Any]]
"""Tokens whose logits move most up and down, and by how much."""


def directions(
    session: Session, placed: Sequence[PlacedSae], wanted: Mapping[str, DetailTable]
) -> dict[str, DetailTable]:
    """The table `directions` of every twin, a row a latent of its table in `wanted`: the tokens
    whose logits its decoder direction raises and lowers most, through the final norm and the
    unembedding of the reference, and by how much."""
    token = cache(session.texts.token)
    moved = {p.sae.label: _of_sae(session.layout, p, wanted.values(), token) for p in placed}
    return {twin: _table(of, placed, moved) for twin, of in wanted.items()}


def _latents(of: DetailTable, placed: PlacedSae) -> np.ndarray:
    latent = np.asarray(of.columns["latent"])[np.asarray(of.columns["sae"]) == placed.sae.label]
    return np.unique(latent)


def _of_sae(
    layout: Layout,
    placed: PlacedSae,
    wanted: Iterable[DetailTable],
    token: Callable[[int], str],
) -> dict[int, Effects]:
    latents = np.unique(np.concatenate([_latents(of, placed) for of in wanted]))
    rows = _moved(layout, placed.sae.w_dec[torch.from_numpy(latents)], token)
    return dict(zip(latents.tolist(), rows, strict=True))


def _table(
    of: DetailTable,
    placed: Sequence[PlacedSae],
    moved: Mapping[str, Mapping[int, Effects]],
) -> DetailTable:
    columns: dict[str, list[Any]] = {}
    for p in placed:
        about = {"sae": p.sae.label, "site": p.site, "neuronpedia": p.sae.neuronpedia}
        for latent in _latents(of, p).tolist():
            for name, value in {**about, "latent": latent, **moved[p.sae.label][latent]}.items():
                columns.setdefault(name, []).append(value)
    return DetailTable("directions", columns)


@torch.no_grad()
def _moved(layout: Layout, directions: Tensor, token: Callable[[int], str]) -> list[Effects]:
    """Of each direction `[n, width]`, its largest effects (`up`) and its lowest (`down`)."""
    shell, device = layout.shell, layout.device
    chunk = logits_chunk(layout.vocabulary, layout.config)
    nothing = torch.zeros(1, layout.width, device=device)
    found: list[Effects] = []
    # What stands in a norm's and an unembedding's biases is no direction's doing.
    base = shell.leave(nothing).float()
    for begin in range(0, len(directions), chunk):
        logits = shell.leave(directions[begin : begin + chunk].to(device)).float() - base
        many = min(TOKENS, logits.shape[1])
        ends = {"up": logits.topk(many), "down": logits.topk(many, largest=False)}
        columns: dict[str, list[list[Any]]] = {}
        for end, (by, tokens) in ends.items():
            columns[end] = [[token(number) for number in row] for row in tokens.tolist()]
            columns[f"{end}_by"] = by.tolist()
        found += [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ]
    shell.release()
    return found
