"""Where do tallies wait between waves, and what does a killed run find again?"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from bitlens.plan import TokenBatch
from bitlens.records import to_json
from bitlens.tally import Tally

Key = tuple[str, str, str, str]
"""Analysis, twin, item, site."""


class Carry:
    """Tallies between waves, a file a depth, and how many batches they hold.

    A wave writes beside what the wave before it left; only when it is complete does it count.
    """

    def __init__(self, folder: Path, batches: Sequence[TokenBatch]) -> None:
        self._folder = folder
        self._state = folder / "waves.json"
        self._shapes = [list(batch.tokens.shape) for batch in batches]
        self._device = str(batches[0].tokens.device)
        self.batches_done = 0
        self.overflowed: dict[str, str] = {}
        self._generation = 0
        if self._state.exists():
            state = json.loads(self._state.read_text())
            if state["shapes"] == self._shapes:
                self.batches_done, self._generation = state["batches"], state["generation"]
                self.overflowed = state["overflowed"]
            else:
                # Another device has batches of another size: half of those is no half of these.
                for file in folder.iterdir():
                    file.unlink()

    def _path(self, depth: int, generation: int) -> Path:
        return self._folder / f"{generation}-{depth + 1}.safetensors"

    def load(self, depth: int) -> dict[Key, Tally]:
        path = self._path(depth, self._generation)
        if not path.exists():
            return {}
        parts: dict[Key, dict[str, Tensor]] = {}
        for name, tensor in load_file(path, device=self._device).items():
            *key, rest = name.split("\x1f")
            parts.setdefault((key[0], key[1], key[2], key[3]), {})[rest] = tensor
        return {key: Tally.from_tensors(tensors) for key, tensors in parts.items()}

    def save(self, depth: int, tallies: Mapping[Key, Tally]) -> None:
        if not tallies:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            "\x1f".join([*key, name]): tensor
            for key, tally in tallies.items()
            for name, tensor in tally.tensors().items()
        }
        path = self._path(depth, self._generation + 1)
        save_file(tensors, path.with_suffix(".tmp"))
        os.replace(path.with_suffix(".tmp"), path)

    def wave_done(self, batches: int, overflowed: Mapping[str, str]) -> None:
        temporary = self._state.with_suffix(".tmp")
        state = {
            "batches": batches,
            "generation": self._generation + 1,
            "shapes": self._shapes,
            "overflowed": dict(overflowed),
        }
        temporary.write_text(to_json(state))
        os.replace(temporary, self._state)
        for old in self._folder.glob(f"{self._generation}-*.safetensors"):
            old.unlink()
        self.batches_done, self._generation = batches, self._generation + 1
