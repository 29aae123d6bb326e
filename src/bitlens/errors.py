"""The errors a user can meet, by what is at fault: found, expected, and what to do."""

import errno
import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

LONGEST_PART = 2000
"""Characters of one part of a message; of more, the beginning and the end are told."""
LONGEST_TOLD = 300
"""Characters of what a library says; the rest is in its own documentation."""


class BitlensError(Exception):
    """A mistake the user can mend; printed without a traceback, exit code 2.

    `found` names the value met, `expected` what would have worked, `remedy` what to type. Each is
    one line, whatever the names in it hold, and no longer than anybody reads. What a caller may
    want to tell apart has a type of its own below; what the system says of a file is of none.
    """

    def __init__(self, found: str, expected: str, remedy: str) -> None:
        self.found = _shortened(in_one_line(found))
        self.expected = _shortened(in_one_line(expected))
        self.remedy = _shortened(in_one_line(remedy))
        super().__init__(f"{self.found}\nExpected: {self.expected}\nTry: {self.remedy}")


class InputError(BitlensError):
    """A name, a setting or an option that cannot be what was meant."""


class ModelError(BitlensError):
    """A model, or a checkpoint of one, that cannot be read, run or compressed as asked."""


class DataError(BitlensError):
    """Texts, documents or prompts that cannot be read, are too few, or are not apart."""


class SaeError(BitlensError):
    """An SAE that cannot be read, does not belong to its model, or does not fit it."""


class ResultsError(BitlensError):
    """A folder of results that is damaged, unfinished, in use, or of other settings."""


class CapacityError(BitlensError):
    """What does not fit into the memory or onto the disk there is."""


def _shortened(part: str) -> str:
    half = LONGEST_PART // 2
    return part if len(part) <= LONGEST_PART else f"{part[:half]} ... {part[-half:]}"


def failed(what: str, reason: str) -> BitlensError:
    """The error for a twin that could not be run. `reason`: as it was recorded, perhaps an error of
    ours in its three lines."""
    found, _, rest = reason.partition("\nExpected: ")
    expected, _, remedy = rest.partition("\nTry: ")
    return ModelError(
        f"{what} failed: {found}",
        expected or "weights with which every block computes finite numbers.",
        remedy or "more bits or smaller groups for it, or the others without it.",
    )


def out_of_memory(error: BaseException) -> bool:
    """Does this say that there is no memory left, on a GPU, on a CPU or for this process?"""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    # torch and the loader of libraries have no type of error for it.
    return any(words in str(error).lower() for words in _NO_MEMORY)


_NO_MEMORY = ("can't allocate memory", "cannot allocate memory", "not enough memory")


def told(error: BaseException) -> str:
    """What an exception of a library says, in one line without a full stop: whole words only, so
    that no address is cut in two; its type where it says nothing."""
    said = (error.strerror if isinstance(error, OSError) else None) or str(error)
    words = said.split() or [type(error).__name__]
    ends = list(accumulate(len(word) + 1 for word in words))
    kept = max(1, bisect_right(ends, LONGEST_TOLD))
    text = " ".join(words[:kept]).rstrip(".")
    return text if kept == len(words) else f"{text} ..."


def path_of(location: Sequence[str | int]) -> str:
    """`models[1].dtype`."""
    steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in location]
    return "".join(steps).lstrip(".")


UNSEEN = re.compile(
    "["
    # Controls, halves of a surrogate pair, separators of lines and paragraphs.
    "\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029"
    # What Unicode lists as Default_Ignorable_Code_Point: soft hyphens, fillers, zero widths,
    # bidirectional marks, variation selectors, tags.
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "]"
)
"""Characters that hide, reorder or steer text (Unicode Standard Annex 44)."""


def visible(value: Any) -> Any:
    """The same value, with every character nobody can see written as ⟨U+202E⟩ in its strings.

    Names and reasons come from models and files we did not write, and go to pages and terminals.
    """
    if isinstance(value, str):
        return UNSEEN.sub(_written, value)
    if isinstance(value, list):
        return [visible(item) for item in value]
    if isinstance(value, dict):
        return {visible(key): visible(item) for key, item in value.items()}
    return value


def in_one_line(text: str) -> str:
    """The visible text with its line breaks written out too: a name cannot begin a line."""
    return str(visible(text)).replace("\n", "⟨U+000A⟩")


def _written(match: re.Match[str]) -> str:
    return f"⟨U+{ord(match[0]):04X}⟩"
