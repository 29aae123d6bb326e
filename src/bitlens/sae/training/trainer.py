"""One pass over activations for as many SAEs as are wanted.

Every chunk of activations is read once for all of them. What an SAE becomes depends on its config
and the activations alone, not on who is trained beside it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from bitlens import seeds
from bitlens.errors import ResultsError, SaeError
from bitlens.sae.fit import Fit, measure_fit
from bitlens.sae.sae import Sae, TrainedOn
from bitlens.sae.training.checkpoint import TrainingCheckpoint, read_checkpoint, write_checkpoint
from bitlens.sae.training.config import SaeTrainingConfig, steps_of
from bitlens.sae.training.training_sae import TrainingSae

LOOKS = 20
"""At the held-out positions, evenly over the steps; after each a checkpoint is written. As many as
this in a training by itself; whoever trains many may do with fewer."""
LOOKED_AT = 8192
"""Held-out positions at most that a look reads."""


class Source(Protocol):
    """Activations to learn from, chunk by chunk, of one model or several at the same positions."""

    @property
    def sizes(self) -> Sequence[int]:
        """Positions in each chunk of one pass."""
        ...

    def chunks(self, first: int) -> Iterator[Mapping[str, Tensor]]:
        """One pass from this chunk on: by model, `[positions, width]`."""
        ...


@dataclass(frozen=True, eq=False)
class InMemory:
    """Activations that are all there, by model; they may lie in a memory-mapped file."""

    rows: Mapping[str, Tensor]

    @property
    def sizes(self) -> Sequence[int]:
        """Positions in the one chunk."""
        return [len(next(iter(self.rows.values())))]

    def chunks(self, first: int) -> Iterator[Mapping[str, Tensor]]:
        """All of them, the only chunk."""
        yield from [self.rows][first:]


@dataclass(eq=False, kw_only=True)
class Job:
    """One SAE that is wanted, and what is to be known of it."""

    config: SaeTrainingConfig
    label: str
    hook: str
    trained_on: TrainedOn
    model: str = ""
    """Whose activations it learns from."""
    folder: Path | None = None
    """Where its checkpoint is kept; None: nowhere."""
    made_by: Mapping[str, Any] = field(default_factory=dict)
    """What else decides about it; a checkpoint of something else is refused."""


@dataclass(eq=False, kw_only=True)
class _Run:
    """A job on its way."""

    job: Job
    held_out: Tensor
    trainee: TrainingSae | None = None
    looks: list[dict[str, float | None]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    """Its state at the best look, where training may stop early."""
    over: bool = False

    @property
    def steps(self) -> int:
        return self.trainee.steps if self.trainee else 0

    @property
    def best_look(self) -> int:
        return min(range(len(self.looks)), key=lambda n: _objective(self.looks[n]))

    def sae(self) -> Sae:
        assert self.trainee is not None
        return self.trainee.sae(self.job.label, self.job.hook, self.job.trained_on)

    def look(self, patience: int) -> Fit:
        """At the held-out positions, and whether to go on."""
        trainee = self.trainee
        assert trainee is not None
        rows = self.held_out[:LOOKED_AT]
        fit = measure_fit(self.sae(), rows)
        seen = {"steps": trainee.steps, "objective": _finite(trainee.objective(rows))}
        self.looks.append({**seen, "fvu": fit.fvu, "l0": fit.l0, "alive": fit.alive})
        config = self.job.config
        if patience and trainee.steps >= 2 * config.warm_up * config.steps:
            if self.best_look == len(self.looks) - 1 or not self.best:
                self.best = {name: tensor.clone() for name, tensor in trainee.state().items()}
            elif len(self.looks) - 1 - self.best_look >= patience:
                self.over = True
        return fit


@dataclass(frozen=True, eq=False)
class Trained:
    """An SAE, and how it came to be."""

    job: Job
    sae: Sae
    steps: int
    """Done; fewer than the config's where the held-out documents had enough."""
    looks: Sequence[Mapping[str, float | None]]
    """steps, objective, fvu, l0 and alive on the held-out positions."""


def train(
    source: Source,
    held_out: Mapping[str, Tensor],
    jobs: Sequence[Job],
    patience: int = 0,
    quiet: bool = False,
    looks: int = LOOKS,
) -> list[Trained]:
    """Every job's SAE. All configs have the same batch and number of steps.

    `held_out`: by model, `[n, width]` of other documents, for progress and to stop by: after
    `patience` looks without gain in what is minimised there training ends, and the best look's
    weights are the result; 0: never. Jobs with a folder go on from the checkpoint that is there.
    """
    runs = [_begin(job, held_out[job.model]) for job in jobs]
    (batch,), (steps,) = ({getattr(j.config, n) for j in jobs} for n in ("batch", "steps"))
    every = max(1, steps // looks)
    start = min((run.steps for run in runs if not run.over), default=steps)
    with tqdm(total=steps, initial=start, disable=quiet or None, mininterval=2) as bar:
        roots = {job.config.seed for job in jobs}
        for step, chunk, rows in batches(source, roots, batch=batch, start=start, stop=steps):
            if all(run.over for run in runs):
                break
            bar.update()
            learning = [run for run in runs if not run.over and step >= run.steps]
            for run in learning:
                x = chunk[run.job.model]
                if run.trainee is None:
                    run.trainee = TrainingSae.begun(run.job.config, x)
                run.trainee.step(x[rows[run.job.config.seed].to(x.device)])
            if (step + 1) % every == 0:
                # Not those that were restored here: they looked before their checkpoint.
                bar.set_postfix_str(describe([run.look(patience) for run in learning]))
                for run in learning:
                    _keep(run)
    return [_end(run, patience) for run in runs]


def describe(fits: Sequence[Fit]) -> str:
    """`FVU 0.120, L0 32.0, alive 98%`; of several SAEs, from the least to the largest."""

    def between(values: Sequence[float], form: str) -> str:
        ends = [format(end, form) for end in (min(values), max(values))] if values else ["none"]
        return "-".join(dict.fromkeys(ends))

    known = [fit.fvu for fit in fits if fit.fvu is not None]
    return (
        f"FVU {between(known, '.3f')}, L0 {between([fit.l0 for fit in fits], '.1f')}, "
        f"alive {between([fit.alive for fit in fits], '.0%')}"
    )


def batches(
    source: Source, roots: set[int], *, batch: int, start: int, stop: int
) -> Iterator[tuple[int, Mapping[str, Tensor], dict[int, Tensor]]]:
    """Step by step from `start` to `stop`: the chunk, and which rows of it the SAEs of each
    seed learn from, in an order drawn anew for each chunk and pass."""
    parts = steps_of(source.sizes, batch)
    passed = start // sum(parts)
    step = passed * sum(parts)
    while start < stop:
        first = 0
        while step + parts[first] <= start:
            step, first = step + parts[first], first + 1
        for n, chunk in enumerate(source.chunks(first), first):
            size = source.sizes[n]
            orders = {
                root: torch.randperm(size, generator=_draw(root, passed, n)).tensor_split(parts[n])
                for root in roots
            }
            for part in range(parts[n]):
                if step >= start:
                    yield step, chunk, {root: order[part] for root, order in orders.items()}
                step += 1
                if step == stop:
                    return
        passed += 1


def _draw(root: int, passed: int, chunk: int) -> torch.Generator:
    return torch.Generator().manual_seed(seeds.derive(root, "order", passed, chunk))


def _begin(job: Job, held_out: Tensor) -> _Run:
    run = _Run(job=job, held_out=held_out)
    found = None if job.folder is None else read_checkpoint(job.folder, held_out.device)
    if found is not None:
        if found.progress["made_by"] != job.made_by:
            raise ResultsError(
                f"{job.folder} holds a training that was begun with other settings.",
                "the same settings, to go on with it.",
                "another --out, or delete that folder.",
            )
        best = {n.removeprefix("best."): t for n, t in found.tensors.items() if n[:5] == "best."}
        state = {n: t for n, t in found.tensors.items() if n[:5] != "best."}
        run.trainee = TrainingSae.restored(job.config, state, found.progress["steps"])
        run.looks, run.best = list(found.progress["looks"]), best
        run.over = found.progress["over"]
    return run


def _keep(run: _Run) -> None:
    if run.job.folder is None or run.trainee is None:
        return
    tensors = run.trainee.state() | {f"best.{name}": t for name, t in run.best.items()}
    progress = {
        "steps": run.trainee.steps,
        "looks": run.looks,
        "over": run.over,
        "made_by": run.job.made_by,
    }
    write_checkpoint(run.job.folder, TrainingCheckpoint(tensors, progress))


def _end(run: _Run, patience: int) -> Trained:
    steps = run.steps
    if patience and run.best:
        run.trainee = TrainingSae.restored(run.job.config, run.best, steps)
    sae = run.sae()
    broken = [
        n for n in ("w_enc", "w_dec", "b_enc", "b_dec") if not getattr(sae, n).isfinite().all()
    ]
    if broken:
        raise SaeError(
            f"The training of {run.job.label} did not stay finite: {', '.join(broken)}.",
            "finite weights.",
            "a smaller --lr.",
        )
    return Trained(run.job, sae, steps, run.looks)


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None


def _objective(look: Mapping[str, float | None]) -> float:
    value = look["objective"]
    return float("inf") if value is None else value
