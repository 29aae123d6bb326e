"""Names to classes, plug-ins by entry point, and what was probably meant."""

import difflib
import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from bitlens.errors import InputError


def nearest(name: str, names: Iterable[str]) -> str:
    """What did a misspelt name probably mean? A sentence, empty when nothing is near."""
    close = difflib.get_close_matches(name, list(names), n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(close)}?" if close else ""


def nearest_file(path: Path) -> str:
    """Which of its neighbours did a path probably mean? A sentence, empty when none is near: of
    names that say the same before the dot, or all but a letter or two."""
    try:
        neighbours = {found.name: found.stem.lower() for found in path.parent.iterdir()}
    except (OSError, ValueError):
        return ""
    close = difflib.get_close_matches(path.stem.lower(), neighbours.values(), n=3, cutoff=0.76)
    names = sorted(name for name, stem in neighbours.items() if stem in close)[:3]
    return f"Did you mean {' or '.join(names)}?" if names else ""


T = TypeVar("T")


class Plugins:
    """What other packages bring through one entry-point group, loaded when it is first asked for:
    it registers itself."""

    def __init__(self, group: str) -> None:
        self._group = group
        self._loaded = False

    def load(self) -> None:
        """Import every module, or object, that an installed package names in the group."""
        if not self._loaded:
            self._loaded = True
            for point in entry_points(group=self._group):
                point.load()


class Registry(Generic[T]):
    """Classes by name. A plug-in package adds one through the entry-point group `group`; of ours,
    `modules` says where each is, so that a name is known before what it needs is loaded."""

    def __init__(self, kind: str, group: str, modules: Mapping[str, str] | None = None) -> None:
        self.kind = kind
        self._plugins = Plugins(group)
        self._modules = modules or {}
        self._classes: dict[str, type[T]] = {}

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Decorator: make a class known under a name. A name is taken once."""

        def add(cls: type[T]) -> type[T]:
            if name in self._classes or self._modules.get(name, cls.__module__) != cls.__module__:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._classes[name] = cls
            return cls

        return add

    def __iter__(self) -> Iterator[str]:
        self._plugins.load()
        return iter(sorted({*self._modules, *self._classes}))

    def __contains__(self, name: str) -> bool:
        return name in set(self)

    def require(self, name: str) -> None:
        """BitlensError for a name that is none; nothing is loaded for one that is."""
        if name not in self:
            raise InputError(
                f"There is no {self.kind} called {name!r}.",
                f"one of {', '.join(self)}.",
                nearest(name.lower(), self) or f"bitlens list shows every {self.kind}.",
            )

    def __getitem__(self, name: str) -> type[T]:
        self.require(name)
        if name not in self._classes:
            import_module(self._modules[name])
        return self._classes[name]


def foreign_code(setting: Any) -> set[str]:
    """A hash of each package that brings a compression or an analysis which is not ours: of what
    is asked for, and of what stands in its settings. Another version of it is another method."""
    found = set[str]()
    if is_dataclass(setting):
        if code := code_of(type(setting).__module__):
            found.add(code)
        for part in fields(setting):
            found |= foreign_code(getattr(setting, part.name))
    elif isinstance(setting, list | tuple):
        for item in setting:
            found |= foreign_code(item)
    return found


def code_of(module: str) -> str:
    """A hash of the package that a module is of; empty for ours."""
    package = module.partition(".")[0]
    return "" if package == __name__.partition(".")[0] else _package(package)


@cache
def _package(name: str) -> str:
    """The sources of a package, or of a module by itself. What was typed at a prompt has none: it
    is itself, in this process only."""
    module = sys.modules[name]
    roots = [Path(root) for root in getattr(module, "__path__", ())]
    files = [(f.relative_to(root).as_posix(), f) for root in roots for f in root.rglob("*.py")]
    files = files or [(Path(f).name, Path(f)) for f in [getattr(module, "__file__", None)] if f]
    digest = hashlib.sha256(name.encode() if files else os.urandom(16))
    for place, file in sorted(files):
        digest.update(place.encode() + file.read_bytes())
    return digest.hexdigest()[:16]
