"""What a benchmark is asked for by: its name, and the local file or folder that holds it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from bitlens.errors import InputError


@dataclass(frozen=True)
class AskedBenchmark:
    """A benchmark by name, and where it lies."""

    name: str
    path: str | None = None
    """A file or a folder; None: wherever its definition says."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """`mmlu_cs`, or `mmlu_cs=FOLDER`. InputError for an empty half."""
        name, given, path = (part.strip() for part in text.partition("="))
        if not name or (given and not path):
            raise InputError(
                f"The benchmark is {text!r}.",
                "a name, or a name and the file or folder that holds it.",
                "mmlu_cs=FOLDER",
            )
        return cls(name, path or None)

    def at(self, place: Callable[[str], str]) -> str:
        """As it is written, its path as `place` has it."""
        return self.name if self.path is None else f"{self.name}={place(self.path)}"
