"""Laws of categories: which documents and positions are of which, and what cannot be told apart."""

import json
from pathlib import Path

import numpy as np
import pytest

from bitlens.data.categories import DEPTH, MOST, WITHOUT, categories_of, category_of
from bitlens.data.files import Document, RowFields
from bitlens.data.texts import read_texts
from bitlens.errors import BitlensError


def of_kinds(*kinds: str | None) -> list[Document]:
    return [Document(f"row {n}", "text", category=kind) for n, kind in enumerate(kinds)]


def test_documents_have_the_category_of_their_field() -> None:
    """In alphabetical order, with those without the field apart."""
    found = categories_of(of_kinds("zh", "en", None, "en"), "language", source="s", context=9)
    assert found is not None
    assert found.labels == (WITHOUT, "en", "zh")
    assert found.of is not None
    assert found.of.tolist() == [2, 1, 0, 1]
    assert found.at(np.array([0, 3, 3]), np.array([5, 0, 1])).tolist() == [2, 1, 1]


def test_depth_is_the_place_in_the_window() -> None:
    """0 to 15, 16 to 63, 64 to 99 of a context of 100, whatever the document."""
    found = categories_of(of_kinds(None), DEPTH, source="s", context=100)
    assert found is not None
    assert found.labels == ("0–15", "16–63", "64–99")
    places = np.array([0, 15, 16, 63, 64, 99])
    assert found.at(np.zeros(6, int), places).tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        ([None, None], "No document of s has the field 'kind'"),
        (["a", "a"], "is a in every document"),
        ([f"label {n}" for n in range(MOST + 1)], f"has {MOST + 1} different values"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(kinds: list[str | None], said: str) -> None:
    """A field that no row has, one value everywhere, and more values than a table can hold."""
    with pytest.raises(BitlensError, match=said):
        categories_of(of_kinds(*kinds), "kind", source="s", context=9)


def test_a_category_is_a_name() -> None:
    """Texts, whole numbers and truths are names; nothing is none; lists are refused."""
    fields = {"a": "zh", "b": 3, "c": True, "d": None, "e": ["x"], "f": ""}
    assert [category_of(fields, name, "row 1") for name in "abcdfg"] == [
        "zh", "3", "true", None, None, None,
    ]  # fmt: skip
    with pytest.raises(BitlensError, match=r"The e of row 1 is \['x'\]"):
        category_of(fields, "e", "row 1")


def test_every_source_with_rows_says_its_categories(tmp_path: Path) -> None:
    """JSON lines by field, a folder by the folder below it, code prompts by their own seven."""
    lines = [{"text": "a b", "kind": "x"}, {"text": "c d", "kind": "y"}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    read = read_texts(tmp_path / "t.jsonl", RowFields("kind"))
    assert [document.category for document in read.documents] == ["x", "y"]
    assert all(d.category is None for d in read_texts(tmp_path / "t.jsonl").documents)
    for name in ("rust", "go"):
        (tmp_path / "f" / name).mkdir(parents=True)
        (tmp_path / "f" / name / "a.txt").write_text("fn main")
    assert [d.category for d in read_texts(tmp_path / "f").documents] == ["go", "rust"]
    prompts = read_texts("code-prompts:20").documents
    assert all(d.name.startswith(str(d.category)) for d in prompts)
