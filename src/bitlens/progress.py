"""What is done of what, where it stands, and how long the rest will take: a bar on a terminal, and
elsewhere a line now and then."""

import os
import sys
import time
from types import TracebackType
from typing import Self

LINE = "{desc}: {percentage:3.0f} %|{bar}| {n_fmt} of {total_fmt} {unit}{postfix}, {remaining} left"
"""The bar takes what a line of the terminal has left."""
EVERY = 300.0
"""Seconds between two lines where there is no bar, in a log of a job that takes hours."""


class ProgressBar:
    """A bar while it is entered; where standard error is no terminal that can go back on its line,
    a line every five minutes."""

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
        self._lines = _Lines(what, unit, total) if self._bar.disable else None

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
        if self._lines is not None:
            self._lines.add(done)

    def at(self, where: str) -> None:
        """Where it stands: `block 3 of 12`."""
        self._bar.set_postfix_str(where, refresh=False)
        if self._lines is not None:
            self._lines.where = where

    def step(self, name: str) -> None:
        """The next step begins, and the one before it is done."""
        self.add(1 if self._begun else 0)
        self._begun = True
        self.at(name)
        self._bar.refresh()


class _Lines:
    """What a bar would show, as lines of a log."""

    def __init__(self, what: str, unit: str, total: float) -> None:
        self._what, self._unit, self._total = what, unit, total
        self._done = 0.0
        self._first: tuple[float, float] | None = None
        """When it was first told of anything, and how much was done then: what an earlier run left
        says nothing of how fast this one is."""
        self._told = time.monotonic()
        self.where = ""

    def add(self, done: float) -> None:
        """So much more is done; says so where it is time."""
        self._done += done
        now = time.monotonic()
        if self._first is None:
            self._first = now, self._done
        if now - self._told < EVERY:
            return
        self._told = now
        since, before = self._first
        left = ""
        if self._done > before:
            rest = (self._total - self._done) * (now - since) / (self._done - before)
            left = f", about {max(1, round(rest / 60)):,} min left"
        where = f", {self.where}" if self.where else ""
        print(
            f"{self._what}: {self._done:,.0f} of {self._total:,.0f} {self._unit}{where}{left}",
            file=sys.stderr,
            flush=True,
        )
