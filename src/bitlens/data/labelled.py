"""Labelled texts: documents of two classes that something is to tell apart, with names for both.

A probe is trained on some of them and read on the others; a monitor watches for one of the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitlens.data.files import Document, gathered, read_lines
from bitlens.data.label_templates import TEMPLATES, Lengths, characters, made
from bitlens.errors import DataError, in_one_line
from bitlens.registry import nearest
from bitlens.results.files.home import with_home
from bitlens.results.files.reading import parse_json

FORM = '{"text": ..., "label": ...} or {"positive": ..., "negative": ...}'
FEWEST_OF_A_CLASS = 20
"""Documents of each class below which there is neither enough to learn from nor to read."""


@dataclass(frozen=True)
class LabelledTexts:
    """One set of documents of two classes."""

    name: str
    documents: tuple[Document, ...]
    """Each with its label; those of a group are kept on one side of training and test."""
    positive: str
    """The label that a monitor watches for."""
    negative: str


def read_labelled(source: str, lengths: Lengths = characters) -> LabelledTexts:
    """The set of this name, or the one in a file of JSON lines.

    A line is `{"text": ..., "label": ...}`, perhaps with a `group`, or a pair, `{"positive": ...,
    "negative": ...}`, which is a group of its own. There are two labels; the one that a monitor
    watches for is the later in the alphabet, or the one named behind the file: `FILE=LABEL`.
    `lengths`: of texts, which both classes of a set that is made have alike. BitlensError for
    anything else.
    """
    if source in TEMPLATES:
        positive, negative, documents = made(source, lengths)
        return LabelledTexts(source, documents, positive, negative)
    path, watched = _split(source)
    require_labelled(source)
    documents = tuple(gathered(_documents(path), str(path)))
    labels = sorted({str(document.label) for document in documents})
    if len(labels) != 2:
        raise DataError(
            f"{path} has {len(labels)} labels: {', '.join(labels[:5]) or 'none'}.",
            "two, one for each class.",
            "a file for each question that has a yes and a no.",
        )
    positive = watched or labels[1]
    if positive not in labels:
        raise DataError(
            f"{path} has no label {positive!r}.",
            f"{labels[0]} or {labels[1]}.",
            nearest(positive, labels) or f"{path}={labels[1]}",
        )
    negative = labels[positive == labels[0]]
    _refuse_few(str(path), documents, labels)
    return LabelledTexts(in_one_line(path.stem), documents, positive, negative)


def require_labelled(source: str) -> None:
    """BitlensError where neither a set nor a file has this name; nothing is read."""
    if source in TEMPLATES:
        return
    path, _ = _split(source)
    if not path.exists():
        raise DataError(
            f"There are no labelled texts {source}.",
            f"a file of JSON lines, {FORM}, or one of {', '.join(TEMPLATES)}.",
            nearest(source, list(TEMPLATES)) or "check the path.",
        )


def distinct_names(sets: Sequence[LabelledTexts]) -> None:
    """BitlensError where two sets have one name: their numbers could not be told apart."""
    names = [one.name for one in sets]
    for name in names:
        if names.count(name) > 1:
            raise DataError(
                f"{names.count(name)} sets of labelled texts are called {name}.",
                "sets of different names; a file's is its name without the ending.",
                "rename one of the files.",
            )


def _split(source: str) -> tuple[Path, str]:
    """The file, and the label that is watched for where one is named."""
    whole = Path(with_home(source))
    before, equals, after = source.rpartition("=")
    return (whole, "") if whole.exists() or not equals else (Path(with_home(before)), after)


def _documents(path: Path) -> Iterator[Document]:
    for number, line in enumerate(read_lines(path), 1):
        if line.strip():
            yield from _of_line(parse_json(line, f"{path}, line {number}"), number, path)


def _of_line(value: Any, number: int, path: Path) -> list[Document]:
    place = f"line {number}"
    if isinstance(value, Mapping):
        if {"text", "label"} <= value.keys():
            label, group = value["label"], value.get("group")
            own = f"{place}" if group is None else f"group {_word(group, number, path)}"
            text = _text(value["text"], number, path)
            return [Document(place, text, own, _word(label, number, path))]
        if {"positive", "negative"} <= value.keys():
            return [
                Document(f"{place}, {side}", _text(value[side], number, path), place, side)
                for side in ("negative", "positive")
            ]
    raise _malformed(value, number, path)


def _text(value: Any, number: int, path: Path) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _malformed(value, number, path)
    return value


def _word(value: Any, number: int, path: Path) -> str:
    if not isinstance(value, str | int):
        raise _malformed(value, number, path)
    return in_one_line(str(value).lower() if isinstance(value, bool) else str(value))


def _malformed(value: Any, number: int, path: Path) -> DataError:
    return DataError(
        f"Line {number} of {path} holds {value!r:.60}.",
        f"{FORM}: texts that are not empty; a label is a string, a whole number, true or false.",
        '{"text": "I loved it.", "label": "good"}',
    )


def _refuse_few(source: str, documents: Sequence[Document], labels: Sequence[str]) -> None:
    for label in labels:
        units = len({d.group for d in documents if d.label == label})
        if units < FEWEST_OF_A_CLASS:
            raise DataError(
                f"{source} has {units} documents (or groups) labelled {label}.",
                f"{FEWEST_OF_A_CLASS} of each class at least: some to learn from, some to read.",
                "more documents; 250 of each class also give a false-positive rate.",
            )
