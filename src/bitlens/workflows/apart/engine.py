"""The engine that has every part of a sweep summed up by a pool of other processes.

What a part gave is a folder of the store, written by this process alone, whole or not at all: a
command that was killed finds it again. In the end parts are added in their order, depth by depth,
whoever summed them up and when.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from bitlens.engine.keys import Accumulators
from bitlens.engine.measured import Measured
from bitlens.engine.parts import PartedSums
from bitlens.engine.plan import TokenBatch
from bitlens.engine.resume import STATE, SweepCheckpoint
from bitlens.errors import CapacityError
from bitlens.models.sites import site
from bitlens.progress import ProgressBar
from bitlens.report.text.numbers import size
from bitlens.results.counts import count
from bitlens.results.files.names import inside
from bitlens.results.files.writing import write
from bitlens.sae.training.trainer import InMemory, Trained
from bitlens.workflows.apart.job import Summed, SweepJob, job_of, versions
from bitlens.workflows.apart.training import SaeTraining, TrainedApart, trainings
from bitlens.workflows.audit.budget import WORK
from bitlens.workflows.engines import Here, PlannedSweep, PlannedTraining

HERE = Here()
Batches = Mapping[int, Sequence[TokenBatch]]
"""By the number of a part, those in it that are compared on."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a process takes that sums up parts."""

    threads: int
    gpus: int
    memory: int
    """Bytes of the machine's memory, what Python and its libraries hold included."""


class Pool(Protocol):
    """Processes that sum up parts."""

    threads: int
    """Of each."""
    memory: int
    """Bytes of the largest machine with so many threads, as far as it is for them."""

    def summed(self, job: SweepJob, parts: Batches, needs: Needs) -> Iterator[tuple[int, Summed]]:
        """What came of every part, by its number, in whatever order. BitlensError where there is
        no machine for them, or one was lost again and again."""

    def trained(
        self, saes: Sequence[SaeTraining], of: PlannedTraining, needs: Needs
    ) -> Iterator[tuple[int, TrainedApart]]:
        """What came of every SAE, by its place, in whatever order. BitlensError as above."""


class Apart:
    """An `Engine` whose sums are made elsewhere; values are made of them here."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def trained(self, training: PlannedTraining, log: Callable[[str], None]) -> Iterator[Trained]:
        """Every SAE, each by a worker, as they are done. Activations that do not fit into memory
        are read here, and SAEs trained beside."""
        source = training.source
        if not isinstance(source, InMemory):
            log("The activations do not fit into memory: the SAEs are trained here, in one pass.")
            yield from HERE.trained(training, log)
            return
        saes = trainings(training, self._pool.threads, versions())
        rows = max(source.rows[one.job.model].nbytes for one in saes)
        held = max(training.held_out[one.job.model].nbytes for one in saes)
        gpus = int(any(one.device == "cuda" for one in saes))
        needs = Needs(
            threads=self._pool.threads,
            gpus=gpus,
            memory=rows + held + _training_bytes(saes, source),
        )
        log(
            f"{count(len(saes), 'SAE')} by other processes, each with "
            f"{count(needs.threads, 'thread')} and {size(needs.memory)} of memory."
        )
        with ProgressBar("training", "SAEs", len(saes)) as bar:
            for place, found in self._pool.trained(saes, training, needs):
                yield found.of(training.jobs[place])
                bar.add(1)

    def values(self, sweep: PlannedSweep, bar: ProgressBar) -> Iterator[Measured]:
        """Every value, when all parts are there. BitlensError for what a process refused, for
        lost machines, and where no machine has the memory that a part takes."""
        measurement = sweep.measurement
        of_part: dict[int, list[TokenBatch]] = {}
        for batch in measurement.summation.batches:
            of_part.setdefault(batch.part, []).append(batch)
        parts = dict(sorted(of_part.items()))
        folder = measurement.summation.partial
        there = {n: _checkpoint(folder, n, batches) for n, batches in parts.items()}
        missing = {n: of for n, of in parts.items() if there[n].batches_done < len(of)}
        done = sum(_tokens(of) for n, of in parts.items() if n not in missing)
        if done:
            log = sweep.session.log
            log(f"{len(parts) - len(missing)} of {count(len(parts), 'part')} are there already.")
        bar.add(done)
        self._sum_up(sweep, missing, folder, bar)
        there = {n: _checkpoint(folder, n, batches) for n, batches in parts.items()}
        for one in there.values():
            measurement.sweep.failed |= {**one.failed, **measurement.sweep.failed}
            _note_overflows(measurement.sweep.overflowed, one.overflowed)
        return measurement.values_of(_added(list(there.values()), sweep.session.layout.depth))

    def _sum_up(
        self, sweep: PlannedSweep, missing: Batches, folder: Path, bar: ProgressBar
    ) -> None:
        """Have these parts summed up, and write what came of each."""
        if not missing:
            return
        needs, hidden = self._needs(sweep, missing)
        job = job_of(
            sweep, uuid4().hex, hidden_bytes=hidden, memory=needs.memory, threads=needs.threads
        )
        log = sweep.session.log
        gpus = f", {count(needs.gpus, 'GPU')}" if needs.gpus else ""
        log(
            f"{count(len(missing), 'part')} by other processes, each with "
            f"{count(needs.threads, 'thread')}{gpus} and {size(needs.memory)} of memory."
        )
        workers: set[str] = set()
        for number, found in self._pool.summed(job, missing, needs):
            if found.refusal is not None:
                raise found.refusal.error
            _keep(folder / _name(number), found.files)
            workers.add(found.worker)
            bar.add(_tokens(missing[number]))
            bar.at(f"{count(len(workers), 'worker')}")
        log(f"Summed up by {count(len(workers), 'worker')}: {_told(workers)}.")

    def _needs(self, sweep: PlannedSweep, parts: Batches) -> tuple[Needs, int]:
        """What a process takes, and how much of it is for hidden states: a whole part's at once
        where the study and the machines allow it, else at least a batch's."""
        session, budget = sweep.session, sweep.budget
        bytes_of = sweep.measurement.sweep.hidden_bytes
        whole = max(sum(bytes_of(batch) for batch in of) for of in parts.values())
        held = session.held_before
        on_gpu = session.layout.device.type == "cuda"
        if on_gpu:
            # What is planned is the GPU's; the machine's holds weights on their way there.
            weights = session.loaded.weight_bytes
            hidden = min(whole, max(budget.room(session.memory), budget.smallest))
            return Needs(threads=self._pool.threads, gpus=1, memory=held + weights), hidden
        room = self._pool.memory - held
        if session.study.memory:
            room = min(room, session.memory)
        if budget.taken + budget.smallest > room:
            raise CapacityError(
                f"The largest machine of the cluster has {size(self._pool.memory)} for a process.",
                f"{size(held + budget.least)}, with one batch a wave.",
                "larger machines, fewer compressions or a shorter --context.",
            )
        hidden = min(whole, budget.room(room))
        needs = Needs(threads=self._pool.threads, gpus=0, memory=held + budget.taken + hidden)
        return needs, hidden


def _training_bytes(saes: Sequence[SaeTraining], source: InMemory) -> int:
    """Of the largest: encoder and decoder in float32, each with its gradient and two moments; and
    Python with its libraries."""
    width = next(iter(source.rows.values())).shape[1]
    return 2 * WORK + 2 * 4 * 4 * width * max(one.job.config.latents for one in saes)


def _checkpoint(folder: Path, number: int, batches: Sequence[TokenBatch]) -> SweepCheckpoint:
    """What is there of a part; nothing of what is not as it was written."""
    return SweepCheckpoint(folder / _name(number), batches)


def _name(number: int) -> str:
    return f"part-{number}"


def _keep(folder: Path, files: Mapping[str, bytes]) -> None:
    """The files of a part, the one that vouches for the others last."""
    for name in sorted(files, key=lambda name: (name == STATE, name)):
        write(inside(folder, name), files[name])


def _added(parts: Sequence[SweepCheckpoint], depth: int) -> Iterator[Accumulators]:
    """Depth by depth, the sums of all parts in their order."""
    for at in range(-1, depth + 1):
        sums = PartedSums()
        for one in parts:
            sums.part = one.load(at).whole
            sums.close()
        yield sums.whole


def _note_overflows(known: dict[str, str], more: Mapping[str, str]) -> None:
    """Runs that stopped being finite, each with the shallowest site of all."""
    for run, name in more.items():
        if run not in known or site(name).depth < site(known[run]).depth:
            known[run] = name


def _tokens(batches: Sequence[TokenBatch]) -> int:
    return sum(batch.tokens.numel() for batch in batches)


def _told(workers: set[str]) -> str:
    """By machine, how many processes."""
    machines = [worker.partition(",")[0] for worker in sorted(workers)]
    return ", ".join(f"{machines.count(name)} on {name}" for name in dict.fromkeys(machines))
