"""The cost of a study before it runs, asked without network and without weights.

What stands in a folder is laid out from its configuration, and every compression is tried on the
shapes of its matrices; of what is on the hub only the names are known.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bitlens.compression import parse_spec
from bitlens.compression.methods.checkpoint import Checkpoint
from bitlens.compression.requests import requested_twins
from bitlens.compression.targets import try_compression
from bitlens.config.study import Study
from bitlens.data import code_prompts, hub
from bitlens.engine.sweep import logits_chunk
from bitlens.engine.wave_size import batch_tokens
from bitlens.errors import BitlensError
from bitlens.models.compute import compute_dtype
from bitlens.models.layout import Layout
from bitlens.models.sites import resolve
from bitlens.models.skeleton import outline
from bitlens.models.source import ModelSource, name_of
from bitlens.models.speed import operations_a_second
from bitlens.report.page.parts import Column, Table
from bitlens.report.text.numbers import size
from bitlens.sae.formats.releases import is_release
from bitlens.workflows.audit.budget import LOGITS, WORK
from bitlens.workflows.session import context_in

_UNITS = (("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9), ("MFLOP", 1e6), ("kFLOP", 1e3))


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one seed of a study costs on one model."""

    parameters: int
    weight_bytes: int
    twins: int
    tokens: int
    """At most; 0: as many as the text has."""
    flop: float
    """Operations of one forward of one token: two for each weight that it is multiplied with."""
    speed: float | None
    """Operations a second of this machine, on the device asked for; None: there is none."""
    kept_bytes: int
    """All weights, a block of every twin, hidden states of a batch and room to work."""
    least_bytes: int
    """What is kept where the reference's blocks are read from disk."""


def from_the_hub(study: Study) -> list[str]:
    """The names of a study that are to be fetched, or are in the hub's cache."""
    models = [source.name for source in study.models if not Path(source.name).exists()]
    saes = [sae for source in study.models for sae in source.saes if is_release(sae)]
    texts = [text for text in _texts(study) if text.startswith(hub.PREFIX)]
    twins = [twin.path for twin in _checkpoints(study) if not Path(twin.path).expanduser().exists()]
    return list(dict.fromkeys([*models, *saes, *texts, *twins]))


def absent(study: Study) -> list[str]:
    """The texts and SAEs of a study that are not there."""
    made = (hub.PREFIX, code_prompts.PREFIX)
    paths = [text for text in _texts(study) if not text.startswith(made)]
    paths += [sae for source in study.models for sae in source.saes if not is_release(sae)]
    return [path for path in dict.fromkeys(paths) if not Path(path).expanduser().exists()]


def costs(study: Study) -> dict[str, Cost | None]:
    """By model, what a study costs; None where its configuration is not here.

    BitlensError for a compression that does not fit a model's matrices, a site that it does not
    have, or a context that it cannot read.
    """
    return {name_of(source): _cost(study, source) for source in study.models}


def table(study: Study) -> Table:
    """The costs of a study, a row a model. BitlensError for what does not fit."""
    titles = ("model", "parameters", "weights", "twins", "at least", "time", "memory", "from disk")
    rows = [_row(name, cost) for name, cost in costs(study).items()]
    caption = (
        "at least: a forward of every token by the reference and each twin, a seed; block by block "
        "activations, splices, calibration and what is matched come on top and are told before a "
        "sweep. time: of that work here, at the speed of a product in float32 that was just timed. "
        "memory: of weights, a block of each twin and room to work, without SAEs; from "
        "disk: where --memory leaves no room for the weights."
    )
    columns = tuple(Column(title, number > 0) for number, title in enumerate(titles))
    return Table(columns, tuple(rows), caption)


def _row(name: str, cost: Cost | None) -> tuple[str, ...]:
    if cost is None:
        return (name, "needs the hub", *["–"] * 6)
    each = cost.flop * (1 + cost.twins)
    return (
        name,
        f"{cost.parameters:,}",
        size(cost.weight_bytes),
        str(cost.twins),
        _work(each * cost.tokens) if cost.tokens else f"{_work(each)} a token",
        _time(each * cost.tokens, cost.speed),
        size(cost.kept_bytes),
        size(cost.least_bytes),
    )


def _work(flop: float) -> str:
    """Operations in the unit that keeps their number short: `18.3 PFLOP`."""
    unit, scale = next((u, s) for u, s in _UNITS if flop >= s or u == "kFLOP")
    return f"{flop / scale:.3g} {unit}"


def _time(flop: float, speed: float | None) -> str:
    """`45 s`, `12 min`, `3.4 h`; a dash where the tokens or the speed are not known."""
    if not flop or speed is None:
        return "–"
    seconds = flop / speed
    if seconds < 120:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def _cost(study: Study, source: ModelSource) -> Cost | None:
    model = outline(source)
    if model is None:
        return None
    layout = Layout(model, compute_dtype(source.compute))
    name = name_of(source)
    context_in(layout, study, name)
    for pattern in study.sites:
        resolve(pattern, layout)
    wanted = requested_twins(study.compressions, study.controls, layout)
    for request in wanted:
        try:
            try_compression(layout, request.compression)
        except BitlensError as error:
            raise type(error)(f"{name}: {error.found}", error.expected, error.remedy) from None
    parameters = {id(p): p for p in model.parameters()}.values()
    weights = sum(p.numel() for p in parameters)
    block = max(sum(p.numel() for p in b.parameters()) for b in layout.blocks)
    around = weights - sum(p.numel() for b in layout.blocks for p in b.parameters())
    each, used = layout.dtype.itemsize, layout.compute.itemsize
    batch = batch_tokens(source.device.partition(":")[0])
    room = block * used * (len(wanted) + 1) + layout.shell.parameters.cast_bytes + WORK
    room += LOGITS * logits_chunk(layout.vocabulary, layout.config) * layout.vocabulary * 4
    room += batch * layout.width * 4 * (len(wanted) + 2)
    return Cost(
        parameters=weights,
        weight_bytes=weights * each,
        twins=len(wanted),
        tokens=study.tokens,
        flop=_flop(layout),
        speed=operations_a_second(source.device),
        kept_bytes=weights * each + room,
        least_bytes=around * each + room,
    )


def _flop(layout: Layout) -> float:
    """Operations of a forward of one token, its attention to others not counted."""
    config = layout.config
    chosen = getattr(config, "num_experts_per_tok", None)
    weights = 0.0
    for _, shape in layout.matrices():
        experts = shape[0] if len(shape) == 3 else 1
        weights += math.prod(shape) * min(1.0, (chosen or experts) / experts)
    return 2 * (weights + layout.width * layout.vocabulary)


def _texts(study: Study) -> list[str]:
    return list(dict.fromkeys(text for text in (study.texts, study.calibration) if text))


def _checkpoints(study: Study) -> Iterator[Checkpoint]:
    """Twins that were made elsewhere, on their own or within another compression."""
    for text in study.compressions:
        nested = parse_spec(text).nested()
        yield from (one for one in nested if isinstance(one, Checkpoint))
