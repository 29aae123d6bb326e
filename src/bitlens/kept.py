"""Where are matrices kept that took long to make? A folder a twin, named by what made it."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from re import fullmatch
from typing import Any

import psutil
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bitlens.compress.activations import Activations
from bitlens.compress.compression import Compressed, Map
from bitlens.errors import BitlensError
from bitlens.home import home
from bitlens.store import write

ENVIRONMENT = "BITLENS_CACHE"
RECORD = "record.json"
"""What is written last: with it a twin is complete."""


def folder_of(made_by: Mapping[str, Any]) -> Path:
    """Where the twin that these settings make is kept: below $BITLENS_CACHE, by their hash."""
    text = json.dumps(made_by, sort_keys=True, allow_nan=False)
    return twins() / hashlib.sha256(text.encode()).hexdigest()[:20]


def twins() -> Path:
    """What is below $BITLENS_CACHE, or the user's own cache folder, and is ours alone."""
    own, folder = os.environ.get(ENVIRONMENT), home()
    if own:
        return Path(own) / "twins"
    root = os.environ.get("XDG_CACHE_HOME") or (folder and folder / ".cache")
    if root is None:
        raise BitlensError(
            "There is no home folder to keep calibrated twins in.",
            "a folder of yours.",
            f"{ENVIRONMENT}=DIR before the command.",
        )
    return Path(root) / "bitlens" / "twins"


@dataclass(eq=False)
class Kept:
    """A twin's compressed matrices: a safetensors file for every part, a record at the end."""

    folder: Path
    _parts: dict[str, str] = field(default_factory=dict, repr=False)
    """By map, the part it is in."""

    @property
    def complete(self) -> bool:
        """Whether all of it is there, and whole; what is not will be made again."""
        try:
            parts = json.loads((self.folder / RECORD).read_text(encoding="utf-8"))["parts"]
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return all(self.has(part) for part in parts)

    def has(self, part: str) -> bool:
        """Whether this part is there and can be read."""
        file = self._file(part)
        try:
            return file.is_file() and bool(_metadata(file))
        except (SafetensorError, OSError):
            return False

    def prepare(self) -> None:
        """Make sure that there is room for it, before anything long begins, and that nothing is
        left of runs that were killed while they wrote."""
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
            for file in self.folder.iterdir():
                writer = fullmatch(r".+\.(\d{1,9})", file.name)
                if writer and not psutil.pid_exists(int(writer[1])):
                    file.unlink(missing_ok=True)

    def add(self, part: str, maps: Sequence[Map], results: Sequence[Compressed]) -> None:
        """Keep what became of these maps, in the dtype of their reference."""
        tensors: dict[str, Tensor] = {}
        about: dict[str, str] = {}
        for map, result in zip(maps, results, strict=True):
            tensors[map.name] = result.weight.to(map.weight.dtype).contiguous().cpu()
            entry: dict[str, Any] = {
                "bits": result.bits,
                "group": result.group,
                "note": result.note,
            }
            if result.activations is not None:
                entry["activations"], own = result.activations.parts()
                for name, tensor in own.items():
                    # Maps of a group share theirs, and safetensors refuses to write that.
                    tensors[f"{map.name}@{name}"] = tensor.to("cpu", copy=True).contiguous()
            about[map.name] = json.dumps(entry, allow_nan=False)
        file = self._file(part)
        unfinished = file.with_suffix(f".{os.getpid()}")
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                save_file(tensors, unfinished, metadata=about)
                # Without this a machine that stops may leave the name without the content.
                with unfinished.open("rb") as written:
                    os.fsync(written.fileno())
                unfinished.replace(file)
            finally:
                unfinished.unlink(missing_ok=True)
        self._parts |= dict.fromkeys(about, file.name)

    def finish(self, record: Mapping[str, Any]) -> None:
        """Only now does it count as complete."""
        parts = sorted(file.stem for file in self.folder.glob("*.safetensors"))
        whole = {**record, "parts": parts}
        text = json.dumps(whole, indent=1, sort_keys=True, allow_nan=False)
        write(self.folder / RECORD, text.encode())

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def __call__(self, maps: Sequence[Map]) -> list[Compressed]:
        """What became of these maps."""
        if any(map.name not in self._parts for map in maps):
            self._parts = {
                name: file.name
                for file in self.folder.glob("*.safetensors")
                if self.has(file.stem)
                for name in _metadata(file)
            }
        return [self._read(map) for map in maps]

    def _read(self, map: Map) -> Compressed:
        with safe_open(self.folder / self._parts[map.name], "pt") as file:
            about = json.loads(file.metadata()[map.name])
            # A copy: what lies in the file is aligned as nothing else is, and some products of
            # several matrices at once round differently there.
            weight = file.get_tensor(map.name).to(map.weight.device, torch.float32, copy=True)
            activations = None
            if "activations" in about:
                own = {
                    key.rpartition("@")[2]: file.get_tensor(key).to(map.weight.device)
                    for key in file.keys()
                    if key.startswith(f"{map.name}@")
                }
                activations = Activations(**about["activations"], **own)
        return Compressed(weight, about["bits"], about["group"], about["note"], activations)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, SafetensorError) as error:
            why = error.strerror if isinstance(error, OSError) else None
            raise BitlensError(
                f"{self.folder} cannot be written to: {why or error}.",
                "a folder to keep calibrated twins in.",
                f"{ENVIRONMENT}=DIR, a folder of yours with room.",
            ) from error

    def _file(self, part: str) -> Path:
        return self.folder / f"{part}.safetensors"


def _metadata(file: Path) -> dict[str, str]:
    with safe_open(file, "pt") as opened:
        return dict(opened.metadata() or {})
