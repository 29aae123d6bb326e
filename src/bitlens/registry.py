"""Names to classes, plug-ins by entry point, and what was probably meant."""

import difflib
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from bitlens.errors import BitlensError


def nearest(name: str, names: Iterable[str]) -> str:
    """What did a misspelt name probably mean? A sentence, empty when nothing is near."""
    close = difflib.get_close_matches(name, list(names), n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(close)}?" if close else ""


T = TypeVar("T")


class Registry(Generic[T]):
    """Classes by name. A plug-in package adds one through the entry-point group `group`."""

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self._group = group
        self._classes: dict[str, type[T]] = {}
        self._plugins_loaded = False

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Decorator: make a class known under a name. A name is taken once."""

        def add(cls: type[T]) -> type[T]:
            if name in self._classes:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._classes[name] = cls
            return cls

        return add

    def _load_plugins(self) -> None:
        if not self._plugins_loaded:
            self._plugins_loaded = True
            for point in entry_points(group=self._group):
                point.load()

    def __iter__(self) -> Iterator[str]:
        self._load_plugins()
        return iter(sorted(self._classes))

    def __getitem__(self, name: str) -> type[T]:
        self._load_plugins()
        if name not in self._classes:
            raise BitlensError(
                f"There is no {self.kind} called {name!r}.",
                f"one of {', '.join(self)}.",
                nearest(name, self._classes) or f"bitlens list shows every {self.kind}.",
            )
        return self._classes[name]
