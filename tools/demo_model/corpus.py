"""Which text does the embedded model learn from, and which is kept from it?

The text is the running interpreter's own standard library (without its tests) and the
documentation topics of `pydoc_data`, so anyone with the same Python version can rebuild it
without downloading anything. Files, never passages, are the unit of the split, and a file
that repeats another (a backport, a pure-Python double) follows it into the same part:
otherwise a held-out figure would partly measure memory (Lee et al. 2022, "Deduplicating
Training Data Makes Language Models Better").
"""

from __future__ import annotations

import hashlib
import json
import pydoc_data.topics
import sysconfig
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Split = Literal["train", "calibration", "evaluation"]

EVALUATION_SHARE = 0.125
CALIBRATION_SHARE = 0.06

_TEST_FOLDERS = frozenset({"test", "tests", "idle_test", "site-packages", "__pycache__"})
_MACHINE_PREFIXES = ("_sysconfigdata", "config-")
"""Files that describe the machine Python was built on, not the library."""
_TABLES = frozenset({"html/entities.py", "pydoc_data/topics.py"})
_TABLE_MARKS = ("codecs.charmap_build(", "codecs.make_encoding_map(", "make_identity_dict")
_NOT_SHIPPED = frozenset({"distutils/ccompiler.py"})
"""Held out like the rest of evaluation, and so in no part; left out of the texts that ship."""
_LONGEST_BOILERPLATE = 4
"""A line found in more files than this is a licence or a habit, not a copy."""
_PASSAGE = 80
"""Characters in a row that a calibration file and an evaluation file may not have in common."""


@dataclass(frozen=True)
class Document:
    """One file of the library, or one part of its documentation."""

    name: str
    text: str


def library_documents(root: Path | None = None) -> list[Document]:
    """Every usable file of the standard library, in the order of its relative name."""
    root = root or Path(sysconfig.get_path("stdlib"))
    documents = []
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if _belongs(relative):
            text = _read(path)
            if text is not None and not any(mark in text for mark in _TABLE_MARKS):
                documents.append(Document(relative.as_posix(), text))
    return documents


def topic_document() -> Document:
    """The documentation topics as one document: they quote each other, so they stay together."""
    topics = pydoc_data.topics.topics
    return Document("pydoc_data/topics", "\n\n".join(topics[name] for name in sorted(topics)))


def families(documents: Iterable[Document]) -> dict[str, str]:
    """Each document's name -> the name of the first document it repeats, or its own.

    Two files are of one family when a fifth of the shorter one's long lines stand in the other.
    """
    lines = {document.name: _long_lines(document.text) for document in documents}
    holders: dict[str, list[str]] = defaultdict(list)
    for name in sorted(lines):
        for line in lines[name]:
            holders[line].append(name)
    shared: Counter[tuple[str, str]] = Counter()
    for names in holders.values():
        if len(names) <= _LONGEST_BOILERPLATE:
            shared.update((a, b) for a in names for b in names if a < b)
    family = {name: name for name in lines}
    for (a, b), count in sorted(shared.items()):
        if count >= max(3, 0.2 * min(len(lines[a]), len(lines[b]))):
            first, second = sorted((family[a], family[b]))
            family = {name: first if of == second else of for name, of in family.items()}
    return family


def split_of(family: str) -> Split:
    """The part a family belongs to: a hash of its name, so no list has to be kept."""
    if family.startswith(("encodings/", "pydoc_data/")):
        return "train"
    draw = int.from_bytes(hashlib.sha256(family.encode()).digest()[:8], "big") / 2**64
    if draw < EVALUATION_SHARE:
        return "evaluation"
    return "calibration" if draw < EVALUATION_SHARE + CALIBRATION_SHARE else "train"


def split_documents(root: Path | None = None) -> dict[Split, list[Document]]:
    """The whole corpus, by part; rebuilt from the running interpreter."""
    documents = [*library_documents(root), topic_document()]
    family = families(documents)
    parts: dict[Split, list[Document]] = {"train": [], "calibration": [], "evaluation": []}
    for document in documents:
        parts[split_of(family[document.name])].append(document)
    parts["calibration"] = _apart(parts["calibration"], parts["evaluation"])
    parts["evaluation"] = [d for d in parts["evaluation"] if d.name not in _NOT_SHIPPED]
    return parts


def _apart(documents: list[Document], from_: list[Document]) -> list[Document]:
    """Those that share no passage with any of the others: not even a licence, because what is
    calibrated on it would be measured on it."""
    passages = {passage for document in from_ for passage in _passages(document.text)}
    return [d for d in documents if passages.isdisjoint(_passages(d.text))]


def _passages(text: str) -> Iterator[str]:
    return (text[start : start + _PASSAGE] for start in range(len(text) - _PASSAGE + 1))


def write_documents(documents: Iterable[Document], path: Path) -> None:
    """One JSON object a line: `{"name": ..., "text": ...}`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = (json.dumps({"name": d.name, "text": d.text}, sort_keys=True) for d in documents)
    path.write_text("".join(row + "\n" for row in rows), encoding="utf-8")


def read_documents(path: Path) -> list[Document]:
    """What `write_documents` wrote."""
    with path.open(encoding="utf-8") as file:
        return [Document(**json.loads(line)) for line in file]


def _belongs(relative: Path) -> bool:
    if relative.as_posix() in _TABLES or _TEST_FOLDERS.intersection(relative.parts):
        return False
    return not any(part.startswith(_MACHINE_PREFIXES) for part in relative.parts)


def _read(path: Path) -> str | None:
    """The text, or None where the file is nearly empty or not UTF-8."""
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return None
    text = text.replace("\r\n", "\n")
    return text if len(text) >= 200 else None


def _long_lines(text: str) -> frozenset[str]:
    return frozenset(line for line in map(str.strip, text.splitlines()) if len(line) >= 30)
