"""Documents that belong together, with their labels and marked tokens: the clean and corrupt
prompts of circuits, the labelled prompts of probes.

A group stays together in a batch and in a shard, is taken whole or not at all, and is one unit of
sampling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, Any

from bitlens.data.files import Document, Mark
from bitlens.errors import DataError

if TYPE_CHECKING:
    # What names a text is checked before numpy is loaded, which takes as long as all else.
    import numpy as np
    from numpy.typing import NDArray

NONE = -1
"""In place of the number of a group, a label or a mark."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Groups:
    """Which documents of a corpus belong together, what each is labelled, what is marked in it."""

    first: NDArray[np.int64]
    """`[documents]`: the first document of each one's group; -1 for one that is in none."""
    label: NDArray[np.int64]
    """`[documents]`: which of `labels` it has; -1: none."""
    labels: tuple[str, ...]
    """In alphabetical order."""
    mark: tuple[NDArray[np.int64], ...]
    """A number for each token of each row: which of its document's marks, counted from 0 in their
    own order, it belongs to; -1: none."""

    @property
    def together(self) -> NDArray[np.int64]:
        """`[documents]`: the first document of each one's group, itself for one in none."""
        import numpy as np

        return np.where(self.first == NONE, np.arange(len(self.first)), self.first)

    def label_of(self, document: int) -> str:
        """The label of a document; empty where it has none."""
        number = int(self.label[document])
        return "" if number == NONE else self.labels[number]

    def select(self, rows: NDArray[np.bool_]) -> Groups:
        """The groups of some of the rows; documents keep their numbers."""
        mark = tuple(compress(self.mark, rows))
        return Groups(first=self.first, label=self.label, labels=self.labels, mark=mark)


def groups_of(documents: Sequence[Document], mark: Sequence[NDArray[np.int64]]) -> Groups | None:
    """The groups of a corpus that holds these documents in this order, with what is marked in its
    rows; None where no document is in a group."""
    import numpy as np

    if all(document.group is None for document in documents):
        return None
    first: dict[str, int] = {}
    for number, document in enumerate(documents):
        if document.group is not None:
            first.setdefault(document.group, number)
    labels = tuple(sorted({d.label for d in documents if d.label is not None}))
    number_of = {label: number for number, label in enumerate(labels)}
    return Groups(
        first=np.array([NONE if d.group is None else first[d.group] for d in documents]),
        label=np.array([NONE if d.label is None else number_of[d.label] for d in documents]),
        labels=labels,
        mark=tuple(mark),
    )


def members(documents: Sequence[Document]) -> list[list[int]]:
    """The numbers of the documents of each group, in the order in which groups begin; a document
    without one is alone."""
    found: dict[str | int, list[int]] = {}
    for number, document in enumerate(documents):
        found.setdefault(number if document.group is None else document.group, []).append(number)
    return list(found.values())


def marked_tokens(
    document: Document, tokens: int, spans: Sequence[tuple[int, int]]
) -> NDArray[np.int64]:
    """`[tokens]`: which of the document's marks each of its own tokens belongs to, -1 for none.

    `spans` are the characters of each token; a span of characters marks every token that holds one
    of them. BitlensError for a mark that is nowhere in the document or meets another.
    """
    import numpy as np

    found = np.full(tokens, NONE, dtype=np.int64)
    for number, mark in enumerate(document.marks):
        if isinstance(mark, int):
            places = [mark % tokens] if -tokens <= mark < tokens else []
        else:
            inside = 0 <= mark[0] < mark[1] <= len(document.text)
            touched = (
                n for n, (start, end) in enumerate(spans) if start < mark[1] and mark[0] < end
            )
            places = list(touched) if inside else []
        if not places:
            raise DataError(
                f"The mark {_told(mark)} of {document.name} is nowhere in it: it has {tokens} "
                f"tokens and {len(document.text)} characters.",
                "the number of one of its tokens, or [start, end] of its characters, end left out.",
                "count from 0 and without BOS; negative numbers of tokens count from the end.",
            )
        if (found[places] != NONE).any():
            raise DataError(
                f"The mark {_told(mark)} of {document.name} meets another one in a token.",
                "marks that share no token of this model's tokenizer.",
                "one mark over both, or words that are tokens of their own.",
            )
        found[places] = number
    return found


def in_group(document: Document, fields: Mapping[str, Any], place: str) -> Document:
    """The document with what an object of JSON says about its `group`, `label` and `marks`; as it
    is where the object names no group. `place` names the object in errors. DataError for a name
    that is none."""
    group, label, marks = (fields.get(name) for name in ("group", "label", "marks"))
    if group is None:
        return document
    for name, value in {"group": group, "label": label}.items():
        if value is not None and not isinstance(value, str | int):
            raise DataError(
                f"The {name} of {place} is {value!r:.40}.",
                "a string, a whole number, true or false.",
                f"a name for each {name}.",
            )
    return document._replace(
        group=_name(group),
        label=None if label is None else _name(label),
        marks=_marks(marks, place),
    )


def _name(value: str | int) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _marks(value: Any, place: str) -> tuple[Mark, ...]:
    found: list[Mark] = []
    for mark in value if isinstance(value, list) else () if value is None else (value,):
        match mark:
            case int() if mark is not True and mark is not False and isinstance(value, list):
                found.append(mark)
            case [int() as start, int() as end]:
                found.append((start, end))
            case _:
                raise DataError(
                    f"The marks of {place} hold {mark!r:.40}.",
                    "a list of numbers of tokens and of spans of characters, [start, end].",
                    '"marks": [[10, 14], -1] marks the characters 10 to 13 and the last token.',
                )
    return tuple(found)


def _told(mark: Mark) -> str:
    return str(mark if isinstance(mark, int) else list(mark))
