"""Scores between the waves of a sweep of pairs, which a killed run finds again."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

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
_UNREADABLE = (BitlensError, OSError, SafetensorError, RuntimeError)


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
        *,
        choosing: bool,
    ) -> Self:
        """What a stopped run left of the same runs on the same prompts and batches in a folder that
        is of these models alone; nothing where it left nothing, or a file that is damaged.
        `choosing`: whether the pairs are those on which circuits are chosen."""
        if folder is None:
            return cls(path=None)
        asked = [list(map(_told, runs)), [[task.task, task.digest] for task in tasks]]
        shapes = [list(batch.tokens.shape) for batch in batches]
        digest = hashlib.sha256(json.dumps([*asked, shapes, choosing]).encode()).hexdigest()[:16]
        found = cls(path=folder / f"{digest}.safetensors")
        sizes = {task.task: len(task.choosing if choosing else task.scoring) for task in tasks}
        found._recall(len(batches), {(task, r.name): sizes[task] for task in sizes for r in runs})
        return found

    def _recall(self, batches: int, pairs: Mapping[tuple[str, str], int]) -> None:
        """`pairs`: how many there are, by task and run."""
        assert self.path is not None
        try:
            tensors = unpack(read_bytes(self.path))
            whole = json.loads(bytes(tensors.pop(_STATE).numpy()))
            state = whole["state"]
            parts = {name.partition(_APART)[::2]: of.numpy() for name, of in tensors.items()}
            sound = (
                whole["sha256"] == _seal(state, parts)
                and type(state["batches"]) is int
                and 0 <= state["batches"] <= batches
                and all(
                    of.shape == (pairs[key], 2) and of.dtype == np.float64
                    for key, of in parts.items()
                )
            )
            overflowed, failed = dict(state["overflowed"]), dict(state["failed"])
        except (*_UNREADABLE, KeyError, TypeError, ValueError):
            return
        if sound:
            self.batches, self.overflowed, self.failed = state["batches"], overflowed, failed
            self.held = {key: of.copy() for key, of in parts.items()}

    def wave_done(self, batches: int, overflowed: dict[str, str], failed: dict[str, str]) -> None:
        """Write down that so many batches are in it, which runs stopped being finite, and which
        twins could not be made."""
        self.batches, self.overflowed, self.failed = batches, overflowed, failed
        if self.path is None:
            return
        state = {"batches": batches, "overflowed": overflowed, "failed": failed}
        whole = {"state": state, "sha256": _seal(state, self.held)}
        content = torch.frombuffer(bytearray(json.dumps(whole).encode()), dtype=torch.uint8)
        named = {_APART.join(key): torch.from_numpy(of) for key, of in self.held.items()}
        write(self.path, pack({_STATE: content, **named}))


def _told(run: ForwardRun) -> list[Any]:
    """What tells a run from another: circuits of the same name may have other members. Latents of
    an SAE are told by the run's name."""
    put = [[i.site, i.source, i.positions, str(i.columns), i.partner] for i in run.interventions]
    blocks = str(run.own_blocks), run.base_model, run.start, run.stop
    return [run.name, run.model, run.parent, *blocks, put]


def _seal(state: Any, held: Mapping[tuple[str, str], np.ndarray]) -> str:
    """A hash of all that is written down: the file's format has none."""
    found = hashlib.sha256(json.dumps(state, sort_keys=True).encode())
    for key in sorted(held):
        found.update(json.dumps([*key, str(held[key].dtype), held[key].shape]).encode())
        found.update(held[key].tobytes())
    return found.hexdigest()
