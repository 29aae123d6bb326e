"""Activations of models at named sites, by one sweep: step by step, or as rows of positions.

What an SAE learns from are such rows: kept in memory where they fit, chunk by chunk where not.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bitlens.engine.plan import CORPUS, TokenBatch
from bitlens.engine.runs import ForwardRun, SiteRequest
from bitlens.engine.step import Progress, Step, silent
from bitlens.engine.sweep import Sweep
from bitlens.engine.swept_model import SweptModel
from bitlens.errors import ModelError, failed
from bitlens.models.layout import Layout
from bitlens.models.sites import site
from bitlens.progress import ProgressBar

CHUNK = 1 << 17
"""Positions read at a time where they do not all fit: what is drawn at random is drawn within."""


def read(
    layout: Layout,
    models: Mapping[str, SweptModel],
    sites: Collection[str],
    batches: Sequence[TokenBatch],
    hidden_bytes: int,
    progress: Progress = silent,
) -> Iterator[Step]:
    """Every step of these models, each as it runs, no further than the deepest of the sites:
    depth by depth, in waves whose hidden states keep to `hidden_bytes`.

    BitlensError for a model whose weights cannot be made.
    """
    ends = [None if name == "logits" else site(name).depth + 1 for name in sites]
    stop = None if None in ends else max((end for end in ends if end is not None), default=0)
    sweep = Sweep(
        layout=layout,
        models=models,
        runs=[ForwardRun(name, name, stop=stop) for name in models],
        requests=[SiteRequest(name, frozenset(sites), CORPUS) for name in models],
        batches=batches,
        hidden_bytes=hidden_bytes,
    )
    for wave in sweep.waves:
        for step in sweep.run(wave, progress):
            _refuse_failed(sweep)
            yield step
            # Before the next is computed.
            del step
        _refuse_failed(sweep)


@dataclass(frozen=True, eq=False)
class ActivationReader:
    """Where activations are read, and of whom."""

    layout: Layout
    twins: Mapping[str, SweptModel]
    """By name, the reference among them if it is wanted."""
    place: str
    hidden_bytes: int
    """Of hidden states at a time."""

    def bytes_of(self, batches: Sequence[TokenBatch]) -> int:
        """What `rows` would take."""
        return 4 * self.layout.width * len(self.twins) * count_positions(batches)

    def rows(self, batches: Sequence[TokenBatch]) -> dict[str, Tensor]:
        """By name, `[counted positions of the batches, width]` float32, the same positions in the
        same order. BitlensError for a twin that fails or whose numbers are not finite."""
        stop = site(self.place).depth + 1
        count, device = count_positions(batches), self.layout.device
        found = {n: torch.empty(count, self.layout.width, device=device) for n in self.twins}
        tokens = sum(batch.tokens.numel() for batch in batches)
        total = tokens * stop * len(self.twins)
        with ProgressBar("activations", "tokens through a block", total) as bar:
            done = dict.fromkeys(found, 0)
            for step in read(
                self.layout,
                self.twins,
                [self.place],
                batches,
                hidden_bytes=self.hidden_bytes,
                progress=bar.add,
            ):
                for name, activations in step.activations.items():
                    if self.place in activations and name not in step.again:
                        values = activations[self.place].flatten(0, 1)[step.index]
                        found[name][done[name] : done[name] + len(values)] = values
                        done[name] += len(values)
        for name, rows in found.items():
            _refuse_infinite(name, rows, self.place)
        return found


@dataclass(frozen=True, eq=False)
class Streamed:
    """Activations of more positions than fit, read anew on every pass."""

    reader: ActivationReader
    parts: Sequence[Sequence[TokenBatch]]

    @property
    def sizes(self) -> Sequence[int]:
        """Positions in each chunk."""
        return [count_positions(part) for part in self.parts]

    def chunks(self, first: int) -> Iterator[Mapping[str, Tensor]]:
        """From this chunk on."""
        for part in self.parts[first:]:
            yield self.reader.rows(part)


def in_parts(batches: Sequence[TokenBatch], positions: int = CHUNK) -> list[list[TokenBatch]]:
    """Batches one after the other, together until there are so many positions."""
    parts: list[list[TokenBatch]] = [[]]
    for batch in batches:
        if parts[-1] and count_positions([*parts[-1], batch]) > positions:
            parts.append([])
        parts[-1].append(batch)
    return parts


def count_positions(batches: Sequence[TokenBatch]) -> int:
    """How many positions of these batches count."""
    return sum(len(batch.index) for batch in batches)


def _refuse_failed(sweep: Sweep) -> None:
    for name, reason in sweep.failed.items():
        raise failed(name, reason)


def _refuse_infinite(name: str, rows: Tensor, place: str) -> None:
    broken = int((~rows.isfinite()).any(dim=1).sum())
    if broken:
        raise ModelError(
            f"The activations of {name} at {place} are not finite at {broken:,} positions.",
            "a model that computes finite numbers.",
            "another compression, or --compute float32; of a repair, in its audit.",
        )
