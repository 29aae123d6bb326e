"""Reading of files that somebody else wrote: models, SAEs, texts, stores. Regular files only, and
of each no more than a stated bound, which is refused before memory goes."""

import io
import json
import os
import stat
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

from bitlens.errors import BitlensError, told

LARGEST_JSON = 1 << 26
"""Bytes of a file of settings; the index of a model in a hundred thousand parts takes 10 MB."""
MOST_UNPACKED = 16
"""Times its packed size that an archive of numbers may take. Trained weights hardly get smaller
at all; what shrinks a thousandfold is empty."""
FREELY_UNPACKED = 1 << 24
"""Bytes an archive may take whatever its packed size: biases that are zero do shrink."""


def open_regular(path: Path) -> io.BufferedReader:
    """The file, open for reading. BitlensError for what is none: a folder, a pipe or a device,
    of which the first would fail, the second wait and the third never end."""
    try:
        # Opening a pipe waits for its writer, unless asked not to.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BitlensError(
            f"{path} is a folder, a pipe or a device.",
            "an ordinary file.",
            "copy what it gives to a file, and name that.",
        )
    return os.fdopen(descriptor, "rb")


def read_bytes(path: Path, most: int = LARGEST_JSON) -> bytes:
    """All of a regular file of at most so many bytes. BitlensError for one that is larger, is no
    regular file, or cannot be read."""
    with open_regular(path) as file:
        try:
            # One more than allowed: the file may grow while it is read.
            data = file.read(most + 1) if size_of(file) <= most else None
        except OSError as error:
            raise unreadable(path, error) from error
    if data is None or len(data) > most:
        raise BitlensError(
            f"{path} is larger than {most:,} bytes.",
            "no more than that: it would not fit beside everything else.",
            "check that it is the file that was meant.",
        )
    return data


def size_of(file: BinaryIO) -> int:
    """Bytes of an open file."""
    return os.fstat(file.fileno()).st_size


def read_json(path: Path, most: int = LARGEST_JSON) -> Any:
    """What a JSON file of at most so many bytes holds."""
    return parse_json(read_bytes(path, most), str(path))


def parse_json(data: str | bytes, where: str) -> Any:
    """What the text holds; `where` it stands is named in the error."""
    try:
        return json.loads(data)
    except RecursionError as error:
        raise _no_json(f"{where} is nested too deeply.") from error
    except ValueError as error:
        raise _no_json(f"{where} is not JSON: {told(error)}.") from error


def refuse_bomb(data: bytes, path: Path) -> None:
    """Would this zip archive (npz and pt files are some) take far more memory than it is long?
    BitlensError where it would."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return  # no archive at all: whoever reads it says so
    if unpacked > max(FREELY_UNPACKED, MOST_UNPACKED * len(data)):
        raise BitlensError(
            f"{path}, {len(data):,} bytes, would unpack to {unpacked:,}.",
            f"at most {MOST_UNPACKED} times its size, as trained weights do.",
            "fetch it again from where it was published.",
        )


def unreadable(path: Path, error: BaseException) -> BitlensError:
    """What the system says about a file that it does not open."""
    return BitlensError(
        f"{path} cannot be read: {told(error)}.",
        "a file that is there and that this user may read.",
        f"ls -l {path}",
    )


def _no_json(found: str) -> BitlensError:
    return BitlensError(found, "valid JSON.", "python -m json.tool FILE checks it.")


def refuse_links(folder: Path, name: str) -> None:
    """BitlensError for a file of a folder that somebody sent, called `name`, which is a link to
    elsewhere."""
    for path in sorted(folder.iterdir()):
        if path.is_symlink() and not path.is_dir():
            require_inside(folder, path, f"{path.name} of {name} is a link to")


def require_inside(folder: Path, path: Path, words: str) -> None:
    """BitlensError, which begins with `words`, for a path that leads out of a folder: one of the
    hub's cache has its files beside it."""
    from huggingface_hub.constants import HF_HUB_CACHE

    home = folder.resolve()
    homes = [home, Path(HF_HUB_CACHE).resolve()]
    homes += [above.parent / "blobs" for above in home.parents if above.name == "snapshots"]
    try:
        target = path.resolve()
    except (OSError, RuntimeError, ValueError):
        target = None
    if target is None or not any(target.is_relative_to(place) for place in homes):
        where = "nothing that can be read" if target is None else str(target)
        raise BitlensError(
            f"{words} {where}, outside of the folder.",
            "files of the folder itself, or of the hub's cache.",
            "if you trust it, put a copy of the file into the folder.",
        )
