"""What of a text can a reader see? The rest is written out, so that nothing hides in a name."""

import re
from typing import Any

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
