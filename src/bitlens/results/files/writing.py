"""Writing of files and folders: whole or not at all, even if the machine stops; where they were
meant to be and nowhere else; and by one process at a time.

Whatever writes for a user or into a folder of ours comes through here.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

import psutil
from safetensors import SafetensorError

from bitlens.errors import BitlensError, InputError, ResultsError

UNFINISHED = ".writing"
"""What the name of a file or folder ends with until it is whole."""
LOCK = ".lock"
"""What is held while a folder is written to, in the folder."""
ROOM = "a folder that can be written to, with space left."
GO_ON = (
    "mend that, or take another --out; what was complete before is untouched, and the same "
    "command goes on from there."
)


def write(path: Path, content: bytes, withdraw: Path | None = None, remedy: str = GO_ON) -> None:
    """All of the content or what was there before. `withdraw`: a file that vouched for it."""
    with whole(path, withdraw, remedy) as aside:
        aside.write_bytes(content)


@contextmanager
def whole(path: Path, withdraw: Path | None = None, remedy: str = GO_ON) -> Iterator[Path]:
    """A new, empty file to fill, which becomes `path` in the end: one that is there already, or a
    link, is replaced and never written through."""
    aside = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")
    with explained(path, ROOM, remedy):
        path.parent.mkdir(parents=True, exist_ok=True)
        _forget(path)
        try:
            os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o666))
            yield aside
            _sync(aside)
            if withdraw is not None:
                withdraw.unlink(missing_ok=True)
            os.replace(aside, path)
        finally:
            with suppress(OSError):
                aside.unlink(missing_ok=True)
        _sync(path.parent)


@contextmanager
def explained(path: Path, expected: str, remedy: str) -> Iterator[None]:
    """What the system says when `path` cannot be written, as a BitlensError with what the user can
    do."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        why = error.strerror if isinstance(error, OSError) else None
        raise BitlensError(
            f"{path} cannot be written: {why or error}.", expected, remedy
        ) from error


def unfinished(name: str) -> bool:
    """Is a file or folder of this name what a process that was killed left of its writing, or its
    lock?"""
    return name == LOCK or bool(re.fullmatch(rf"\..+{re.escape(UNFINISHED)}", name))


def _forget(path: Path) -> None:
    """What processes that are no more began to write here."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.(\d{{1,9}}){re.escape(UNFINISHED)}")
    for entry in os.scandir(path.parent):
        found = pattern.fullmatch(entry.name)
        if found and (int(found[1]) == os.getpid() or not psutil.pid_exists(int(found[1]))):
            os.unlink(entry.path)


def _sync(path: Path) -> None:
    """Down to the disk; of a folder, its names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """No other process writes to this folder meanwhile. BitlensError, with its number, where one
    does; the system gives a lock back when its process ends, however it ends."""
    with _there(folder, GO_ON), _held(folder / LOCK, folder):
        yield


@contextmanager
def _there(folder: Path, remedy: str) -> Iterator[None]:
    """A folder that is made where it is missing, and is gone again if nothing stays in it."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with explained(folder, ROOM, remedy):
            for path in reversed(missing):
                path.mkdir(exist_ok=True)
        yield
    finally:
        for path in missing:
            with suppress(OSError):
                path.rmdir()


@contextmanager
def _held(lock: Path, folder: Path, remedy: str = GO_ON) -> Iterator[None]:
    with explained(folder, ROOM, remedy):
        descriptor = _take(lock, folder)
    try:
        yield
    finally:
        # While it is held: whoever opened it meanwhile will see that it is no longer there.
        with suppress(OSError):
            lock.unlink(missing_ok=True)
        os.close(descriptor)


def _take(lock: Path, folder: Path) -> int:
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            flock(descriptor, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 20).decode("ascii", "replace") or "unknown"
            os.close(descriptor)
            raise ResultsError(
                f"{folder} is being written by another run (process {holder}).",
                "one run at a time in a folder.",
                "wait until it has ended, or take another folder.",
            ) from None
        except OSError:
            # Some network file systems know no locks. A run there is as good as it was before.
            return descriptor
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(lock)):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, str(os.getpid()).encode())
                return descriptor
        os.close(descriptor)


@contextmanager
def new_folder(out: Path, option: str) -> Iterator[Path]:
    """A folder to fill, which becomes `out` in the end; tried before anything long begins.
    `option`: the word that named it. InputError where something is in it."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is there already.", "a new or empty folder.", f"another {option}.")
    another = f"another {option}."
    # Now: the folder that the command runs in has no name any more once it is replaced.
    final = out.resolve()
    with reserved(out, option) as aside:
        with explained(out, ROOM, another):
            aside.mkdir()
        try:
            yield aside
            with explained(out, ROOM, another):
                for file in aside.rglob("*"):
                    _sync(file)
                os.replace(aside, final)
                _sync(final.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def reserved(out: Path, option: str) -> Iterator[Path]:
    """No other process makes this folder meanwhile, and nothing is left of one that was killed
    while it did; where it is to be filled until it is whole."""
    another = f"another {option}."
    final = out.resolve()
    aside = final.with_name(f".{final.name}{UNFINISHED}")
    lock = final.with_name(f".{final.name}{LOCK}")
    with _there(final.parent, another), _held(lock, out, another):
        with explained(out, ROOM, another):
            _clear(aside)
        yield aside


def _clear(aside: Path) -> None:
    """What a run that was killed left: whoever holds the lock is the only one who writes here."""
    if aside.is_dir() and not aside.is_symlink():
        shutil.rmtree(aside)
    else:
        aside.unlink(missing_ok=True)
