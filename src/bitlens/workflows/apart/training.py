"""The training of one SAE of several, as another process does it."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from bitlens.errors import BitlensError
from bitlens.sae.sae import Sae
from bitlens.sae.training.trainer import InMemory, Job, Trained, train
from bitlens.workflows.apart.job import Refusal, require_same_versions
from bitlens.workflows.engines import PlannedTraining


@dataclass(frozen=True, eq=False, kw_only=True)
class SaeTraining:
    """One SAE that is wanted, its activations apart."""

    job: Job
    patience: int
    looks: int
    device: str
    threads: int
    made_with: Mapping[str, str]


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainedApart:
    """What came of it."""

    worker: str
    sae: Sae | None = None
    steps: int = 0
    looks: tuple[Mapping[str, float | None], ...] = ()
    refusal: Refusal | None = None

    def of(self, job: Job) -> Trained:
        """The SAE of this job. BitlensError where it was refused."""
        if self.refusal is not None:
            raise self.refusal.error
        assert self.sae is not None
        return Trained(job, self.sae, self.steps, list(self.looks))


def trained_apart(asked: SaeTraining, rows: Any, held_out: Any) -> TrainedApart:
    """Train it; `rows` and `held_out`: activations `[positions, width]` as numpy arrays. No
    checkpoint is kept: only the driver writes, and a worker that is lost begins again."""
    worker = f"{socket.gethostname()}, process {os.getpid()}"
    try:
        require_same_versions(asked.made_with, worker)
        torch.set_num_threads(asked.threads)
        job = replace(asked.job, folder=None)
        learnt, held = (
            {job.model: torch.from_numpy(array.copy()).to(asked.device)}
            for array in (rows, held_out)
        )
        source = InMemory(learnt)
        (made,) = train(source, held, [job], asked.patience, quiet=True, looks=asked.looks)
    except BitlensError as error:
        return TrainedApart(worker=worker, refusal=Refusal.of(error))
    sae = made.sae.to(torch.device("cpu"))
    return TrainedApart(worker=worker, sae=sae, steps=made.steps, looks=tuple(made.looks))


def trainings(of: PlannedTraining, threads: int, made_with: Mapping[str, str]) -> list[SaeTraining]:
    """Every SAE by itself: what it becomes does not depend on who is trained beside it."""
    return [
        SaeTraining(
            job=job,
            patience=of.patience,
            looks=of.looks,
            device=of.held_out[job.model].device.type,
            threads=threads,
            made_with=made_with,
        )
        for job in of.jobs
    ]
