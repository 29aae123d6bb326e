"""Pools that sum up parts in this process, as workers on other machines would."""

import pickle
from collections.abc import Iterator, Sequence

import pytest

from bitlens.sae.training.trainer import InMemory
from bitlens.workflows.apart import job as jobs
from bitlens.workflows.apart.engine import Batches, Needs
from bitlens.workflows.apart.job import Summed, SweepJob, summed
from bitlens.workflows.apart.training import SaeTraining, TrainedApart, trained_apart
from bitlens.workflows.engines import PlannedTraining


class LocalPool:
    """So many workers, each with a model of its own; parts come last to first. Everything is
    pickled on its way."""

    threads = 1

    def __init__(self, workers: int = 1, memory: int = 1 << 34, dies_after: int = 99) -> None:
        self.memory, self.asked = memory, list[list[int]]()
        self._holding = [jobs._Holding() for _ in range(workers)]
        self._dies_after = dies_after

    def summed(self, job: SweepJob, parts: Batches, needs: Needs) -> Iterator[tuple[int, Summed]]:
        self.asked.append(list(parts))
        for done, (number, batches) in enumerate(reversed(list(parts.items()))):
            if done == self._dies_after:
                raise KeyboardInterrupt
            sent = pickle.loads(pickle.dumps((job, batches)))
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(jobs, "_HERE", self._holding[done % len(self._holding)])
                yield number, pickle.loads(pickle.dumps(summed(*sent)))

    def trained(
        self, saes: Sequence[SaeTraining], of: PlannedTraining, needs: Needs
    ) -> Iterator[tuple[int, TrainedApart]]:
        self.asked.append(list(range(len(saes))))
        assert isinstance(of.source, InMemory)
        for place, one in reversed(list(enumerate(saes))):
            rows, held = (rows[one.job.model].numpy() for rows in (of.source.rows, of.held_out))
            sent = pickle.loads(pickle.dumps((one, rows, held)))
            yield place, pickle.loads(pickle.dumps(trained_apart(*sent)))
