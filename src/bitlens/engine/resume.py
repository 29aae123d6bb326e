"""Checkpoint of a sweep: sums between waves, which a killed run finds again."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from re import fullmatch
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from bitlens.engine.accumulators import Accumulator
from bitlens.engine.keys import Accumulators, Key, fields, from_fields
from bitlens.engine.packing import pack, unpack
from bitlens.engine.parts import PartedSums
from bitlens.engine.plan import TokenBatch
from bitlens.errors import BitlensError, ResultsError
from bitlens.results.files.reading import open_regular, read_json
from bitlens.results.files.writing import unfinished, write
from bitlens.results.records import to_json

STATE = "waves.json"
OPEN = "-open"
"""What the name of a file says that holds a part that is open."""


class SweepCheckpoint:
    """Sums between waves, a file a depth and one more of a part that is open, and how many batches
    they hold.

    A wave writes beside what the wave before it left; only when it is complete does it count. The
    state is written last and holds a hash of every file and of itself: what does not match is not
    read, and all is computed again.
    """

    def __init__(self, folder: Path, batches: Sequence[TokenBatch]) -> None:
        self._folder = folder
        self._shapes = [list(batch.tokens.shape) for batch in batches]
        self._device = str(batches[0].tokens.device)
        self.batches_done = 0
        self.overflowed: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        """Twins whose weights could not be made, and why: they lack what was summed since."""
        self.damage = ""
        """What of an earlier run could not be used; empty where nothing is wrong."""
        self._generation = 0
        self._files: dict[str, str] = {}
        """Of this generation, name to hash."""
        self._written: dict[str, str] = {}
        """Of the next, as far as it is written."""
        try:
            self._recall()
        except _Damaged as damaged:
            self.damage = str(damaged)
        self._clear()

    def _recall(self) -> None:
        """What a stopped run left, if all of it is whole."""
        path = self._folder / STATE
        if not path.exists():
            return
        try:
            whole = read_json(path)
            state = whole["state"]
            if whole["sha256"] != _hash(to_json(state).encode()):
                raise ValueError
            files = dict(state["files"])
            same = state["shapes"] == self._shapes
            done, generation = int(state["batches"]), int(state["generation"])
            overflowed, failed = dict(state["overflowed"]), dict(state["failed"])
        except (BitlensError, ValueError, KeyError, TypeError) as error:
            raise _Damaged(f"{STATE} is not what was written") from error
        if not same:
            # Another device has batches of another size: half of those is no half of these.
            return
        for name, digest in files.items():
            self._check(name, digest)
        self.batches_done, self._generation = done, generation
        self._files, self.overflowed, self.failed = files, overflowed, failed

    def _check(self, name: str, digest: str) -> None:
        path = self._folder / name
        if not _ours(name) or not path.exists():
            raise _Damaged(f"{name} is missing")
        try:
            with open_regular(path) as file:
                same = _hash(file.read()) == digest
        except (BitlensError, OSError) as error:
            raise _Damaged(f"{name} cannot be read") from error
        if not same:
            raise _Damaged(f"{name} is not what was written")

    def _clear(self) -> None:
        """Nothing is left of what does not count: a wave that was stopped, other batches."""
        for file in self._folder.iterdir() if self._folder.is_dir() else ():
            stale = not self._generation if file.name == STATE else file.name not in self._files
            if stale and (_ours(file.name) or file.name == STATE):
                file.unlink(missing_ok=True)

    def _name(self, depth: int, generation: int, half: str = "") -> str:
        return f"{generation}-{depth + 1}{half}.safetensors"

    def load(self, depth: int) -> PartedSums:
        """What the waves before left at this depth; empty where there was none. BitlensError if
        a file is not what was written."""
        names = (self._name(depth, self._generation, half) for half in ("", OPEN))
        return PartedSums(*(self._read(name) for name in names))

    def _read(self, name: str) -> Accumulators:
        if name not in self._files:
            return {}
        parts: dict[Key, dict[str, Tensor]] = {}
        for place, tensor in self._tensors(name).items():
            *key, rest = place.split("\x1f")
            parts.setdefault(from_fields(*key), {})[rest] = tensor
        return {key: Accumulator.from_tensors(tensors) for key, tensors in parts.items()}

    def _tensors(self, name: str) -> dict[str, Tensor]:
        path = self._folder / name
        try:
            content = path.read_bytes()
            if _hash(content) == self._files[name]:
                return {place: held.to(self._device) for place, held in unpack(content).items()}
        except (OSError, SafetensorError):
            pass
        raise ResultsError(
            f"{path} changed while the run went on.",
            "the sums of the waves before, as they were written.",
            "the same command again: it computes them anew.",
        )

    def save(self, depth: int, sums: PartedSums) -> None:
        """Write what this wave and those before it have at a depth."""
        for half, accumulators in (("", sums.whole), (OPEN, sums.part)):
            if accumulators:
                self._write(self._name(depth, self._generation + 1, half), accumulators)

    def _write(self, name: str, accumulators: Accumulators) -> None:
        content = pack(
            {
                "\x1f".join([*fields(key), name]): tensor
                for key, accumulator in accumulators.items()
                for name, tensor in accumulator.tensors().items()
            }
        )
        write(self._folder / name, content)
        self._written[name] = _hash(content)

    def wave_done(
        self, batches: int, overflowed: Mapping[str, str], failed: Mapping[str, str]
    ) -> None:
        """What was saved of this wave counts now, and what was before it is deleted: `batches` are
        in it, `overflowed` says which runs stopped being finite, and where, `failed` which twins
        could not be made, and why."""
        state: dict[str, Any] = {
            "batches": batches,
            "generation": self._generation + 1,
            "shapes": self._shapes,
            "overflowed": dict(overflowed),
            "failed": dict(failed),
            "files": self._written,
        }
        whole = {"state": state, "sha256": _hash(to_json(state).encode())}
        write(self._folder / STATE, to_json(whole).encode())
        self.batches_done, self._generation = batches, self._generation + 1
        self._files, self._written = self._written, {}
        self._clear()


class _Damaged(Exception):
    """Which file is not what was written."""


def _ours(name: str) -> bool:
    return unfinished(name) or fullmatch(rf"\d+-\d+({OPEN})?\.safetensors", name) is not None


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
