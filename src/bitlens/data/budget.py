"""Documents taken one after the other, as windows of tokens, until a budget of tokens is spent."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitlens.data.files import Document
from bitlens.data.groups import NONE
from bitlens.data.tokenisation import Ids, TokenisedDocument
from bitlens.errors import DataError

SPREAD = 100
"""Documents that a budget of tokens is spread over at least, where there are so many: intervals
rest on documents, and below about 100 they are too narrow (benchmarks/coverage.md)."""
SHORTEST = 2
"""Tokens of its own that a document needs for there to be anything to predict."""


@dataclass(kw_only=True)
class Budget:
    """Documents on their way into a corpus, and how much of it is left to take."""

    room: int
    """Tokens of the text in a window."""
    opening: int | None
    """The token that each window begins with, if any."""
    left: float
    """Tokens, those that open windows included."""
    cap: int | None
    """Windows that a document by itself gives at most."""
    documents: list[Document] = field(default_factory=list)
    windows: list[list[Ids]] = field(default_factory=list)
    """One list a document."""
    mark: list[list[NDArray[np.int64]]] = field(default_factory=list)
    """Of each token of each window, which of its document's marks it belongs to; -1: none."""
    short: int = 0
    """Documents dropped because there was nothing to predict."""
    cut: bool = False
    """Whether the budget ended within the last document."""
    capped: int = 0
    """Documents that could have given more windows than the budget lets one document give."""

    def take(self, given: TokenisedDocument) -> bool:
        """A document by itself, or as much of its beginning as there is room for; False where the
        budget ends with it."""
        if len(given.ids) < SHORTEST:
            self.short += 1
            return True
        rows = _windows(given.ids, self.room, self.opening)
        whole = sum(map(len, rows))
        if not self.documents and len(rows[0]) > self.left:
            rows = [rows[0][: int(self.left)], *rows[1:]]
        if self.cap is not None and len(rows) > self.cap:
            self.capped += 1
            rows = rows[: self.cap]
        sizes = np.cumsum([len(row) for row in rows])
        fitting = int(np.searchsorted(sizes, self.left, side="right"))
        if kept := rows[:fitting]:
            self._add(given, kept)
            self.cut = sum(map(len, kept)) < whole
        return fitting == len(rows)

    def take_group(self, given: Sequence[TokenisedDocument]) -> bool:
        """A group, whole; False, and nothing of it, where there is no room for all of it.

        BitlensError for a group with a document in which nothing can be predicted, and where not
        even the first group fits.
        """
        for one in given:
            if len(one.ids) < SHORTEST:
                raise DataError(
                    f"{one.document.name} of the group {one.document.group} has "
                    f"{len(one.ids)} token.",
                    f"at least {SHORTEST} in every document of a group.",
                    "leave the whole group out, or write longer prompts.",
                )
        windows = [_windows(one.ids, self.room, self.opening) for one in given]
        size = sum(len(row) for rows in windows for row in rows)
        if size > self.left:
            if not self.documents:
                raise DataError(
                    f"The group {given[0].document.group} has {size:,} tokens.",
                    f"at most {int(self.left):,}, the budget: a group is taken whole.",
                    f"--tokens {size}, or 0 for all of the text.",
                )
            return False
        for one, rows in zip(given, windows, strict=True):
            self._add(one, rows)
        self.cut = False
        return True

    def _add(self, given: TokenisedDocument, rows: list[Ids]) -> None:
        self.documents.append(given.document)
        self.windows.append(rows)
        self.left -= sum(map(len, rows))
        if given.mark is None:
            self.mark.append([np.full(len(row), NONE) for row in rows])
        else:
            opening = None if self.opening is None else NONE
            marks = _windows(given.mark, self.room, opening)
            self.mark.append([mark[: len(row)] for mark, row in zip(marks, rows, strict=False)])


def take(
    given: Iterable[TokenisedDocument],
    found: int,
    *,
    room: int,
    opening: int | None,
    max_tokens: int | None,
) -> Budget:
    """Documents one after the other until the budget is spent, groups whole.

    No document by itself gives more than its part of a budget shared by `SPREAD` documents (or by
    all of `found`, where there are fewer): a few long ones would leave nothing to resample.
    """
    windows = room + (opening is not None)
    cap = None if max_tokens is None else -(-max_tokens // (min(SPREAD, found) * windows))
    left = np.inf if max_tokens is None else max_tokens
    budget = Budget(room=room, opening=opening, left=left, cap=cap)
    for group, documents in groupby(given, lambda one: one.document.group):
        if group is None:
            if not all(map(budget.take, documents)):
                break
        elif not budget.take_group(list(documents)):
            break
    return budget


def _windows(ids: NDArray[Any], room: int, opening: int | None) -> list[NDArray[Any]]:
    windows = np.split(ids, np.arange(room, len(ids), room))
    if opening is None:
        return windows
    return [np.insert(window, 0, opening) for window in windows]
