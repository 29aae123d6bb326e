"""Documents as the page holds them: an entry each, and every number back as it was."""

from typing import Any

import pytest

from bitlens.report.page.browsers import DocumentBrowser, DocumentReading, Predicted, ReadDocument
from bitlens.report.page.documents import documents_data, letters


def test_letters_by_hand() -> None:
    """Nought is `0`, then -1, 1, -2, 2: the letters after it in their order."""
    assert letters([0, -1, 1, -2, 2]) == "01234"
    assert letters([100, -1000]) == chr(248) + chr(48 + 1999)


def values(text: str) -> list[int]:
    """What the page reads: the odd below nought."""
    codes = [ord(letter) - 48 for letter in text]
    return [-(code + 1) // 2 if code % 2 else code // 2 for code in codes]


TEXT = ReadDocument(
    number=4,
    name="a document",
    tokens=("a", "b", "c"),
    offsets=(1, 2, 49),
    counts=(False, True, True),
    reference=Predicted(
        ids=((), (7, 8), (9, 7)),
        texts=((), ("b", "a"), ("x", "b")),
        shares=((), (0.5, 0.25), (0.9, 0.0004)),
        target=(None, 0.5, 0.0123),
    ),
)
READING = DocumentReading(
    document=TEXT,
    kinds=("worst",),
    rank=1,
    kl=0.123456,
    positions=7,
    changed=2,
    by_token=(None, 0.0345678, 1.5),
    twin=Predicted(
        ids=((), (8, 7), (9, 3)),
        texts=((), ("a", "b"), ("x", "c")),
        shares=((), (0.4, 0.3), (0.95, 0.01)),
        target=(None, 0.3, 0.01),
    ),
)


@pytest.fixture
def packed() -> tuple[dict[str, Any], list[Any]]:
    """The list of documents and the entries."""
    entries: list[Any] = []

    def entry(value: Any) -> int:
        entries.append(value)
        return 40 + len(entries)

    part = DocumentBrowser(name="d", model="demo", twins=(("t", (READING,)),), total=30)
    return documents_data(part, entry), entries


def test_a_list_names_its_documents(packed: tuple[dict[str, Any], list[Any]]) -> None:
    """Number, name and entry once; of each twin why it is shown, rank, mean and counts."""
    index, entries = packed
    assert index["documents"] == [[4, "a document", 41]]
    assert index["twins"] == [["t", [[4, ["worst"], 1, 0.123, 7, 2]]]]
    assert (index["total"], len(entries)) == (30, 1)


def test_every_number_is_there(packed: tuple[dict[str, Any], list[Any]]) -> None:
    """Tokens by number, probabilities in thousandths, the twin's as what is more; a token that is
    not among the likeliest has its own."""
    _, (held,) = packed
    words, twin = held["words"], held["twins"]["t"]
    assert [words[n] for n in values(held["tokens"])] == ["a", "b", "c"]
    first = values(held["first"])
    assert [words[n] for n in first] == ["b", "a", "x", "b"]
    assert values(held["shares"]) == [500, 250, 900, 0]
    # The first two stand among the reference's two; of the others one is new.
    assert values(twin["first"])[:3] == [1, 0, 0]
    assert words[-1 - values(twin["first"])[3]] == "c"
    assert values(twin["more"]) == [-100, 50, 50, 10]
    assert twin["kl"] == [None, 0.0346, 1.5]
    assert held["others"] == [[2, 12]]
    assert twin["others"] == []
    assert held["offsets"] == [[1, 2], [49, 1]]
    assert (held["uncounted"], held["five"]) == ([0], 2)


def test_tokens_of_one_spelling_stay_apart(packed: tuple[dict[str, Any], list[Any]]) -> None:
    """A token is its number: `b` of the text and `b` of the list are two words."""
    _, (held,) = packed
    assert held["words"].count("b") == 2
