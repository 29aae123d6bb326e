"""Categories of what is read: the kind of each document, by a field of its row, or how deep in the
context a token stands.

A document is still the unit of sampling; a category is only a way to look at some of them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bitlens.data.files import Document
from bitlens.errors import DataError

if TYPE_CHECKING:
    # What names a text is checked before numpy is loaded.
    import numpy as np
    from numpy.typing import NDArray

DEPTH = "depth"
"""In place of a field: positions by how many tokens of their window stand before them."""
DEPTHS = (0, 16, 64, 256, 1024, 4096, 16_384, 65_536)
"""Where categories of depth begin: each is four times as long as the one before it."""
MOST = 24
"""Different categories: every sum is kept once for each."""
WITHOUT = "(none)"
"""The category of a document whose row has no such field."""
_LONGEST = 60
"""Characters of a category's name."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Categories:
    """Of which category is every position of a corpus?"""

    field: str
    labels: tuple[str, ...]
    """In alphabetical order; of depth, from the shallowest."""
    of: NDArray[np.int64] | None
    """`[documents]`: which of the labels each has; None where positions have them, by depth."""
    begins: tuple[int, ...] = ()
    """Of depth, the first place in the window of each label."""

    @property
    def identity(self) -> str:
        """Which documents are of which category? For the identity of what is measured of them."""
        digest = hashlib.sha256("\n".join((self.field, *self.labels)).encode())
        if self.of is not None:
            digest.update(self.of.astype("<i8").tobytes())
        return digest.hexdigest()[:16]

    def at(self, document: NDArray[np.int64], place: NDArray[np.int64]) -> NDArray[np.int64]:
        """The label of each position, by its document and its place in the window, 0 the first."""
        import numpy as np

        if self.of is not None:
            return self.of[document]
        return np.searchsorted(np.array(self.begins), place, side="right") - 1


def category_of(fields: Mapping[str, Any], field: str, place: str) -> str | None:
    """The category that a row gives, None where it does not say. DataError for one that is no
    name: `place` names the row."""
    value = fields.get(field)
    if value is None or value == "":
        return None
    if not isinstance(value, str | int | bool):
        raise DataError(
            f"The {field} of {place} is {value!r:.40}.",
            "a string, a whole number, true or false: the name of a category.",
            "--categories with another field.",
        )
    return (str(value).lower() if isinstance(value, bool) else str(value))[:_LONGEST]


def categories_of(
    documents: Sequence[Document], field: str | None, *, source: str, context: int
) -> Categories | None:
    """The categories of these documents by a field of theirs, or of their positions by depth, up
    to the context; None where nobody names a field. DataError for a field that none has, and for
    more than MOST of them."""
    import numpy as np

    if field is None:
        return None
    if field == DEPTH:
        begins = tuple(begin for begin in DEPTHS if begin < context)
        ends = (*begins[1:], context)
        labels = tuple(f"{a}–{b - 1}" for a, b in zip(begins, ends, strict=True))
        return Categories(field=field, labels=labels, of=None, begins=begins)
    names = [document.category or WITHOUT for document in documents]
    counts = Counter(names)
    if set(counts) <= {WITHOUT}:
        raise DataError(
            f"No document of {source} has the field {field!r}.",
            f"rows with a field that names their category, or {DEPTH} for depth in the context.",
            'JSON lines such as {"text": "...", "language": "zh"} and --categories language.',
        )
    if len(counts) > MOST:
        shown = ", ".join(sorted(counts)[:3])
        raise DataError(
            f"The field {field!r} of {source} has {len(counts):,} different values ({shown}, ...).",
            f"at most {MOST} categories, with {20} documents or more in each.",
            "a field that several documents share.",
        )
    if len(counts) == 1:
        raise DataError(
            f"The field {field!r} is {names[0]} in every document of {source} that is read.",
            "at least two categories, which can be compared.",
            "more --tokens, or another field.",
        )
    labels = tuple(sorted(counts))
    number = {label: n for n, label in enumerate(labels)}
    return Categories(field=field, labels=labels, of=np.array([number[name] for name in names]))
