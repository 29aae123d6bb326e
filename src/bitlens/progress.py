"""A bar on a terminal: what is done of what, where it stands, and how long the rest will take."""

import os
from types import TracebackType
from typing import Self

LINE = "{desc}: {percentage:3.0f} %|{bar}| {n_fmt} of {total_fmt} {unit}{postfix}, {remaining} left"
"""The bar takes what a line of the terminal has left."""


class ProgressBar:
    """A bar while it is entered; nothing where nobody looks at a terminal that can go back on its
    line."""

    def __init__(self, what: str, unit: str, total: float) -> None:
        from tqdm import tqdm

        self._bar = tqdm(
            desc=what,
            unit=unit,
            total=total,
            unit_scale=total >= 1000,
            bar_format=LINE,
            dynamic_ncols=True,
            disable=True if os.environ.get("TERM") == "dumb" else None,
        )
        self._begun = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    def add(self, done: float) -> None:
        """So much more is done."""
        self._bar.update(done)

    def at(self, where: str) -> None:
        """Where it stands: `block 3 of 12`."""
        self._bar.set_postfix_str(where, refresh=False)

    def step(self, name: str) -> None:
        """The next step begins, and the one before it is done."""
        self.add(1 if self._begun else 0)
        self._begun = True
        self.at(name)
        self._bar.refresh()
