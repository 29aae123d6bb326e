"""The shortest text of a mixture that gives every matrix the format it is to have."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from bitlens.compression.patterns import matches
from bitlens.errors import InputError

KEEP = "keep"
"""In place of a compression: the matrix stays as it is."""
_EVERY = "*"
"""The pattern of every matrix of the blocks."""


def mixture(formats: Mapping[str, str]) -> str:
    """`mixed:...`, which gives each of these matrices its compression and leaves alone what is to
    `KEEP`; `formats` by full module paths.

    All that could be compressed must be named, or patterns may reach what is not. Matrices of
    blocks are those with a number in their path, and only those are what `*` stands for. Of what
    was tried the text with the fewest patterns: rules are put in front of each other, each time the
    one that sets most right, after every way to begin. BitlensError where nothing is compressed.
    """
    wanted = sorted(set(formats.values()) - {KEEP})
    if not wanted:
        raise InputError(
            f"All {len(formats)} matrices of the plan stay as they are.",
            "at least one that is compressed.",
            "a smaller --budget.",
        )
    names = sorted(formats)
    search = _Search(names, [formats[name] for name in names], _candidates(names))
    found = [search.begun(with_format) for with_format in (KEEP, *wanted)]
    _, _, text = min((size, len(text), text) for size, text in found)
    return text


def of_a_block(name: str) -> bool:
    """Is the matrix of this module path one of a block's? Blocks are numbered."""
    return any(part.isdecimal() for part in name.split("."))


def _candidates(names: Iterable[str]) -> list[str]:
    """Patterns of one matrix, of a kind of matrices, of a block and of a part of one; the shortest
    first."""
    found = set[str]()
    for name in names:
        parts = name.split(".")
        numbers = [place for place, part in enumerate(parts) if part.isdecimal()]
        kinds = range(numbers[-1] + 1, len(parts)) if numbers else []
        found.add(name)
        # `1.*` is experts.1 of every block too, where there are experts; `h.1.*` is one block.
        for first in (*numbers, *(place - 1 for place in numbers if place), *kinds):
            found.add(".".join(parts[first:]))
            found |= {".".join(parts[first:end]) + ".*" for end in range(first + 1, len(parts))}
    return sorted(found, key=lambda pattern: (len(pattern), pattern))


class _Search:
    """Rules for these matrices, found greedily."""

    def __init__(self, names: Sequence[str], wanted: Sequence[str], patterns: list[str]) -> None:
        self._wanted = np.array(wanted)
        self._kept = self._wanted == KEEP
        self._patterns = patterns
        self._hits = np.array([[matches(name, pattern) for name in names] for pattern in patterns])
        self._counted = self._hits.astype(np.float32)
        self._of_blocks = np.array([of_a_block(name) for name in names])

    def begun(self, everywhere: str) -> tuple[int, str]:
        """The number of patterns and the text where all that no rule names has this format."""
        rules: dict[int, str] = {}
        now = self._assigned(rules, everywhere)
        while (wrong := (now != self._wanted) & ~self._kept).any():
            place, format_ = self._best(wrong, now)
            # What a pattern was for is what it is for again: the later rule stands before it.
            rules.pop(place, None)
            rules = {place: format_, **rules}
            now = self._assigned(rules, everywhere)
        for place in list(rules):
            fewer = {other: format_ for other, format_ in rules.items() if other != place}
            if (self._assigned(fewer, everywhere) == now).all():
                rules = fewer
        excluded = self._exclusions(self._kept & (now != KEEP))
        written = [f"{self._patterns[place]}=[{format_}]" for place, format_ in rules.items()]
        written += [f"{_EVERY}=[{everywhere}]"] if everywhere != KEEP else []
        size = len(written) + len(excluded)
        written += [f"exclude=[{','.join(excluded)}]"] if excluded else []
        return size, f"mixed:{','.join(written)}"

    def _assigned(self, rules: dict[int, str], everywhere: str) -> np.ndarray:
        """What the first rule that matches says of each matrix."""
        now = np.where(self._of_blocks, everywhere, KEEP).astype(object)
        for place, format_ in reversed(rules.items()):
            now[self._hits[place]] = format_
        return now

    def _best(self, wrong: np.ndarray, now: np.ndarray) -> tuple[int, str]:
        """The pattern and the format that set most right, less what they set wrong."""
        right = now == self._wanted
        gains = {
            one: self._counted @ (wrong & (self._wanted == one)).astype(np.float32)
            - self._counted @ (right & (self._wanted != one)).astype(np.float32)
            for one in dict.fromkeys(self._wanted[wrong])
        }
        format_ = max(gains, key=lambda one: (gains[one].max(), one))
        place = int(gains[format_].argmax())
        if gains[format_][place] <= 0:
            raise ValueError(f"no pattern tells {self._patterns[place]} from other matrices")
        return place, format_

    def _exclusions(self, left: np.ndarray) -> list[str]:
        """Patterns of what is to be kept and of nothing else, until none of these is left."""
        allowed = ~(self._hits & ~self._kept).any(1)
        found = []
        while left.any():
            gains = (self._hits & left).sum(1) * allowed
            place = int(gains.argmax())
            if not gains[place]:
                raise ValueError("no pattern tells what is kept from what is not")
            found.append(self._patterns[place])
            left = left & ~self._hits[place]
        return found
