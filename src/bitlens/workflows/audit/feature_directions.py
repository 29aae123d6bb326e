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
Effects = tuple[Tensor, Tensor]
"""By how much logits move, and of which tokens."""


def directions(
    session: Session, placed: Sequence[PlacedSae], wanted: Mapping[str, DetailTable]
) -> dict[str, DetailTable]:
    """The table `directions` of every twin, a row a latent of its table in `wanted`: the tokens
    whose logits its decoder direction raises and lowers most, through the final norm and the
    unembedding of the reference, and by how much."""
    moved = {p.sae.label: _of_sae(session.layout, p, wanted.values()) for p in placed}
    token = cache(session.texts.token)
    return {twin: _table(of, placed, moved, token) for twin, of in wanted.items()}


def _latents(of: DetailTable, placed: PlacedSae) -> np.ndarray:
    latent = np.asarray(of.columns["latent"])[np.asarray(of.columns["sae"]) == placed.sae.label]
    return np.unique(latent)


def _of_sae(
    layout: Layout, placed: PlacedSae, wanted: Iterable[DetailTable]
) -> dict[int, dict[str, Effects]]:
    latents = np.unique(np.concatenate([_latents(of, placed) for of in wanted]))
    rows = _moved(layout, placed.sae.w_dec[torch.from_numpy(latents)])
    return dict(zip(latents.tolist(), rows, strict=True))


def _table(
    of: DetailTable,
    placed: Sequence[PlacedSae],
    moved: Mapping[str, Mapping[int, dict[str, Effects]]],
    token: Callable[[int], str],
) -> DetailTable:
    columns: dict[str, list[Any]] = {}
    for p in placed:
        for latent in _latents(of, p).tolist():
            values = {"sae": p.sae.label, "site": p.site, "latent": latent}
            for name, (by, tokens) in moved[p.sae.label][latent].items():
                values[name] = [token(int(t)) for t in tokens]
                values[f"{name}_by"] = by.tolist()
            for name, value in {**values, "neuronpedia": p.sae.neuronpedia}.items():
                columns.setdefault(name, []).append(value)
    return DetailTable("directions", columns)


@torch.no_grad()
def _moved(layout: Layout, directions: Tensor) -> list[dict[str, Effects]]:
    """Of each direction `[n, width]`, its largest effects (`up`) and its lowest (`down`)."""
    shell, device = layout.shell, layout.device
    chunk = logits_chunk(layout.vocabulary, layout.config)
    nothing = torch.zeros(1, layout.width, device=device)
    found: list[dict[str, Effects]] = []
    # What stands in a norm's and an unembedding's biases is no direction's doing.
    base = shell.leave(nothing).float()
    for begin in range(0, len(directions), chunk):
        logits = shell.leave(directions[begin : begin + chunk].to(device)).float() - base
        many = min(TOKENS, logits.shape[1])
        ends = {"up": logits.topk(many), "down": logits.topk(many, largest=False)}
        rows = {end: (by.cpu(), token.cpu()) for end, (by, token) in ends.items()}
        for row in range(len(logits)):
            found.append({end: (by[row], token[row]) for end, (by, token) in rows.items()})
    shell.release()
    return found
