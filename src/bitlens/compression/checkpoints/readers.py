"""Readers of checkpoints: each module of this package registers the formats that it reads."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from bitlens.compression.checkpoints.checkpoint import (
    CheckpointRequest,
    LoadedCheckpoint,
    ReadCheckpoint,
)

Read = Callable[[CheckpointRequest], ReadCheckpoint]
ReadFile = Callable[[CheckpointRequest], LoadedCheckpoint]


@dataclass(frozen=True)
class Readers:
    """What reads which format, and the optional packages that it takes."""

    by_method: dict[str | None, Read]
    """Folders, by `quant_method` in their config.json; None: those that have none."""
    by_suffix: dict[str, ReadFile]
    """Single files, by the end of their name."""
    own: dict[str | None, Callable[[Path], bool]]
    """By method: whether a folder is of that method though its config.json does not say so."""
    packages: dict[str, str]
    """By package, the extra of bitlens that brings it."""


_FOUND = Readers({}, {}, {}, {})


def reader(
    *methods: str | None,
    package: str | None = None,
    extra: str = "",
    is_own: Callable[[Path], bool] | None = None,
) -> Callable[[Read], Read]:
    """Decorator: what reads folders with one of these values of `quant_method`.

    Args:
        methods: as config.json has them; None where it has none.
        package: the optional package that reading takes.
        extra: the extra of bitlens that brings it.
        is_own: tells a folder of the first of these methods whose config.json does not say so.
    """

    def register(read: Read) -> Read:
        _FOUND.by_method.update(dict.fromkeys(methods, read))
        if is_own is not None:
            _FOUND.own[methods[0]] = is_own
        if package is not None:
            _FOUND.packages[package] = extra
        return read

    return register


def file_reader(suffix: str, *, package: str, extra: str) -> Callable[[ReadFile], ReadFile]:
    """Decorator: what reads single files whose names end like this, with the optional package
    that it takes and the extra of bitlens that brings it."""

    def register(read: ReadFile) -> ReadFile:
        _FOUND.by_suffix[suffix] = read
        _FOUND.packages[package] = extra
        return read

    return register


@cache
def readers() -> Readers:
    """All that the modules of this package register."""
    for module in iter_modules([str(Path(__file__).parent)]):
        import_module(f"{__package__}.{module.name}")
    return _FOUND
