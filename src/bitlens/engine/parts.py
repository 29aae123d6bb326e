"""Parts of a plan: its batches cut once and for all, so that whoever sums up which of them, and
where, adds the same numbers in the same order."""

from collections.abc import Sequence

from bitlens.engine.accumulators import Accumulator, DocumentSums
from bitlens.engine.keys import Accumulators, Key

PARTS = 16
"""At most: as many can be summed up at a time. Of more, each would make the twins' weights for
fewer tokens."""


def parts(tokens: Sequence[int]) -> list[int]:
    """Which part each of some batches belongs to, from 0, never falling; `tokens`: how many each
    has. Parts have about as many; one of a few large batches may have none."""
    whole, before, found = sum(tokens), 0, []
    for own in tokens:
        # By its middle, so that none begins with the last tokens of another.
        found.append(PARTS * (2 * before + own) // (2 * whole))
        before += own
    return found


class PartedSums:
    """Accumulators at one depth: of all parts that are closed, and of the one that is open.

    A part is summed up by itself and then added; nothing is added batch by batch to what other
    parts have, so that a part that is summed up elsewhere changes no digit.
    """

    def __init__(self, whole: Accumulators | None = None, part: Accumulators | None = None) -> None:
        self.whole: Accumulators = {} if whole is None else whole
        self.part: Accumulators = {} if part is None else part
        """Of the open part."""

    def close(self) -> None:
        """The open part is complete and counts with the others."""
        for key in list(self.part):
            self._add(key, self.part.pop(key))

    def _add(self, key: Key, own: Accumulator) -> None:
        # A document in several parts is added up within each first.
        own.documents = {name: [DocumentSums.joined(of)] for name, of in own.documents.items()}
        known = self.whole.setdefault(key, own)
        if known is not own:
            known.add(own)
