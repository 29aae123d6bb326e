"""The cost of a part of the grid: counted, and timed on a few steps, before anything is run."""

import time
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import torch

from bitlens.config.sae_grid import latents_of
from bitlens.config.sae_study import SaeStudy
from bitlens.models.layout import Layout
from bitlens.models.skeleton import outline
from bitlens.report.page.parts import Column, Table
from bitlens.report.text.numbers import figure
from bitlens.results.counts import count
from bitlens.sae.training.config import WITH_K, SaeTrainingConfig
from bitlens.sae.training.training_sae import TrainingSae

PRODUCTS = {"gated": 7, "seed-gated": 7}
"""Multiplications of a batch by a latents x width matrix in one step, where they are not five:
encoding, decoding, and the gradients of the encoder, the decoder and the codes."""
STEPS = 3
"""Timed, after one to warm up."""

Axes = Mapping[str, Sequence[Any]]


def costs(study: SaeStudy, axes: Axes) -> Table:
    """A row a value of every axis, and one of all: how many SAEs, how much work, how long."""
    width = _width(study)
    seconds = {} if width is None else {w: _seconds(study, axes, w, width) for w in axes["width"]}
    *names, _ = axes
    models = 1 + len(axes["twin"])
    rows = {(name, str(value)): [0.0, 0.0, 0.0] for name in names for value in axes[name]}
    rows["all", ""] = [0.0, 0.0, 0.0]
    for values in product(*(axes[name] for name in names)):
        chosen = dict(zip(names, values, strict=True))
        found = _one(study, chosen, width, seconds)
        for key in [*((name, str(value)) for name, value in chosen.items()), ("all", "")]:
            rows[key] = [a + models * b for a, b in zip(rows[key], found, strict=True)]
    shown = tuple(
        (
            " ".join(key).strip(),
            f"{saes:,.0f}",
            "–" if width is None else figure(flop / 1e12),
            "–" if width is None else figure(spent / 60),
        )
        for key, (saes, flop, spent) in rows.items()
    )
    titles = ("of", "SAEs", "TFLOP", "minutes")
    columns = tuple(Column(title, number > 0) for number, title in enumerate(titles))
    return Table(columns, shown, _about(width, models))


def _about(width: int | None, models: int) -> str:
    if width is None:
        return "What it costs is not known: the model's configuration is not here."
    return (
        f"TFLOP: positions x latents x {width} x 2 for each product, all {count(models, 'model')} "
        f"together. minutes: extrapolated from {STEPS} steps of each width on this machine, just "
        "now. Activations, which are read once a data size, and comparing directions come on top."
    )


def _width(study: SaeStudy) -> int | None:
    """The width of the model, from its configuration alone; None where that is not here."""
    (source,) = study.study.models
    model = outline(source)
    return None if model is None else Layout(model).width


def _one(
    study: SaeStudy, chosen: Mapping[str, Any], width: int | None, seconds: Mapping[str, float]
) -> tuple[int, float, float]:
    """What one SAE on one model costs: 1, FLOP and seconds."""
    if width is None:
        return 1, 0.0, 0.0
    steps = chosen["epochs"] * max(1, chosen["tokens"] // SaeTrainingConfig.batch)
    latents, kind = latents_of(chosen["width"], width), study.train.architecture
    if kind in WITH_K:
        each = 2 * width * (2 * latents + 3 * chosen["k"])
    else:
        each = 2 * width * PRODUCTS.get(kind, 5) * latents
    return 1, float(steps * SaeTrainingConfig.batch * each), steps * seconds[chosen["width"]]


def _seconds(study: SaeStudy, axes: Axes, width: str, wide: int) -> float:
    """What one step takes on random activations."""
    train = study.train
    penalties = axes[train.penalty]
    middle = sorted(penalties)[len(penalties) // 2]
    ((_, config),) = train.grid([width], [middle], [0], 1).configs(wide, [SaeTrainingConfig.batch])
    x = torch.randn(config.batch, wide, generator=torch.Generator().manual_seed(0))
    trainee = TrainingSae.begun(config, x)
    trainee.step(x)
    begun = time.perf_counter()
    for _ in range(STEPS):
        trainee.step(x)
    return (time.perf_counter() - begun) / STEPS
