"""Scores between the waves of a sweep of pairs, which a killed run finds again."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import torch
from safetensors import SafetensorError

from bitlens.data.circuit_tasks.prompts import TaskPrompts
from bitlens.engine.packing import pack, unpack
from bitlens.engine.plan import TokenBatch
from bitlens.engine.runs import ForwardRun
from bitlens.errors import BitlensError
from bitlens.results.files.reading import read_bytes
from bitlens.results.files.writing import write

_STATE, _APART = "state", "\x1f"


@dataclass(eq=False, kw_only=True)
class KeptScores:
    """What is known of a sweep so far, and the file it is kept in; without a folder nothing is."""

    path: Path | None
    held: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    """By task and run, `[pairs, 2]`: clean and corrupt."""
    batches: int = 0
    """How many, the first, are in it."""
    overflowed: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        folder: Path | None,
        runs: Sequence[ForwardRun],
        tasks: Sequence[TaskPrompts],
        batches: Sequence[TokenBatch],
    ) -> Self:
        """What a stopped run left of the same runs on the same prompts and batches in a folder that
        is of these models alone; nothing where it left nothing, or a file that is damaged."""
        if folder is None:
            return cls(path=None)
        asked = [[run.name for run in runs], [[task.task, task.digest] for task in tasks]]
        shapes = [list(batch.tokens.shape) for batch in batches]
        digest = hashlib.sha256(json.dumps([*asked, shapes]).encode()).hexdigest()[:16]
        found = cls(path=folder / f"{digest}.safetensors")
        found._recall()
        return found

    def _recall(self) -> None:
        assert self.path is not None
        try:
            tensors = unpack(read_bytes(self.path))
            state = json.loads(bytes(tensors.pop(_STATE).numpy()))
        except (BitlensError, OSError, SafetensorError, KeyError, ValueError):
            return
        self.batches = int(state["batches"])
        self.overflowed, self.failed = dict(state["overflowed"]), dict(state["failed"])
        for name, values in tensors.items():
            task, _, run = name.partition(_APART)
            self.held[task, run] = values.numpy().copy()

    def wave_done(self, batches: int, overflowed: dict[str, str], failed: dict[str, str]) -> None:
        """Write down that so many batches are in it, which runs stopped being finite, and which
        twins could not be made."""
        self.batches, self.overflowed, self.failed = batches, overflowed, failed
        if self.path is None:
            return
        state = {"batches": batches, "overflowed": overflowed, "failed": failed}
        content = torch.frombuffer(bytearray(json.dumps(state).encode()), dtype=torch.uint8)
        named = {_APART.join(key): torch.from_numpy(of) for key, of in self.held.items()}
        write(self.path, pack({_STATE: content, **named}))
