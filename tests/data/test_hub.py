"""Laws of Hugging Face datasets; the library is optional."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bitlens.data.files import Document
from bitlens.data.hub import HubSource, read_hub
from bitlens.data.texts import read_texts
from bitlens.errors import BitlensError


class _Table(dict[str, list[Any]]):
    @property
    def column_names(self) -> list[str]:
        return list(self)


class _Library(SimpleNamespace):
    """What bitlens asks of the library, answered from memory."""

    __version__ = "5.2.0"

    def __init__(self, splits: list[str], table: _Table) -> None:
        super().__init__(asked=[])
        self.get_dataset_split_names = lambda path, config: splits
        self.load_dataset = lambda path, **rest: self.asked.append((path, rest)) or table


def _install(monkeypatch: pytest.MonkeyPatch, library: object) -> None:
    monkeypatch.setitem(sys.modules, "datasets", library)  # type: ignore[arg-type]


def test_source_is_taken_apart() -> None:
    """Configuration, split and column follow the name, and may be left open."""
    assert HubSource.parse("hf:Salesforce/wikitext:wikitext-2-raw-v1:test") == HubSource(
        "Salesforce/wikitext", "wikitext-2-raw-v1", "test", "text"
    )
    assert HubSource.parse("hf:a/b") == HubSource("a/b", None, None, "text")
    assert HubSource.parse("hf:a/b:::story") == HubSource("a/b", None, None, "story")
    for wrong in ("hf:", "hf:a/b:c:d:e:f"):
        with pytest.raises(BitlensError, match="does not name a dataset"):
            HubSource.parse(wrong)


def test_absent_library_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library the remedy is the command that installs it."""
    _install(monkeypatch, None)
    with pytest.raises(BitlensError) as caught:
        read_texts("hf:a/b")
    assert caught.value.remedy == "pip install datasets"


def test_library_that_runs_code_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions that could run a dataset's own code are not used at all."""
    _install(monkeypatch, SimpleNamespace(__version__="2.19.1"))
    with pytest.raises(BitlensError, match="can run a dataset's own code"):
        read_hub("hf:a/b")


def test_only_split_is_taken_and_many_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A split is never chosen for the user, and code is never allowed."""
    library = _Library(["train"], _Table(text=["a", None]))
    _install(monkeypatch, library)
    assert read_hub("hf:a/b:c") == [Document("row 1", "a"), Document("row 2", "")]
    assert library.asked == [("a/b", {"name": "c", "split": "train"})]
    _install(monkeypatch, _Library(["train", "test"], _Table(text=["a"])))
    with pytest.raises(BitlensError) as caught:
        read_hub("hf:a/b:c")
    assert "train, test" in caught.value.found
    assert caught.value.remedy == "hf:a/b:c:test"


def test_missing_column_lists_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error lists the columns there are."""
    _install(monkeypatch, _Library(["train"], _Table(story=["a"], id=[1])))
    with pytest.raises(BitlensError, match="has no column 'text'") as caught:
        read_hub("hf:a/b")
    assert "story, id" in caught.value.expected
    assert read_hub("hf:a/b:::story") == [Document("row 1", "a")]


def test_what_the_library_says_reaches_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any failure of the library or the network becomes an error without a traceback."""

    def fail(*args: object, **rest: object) -> None:
        raise ValueError("Config name is missing.\nPlease pick one among ...")

    _install(monkeypatch, SimpleNamespace(__version__="5.2.0", load_dataset=fail))
    with pytest.raises(BitlensError, match="Config name is missing"):
        read_hub("hf:a/b::test")


@pytest.mark.against
def test_local_dataset_through_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real library reads a folder of JSON lines as this module expects."""
    datasets = pytest.importorskip("datasets", reason="the library 'datasets' is not installed")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "set"
    folder.mkdir()
    for split, texts in {"train": ["a", "b"], "test": ["", "c"]}.items():
        lines = [json.dumps({"text": text, "id": n}) + "\n" for n, text in enumerate(texts)]
        (folder / f"{split}.jsonl").write_text("".join(lines))
    texts = read_texts(f"hf:{folder}::test")
    documents = texts.documents  # type: ignore[attr-defined]
    assert [(d.name, d.text) for d in documents] == [("row 2", "c")]
    assert texts.marked  # type: ignore[attr-defined]
    with pytest.raises(BitlensError, match="has the splits"):
        read_texts(f"hf:{folder}")
    with pytest.raises(BitlensError, match="cannot be loaded"):
        read_texts(f"hf:{folder}::dev")
    with pytest.raises(BitlensError, match="has no column 'story'"):
        read_texts(f"hf:{folder}::test:story")
