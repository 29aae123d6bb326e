"""What is measured of runs on pairs of prompts: how far the right answer stands above the wrong
one, on the clean and on the corrupt prompt."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bitlens.analyses.causal.kept_scores import KeptScores
from bitlens.data.circuit_tasks.prompts import At, PromptPair, TaskPrompts
from bitlens.engine.plan import TokenBatch
from bitlens.engine.runs import REFERENCE, ForwardRun, SiteRequest
from bitlens.engine.step import Progress, silent
from bitlens.engine.sweep import Sweep
from bitlens.engine.swept_model import Reference, SweptModel
from bitlens.models.layout import Layout

DOCUMENTS = "causal"


@dataclass(frozen=True, eq=False)
class PairScores:
    """A run's scores on the pairs of a task."""

    clean: np.ndarray
    """`[pairs]` in logits, or in shares: the right answer's less the wrong one's."""
    corrupt: np.ndarray


PairScoresOf = Mapping[tuple[str, str], PairScores]
"""By task and run."""


@dataclass(frozen=True, eq=False)
class PairRows:
    """A batch, and what each of its rows is."""

    batch: TokenBatch
    task: TaskPrompts
    pairs: Sequence[PromptPair]
    """All that are read of the task."""
    numbers: np.ndarray
    """`[rows / 2]`: which of them stand in the batch, each clean and then corrupt."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """What sweeps of pairs may take, and where they keep what they have."""

    batch_tokens: int
    hidden_bytes: int
    """Of hidden states that are held at a time."""
    partial: Path | None = None
    """A folder for what is known between waves, of these models alone; None: nothing is kept."""


class PairSweep:
    """One sweep of runs over the pairs of some tasks: those on which circuits are chosen, or those
    on which everything is measured."""

    def __init__(
        self,
        layout: Layout,
        twins: Mapping[str, SweptModel],
        runs: Sequence[ForwardRun],
        tasks: Sequence[TaskPrompts],
        *,
        choosing: bool,
        room: Room,
    ) -> None:
        self._rows = list(
            batches_of(
                tasks, choosing=choosing, batch_tokens=room.batch_tokens, device=layout.device
            )
        )
        self.sweep = Sweep(
            layout=layout,
            models={REFERENCE: Reference(layout), **twins},
            runs=runs,
            requests=[
                SiteRequest(run.name, frozenset({"logits"}), DOCUMENTS)
                for run in runs
                if run.stop is None
            ],
            batches=[rows.batch for rows in self._rows],
            hidden_bytes=room.hidden_bytes,
        )
        self._kept = KeptScores.of(room.partial, runs, tasks, self.sweep.batches, choosing=choosing)

    @property
    def failed(self) -> dict[str, str]:
        """Twins whose weights could not be made, and why."""
        return self._kept.failed

    @property
    def overflowed(self) -> dict[str, str]:
        """Runs that stopped being finite, and after which site."""
        return self._kept.overflowed

    def scores(self, progress: Progress = silent) -> dict[tuple[str, str], PairScores]:
        """By task and run, of every run that has lost no twin it needs. What a stopped run has left
        is not computed again."""
        kept, batches = self._kept, self.sweep.batches
        self.sweep.failed |= kept.failed
        self.sweep.overflowed |= kept.overflowed
        while kept.batches < len(batches):
            wave = self.sweep.next_wave(kept.batches)
            for step in self.sweep.run(wave, progress):
                rows = self._rows[step.batch.number]
                for name, activations in step.activations.items():
                    if "logits" in activations:
                        key = rows.task.task, name
                        into = kept.held.setdefault(key, np.zeros((len(rows.pairs), 2)))
                        _add(into, rows, step.index, activations["logits"])
                del step
            done = kept.batches + len(wave)
            kept.wave_done(done, self.sweep.overflowed, self.sweep.failed)
        return {key: PairScores(of[:, 0], of[:, 1]) for key, of in kept.held.items()}


def _add(into: np.ndarray, rows: PairRows, index: Tensor, logits: Tensor) -> None:
    """The scores of some rows of a batch; `index`: their last positions, flattened."""
    own = (index // rows.batch.tokens.shape[1]).cpu().numpy()
    numbers = rows.numbers[own // 2]
    into[numbers, own % 2] = score(rows, numbers, logits).cpu().numpy()


def score(rows: PairRows, numbers: np.ndarray, logits: Tensor) -> Tensor:
    """`[n]` float64, how far the right answer stands above the wrong one: of the pairs of these
    numbers, from the logits `[n, vocabulary]` at the last position of a prompt of each."""
    pairs = [rows.pairs[n] for n in numbers]
    values = logits if rows.task.logits else logits.softmax(dim=-1)
    cells = [
        (row, token, sign)
        for row, pair in enumerate(pairs)
        for tokens, sign in ((pair.right, 1.0), (pair.wrong, -1.0))
        for token in tokens
    ]
    row, token, sign = (torch.tensor(of, device=logits.device) for of in zip(*cells, strict=True))
    found = torch.zeros(len(pairs), dtype=torch.float64, device=logits.device)
    return found.index_add(0, row, values[row, token].double() * sign)


def batches_of(
    tasks: Sequence[TaskPrompts], *, choosing: bool, batch_tokens: int, device: torch.device
) -> Iterator[PairRows]:
    """Batches of prompts of one length, so that nothing is padded."""
    number = 0
    for task in tasks:
        pairs = task.choosing if choosing else task.scoring
        lengths = np.array([len(pair.clean) for pair in pairs])
        for length in np.unique(lengths):
            of_length = np.flatnonzero(lengths == length)
            most = max(1, batch_tokens // (2 * int(length)))
            for begin in range(0, len(of_length), most):
                numbers = of_length[begin : begin + most]
                batch = _batch(number, [pairs[n] for n in numbers], task.at, device)
                yield PairRows(batch, task, pairs, numbers)
                number += 1


def _batch(number: int, pairs: Sequence[PromptPair], at: At, device: torch.device) -> TokenBatch:
    tokens = torch.tensor([of for pair in pairs for of in (pair.clean, pair.corrupt)])
    rows, length = tokens.shape
    mark = torch.full((rows, length), -1)
    for n, pair in enumerate(pairs):
        places = {"all": list(range(length)), "marked": list(pair.marked), "last": [length - 1]}
        mark[2 * n : 2 * n + 2, places[at]] = 0
    every = rows * length
    return TokenBatch(
        number=number,
        documents=DOCUMENTS,
        tokens=tokens.to(device),
        mask=None,
        index=torch.arange(every, device=device),
        logits_index=torch.arange(rows, device=device) * length + length - 1,
        subset=True,
        document=torch.arange(rows, device=device).repeat_interleave(length),
        offset=torch.arange(length, device=device).repeat(rows),
        target=torch.full((every,), -1, device=device),
        key=torch.zeros(every, dtype=torch.int64, device=device),
        length=torch.full((every,), length, device=device),
        mark=mark.flatten().to(device),
    )
