"""Disk cache of calibrated weights: a folder a twin, named by what made it; in it one safetensors
file for every part, and a record that is written last."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bitlens.compression.compression import CompressedMatrix
from bitlens.compression.numerics.input_rounding import InputRounding
from bitlens.errors import InputError, ResultsError, told
from bitlens.models.checksums import sealed, unsealed
from bitlens.models.matrices import LinearMap
from bitlens.results.files.home import CACHE, cache
from bitlens.results.files.writing import explained, whole, write

ENVIRONMENT = CACHE
RECORD = "record.json"
"""What is written last: with it a twin is complete."""
ROOM = "a folder to keep calibrated twins in, with space left."
REMEDY = f"{ENVIRONMENT}=DIR, a folder of yours with room."


def cache_folder(made_by: Mapping[str, Any]) -> Path:
    """Where the twin that these settings make is kept: below $BITLENS_CACHE, by their hash."""
    text = json.dumps(made_by, sort_keys=True, allow_nan=False)
    return twins() / hashlib.sha256(text.encode()).hexdigest()[:20]


def twins() -> Path:
    """What is below $BITLENS_CACHE, or the user's own cache folder, and is ours alone. InputError
    where there is neither."""
    root = cache()
    if root is None:
        raise InputError(
            "There is no home folder to keep calibrated twins in.",
            "a folder to keep them in, with room.",
            f"{ENVIRONMENT}=DIR before the command.",
        )
    return root / "twins"


class WeightCache:
    """A twin's compressed matrices: a safetensors file for every part, a record at the end.

    A part that is not as it was written is as good as none, and is made again.
    """

    def __init__(self, folder: Path, shapes: Mapping[str, tuple[int, ...]] | None = None) -> None:
        """`shapes`: by matrix, what it must look like; others may be of any shape."""
        self.folder = folder
        self.shapes = shapes or {}
        self._parts: dict[str, str] = {}
        """By matrix, the part it is in."""
        self._read: dict[str, tuple[Any, str]] = {}
        """By part, which file was read, and what is wrong with it; empty where nothing is."""
        self._about: dict[str, dict[str, Any]] = {}
        """By part, what is said of each of its matrices."""

    @property
    def complete(self) -> bool:
        """Whether all of it is there, and as it was written."""
        parts = self._recorded()
        return parts is not None and all(self.has(part) for part in parts)

    def has(self, part: str) -> bool:
        """Whether this part is there, and as it was written."""
        return self._fault(part) == ""

    @property
    def faults(self) -> dict[str, str]:
        """What is there and is not as it was written, by its name, and why."""
        faults = {part: self._fault(part) for part in self._present()}
        if (self.folder / RECORD).is_file() and self._recorded() is None:
            faults[RECORD] = "it is no record"
        return {part: why for part, why in faults.items() if why}

    def prepare(self) -> None:
        """Make sure that there is room for it, before anything long begins."""
        with explained(self.folder, ROOM, REMEDY):
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass

    def add(
        self, part: str, matrices: Sequence[LinearMap], results: Sequence[CompressedMatrix]
    ) -> None:
        """Keep what became of these maps."""
        tensors: dict[str, Tensor] = {}
        about: dict[str, Any] = {}
        for matrix, result in zip(matrices, results, strict=True):
            tensors[matrix.name] = result.weight.contiguous().cpu()
            entry: dict[str, Any] = {
                "bits": result.bits,
                "group": result.group,
                "note": result.note,
            }
            if result.activations is not None:
                entry["activations"], own = result.activations.parts()
                for name, tensor in own.items():
                    # Maps of a group share theirs, and safetensors refuses to write that.
                    tensors[f"{matrix.name}@{name}"] = tensor.to("cpu", copy=True).contiguous()
            about[matrix.name] = entry
        with whole(self._file(part), remedy=REMEDY) as aside:
            save_file(tensors, aside, metadata=sealed(tensors, about))
        self._parts |= dict.fromkeys(about, part)

    def finish(self, record: Mapping[str, Any]) -> None:
        """Only now does it count as complete."""
        text = json.dumps(
            {**record, "parts": self._present()}, indent=1, sort_keys=True, allow_nan=False
        )
        write(self.folder / RECORD, text.encode(), remedy=REMEDY)

    def remove(self) -> None:
        """Take the folder away, whatever is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def __call__(self, matrices: Sequence[LinearMap]) -> list[CompressedMatrix]:
        """What became of these maps."""
        if any(matrix.name not in self._parts for matrix in matrices):
            self._parts = {
                name: part
                for part in self._present()
                if self.has(part)
                for name in self._about[part]
            }
        return [self._compressed(matrix) for matrix in matrices]

    def _compressed(self, matrix: LinearMap) -> CompressedMatrix:
        part = self._parts[matrix.name]
        if not self.has(part):
            raise ResultsError(
                f"{self._file(part)} changed while it was used: {self._fault(part)}.",
                "the file as it was kept.",
                "the same command again, which makes it anew.",
            )
        with safe_open(self._file(part), "pt") as file:
            about = self._about[part][matrix.name]
            # A copy: what lies in the file is aligned as nothing else is, and some products of
            # several matrices at once round differently there.
            weight = file.get_tensor(matrix.name).to(matrix.weight.device, torch.float32, copy=True)
            activations = None
            if "activations" in about:
                own = {
                    key.rpartition("@")[2]: file.get_tensor(key).to(matrix.weight.device)
                    for key in file.keys()  # noqa: SIM118 (a file of safetensors is no mapping)
                    if key.startswith(f"{matrix.name}@")
                }
                activations = InputRounding(**about["activations"], **own)
        return CompressedMatrix(
            weight, about["bits"], group=about["group"], note=about["note"], activations=activations
        )

    def _file(self, part: str) -> Path:
        return self.folder / f"{part}.safetensors"

    def _present(self) -> list[str]:
        return sorted(file.stem for file in self.folder.glob("[!.]*.safetensors"))

    def _recorded(self) -> list[str] | None:
        """The parts of a complete twin; None where there is no record, or none that can be one."""
        try:
            parts = json.loads((self.folder / RECORD).read_text(encoding="utf-8"))["parts"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        named = isinstance(parts, list) and all(isinstance(p, str) and "/" not in p for p in parts)
        return parts if named else None

    def _fault(self, part: str) -> str:
        """Why this part is not to be used. Read once, and again when the file is another."""
        file = self._file(part)
        try:
            stat = file.stat()
            which = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
            if part not in self._read or self._read[part][0] != which:
                self._read[part] = (which, self._unsealed(part))
        except (OSError, SafetensorError, ValueError) as error:
            return told(error)
        return self._read[part][1]

    def _unsealed(self, part: str) -> str:
        with safe_open(self._file(part), "pt") as opened:
            names = opened.keys()
            tensors = {key: opened.get_tensor(key) for key in names}
            self._about[part] = unsealed(tensors, opened.metadata())
        for name in self._about[part]:
            shape = tuple(tensors[name].shape)
            if shape != self.shapes.get(name, shape):
                return f"{name} is {list(shape)}, not {list(self.shapes[name])}"
        return ""
