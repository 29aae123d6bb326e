"""Texts of a user: files, folders and datasets, read as documents."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bitlens.data import code_prompts
from bitlens.data.files import (
    TEXT_ALONE,
    Document,
    RowFields,
    read_folder,
    read_running_text,
)
from bitlens.data.hub import FORM, PREFIX, HubSource, read_hub
from bitlens.data.rows import join_lines, read_json, read_jsonl, read_parquet
from bitlens.errors import BitlensError, DataError, in_one_line
from bitlens.registry import nearest_file
from bitlens.results.counts import count
from bitlens.results.files.reading import open_regular

STRINGS = "strings:"
"""What a source begins with that was handed over as strings; their hash follows."""


@dataclass(frozen=True)
class Documents:
    """Documents as they were read."""

    name: str
    """The file's or folder's own name, without the path to it; a dataset's text form."""
    documents: tuple[Document, ...]
    """None is empty."""
    marked: bool
    """Whether the source says where a document ends; a running text does not."""
    notes: tuple[str, ...] = ()
    """What the reader of a result should know, one sentence each."""


_ROWS: dict[str, Callable[[Path, RowFields], list[Document]]] = {
    ".json": read_json,
    ".jsonl": read_jsonl,
    ".jsonl.gz": read_jsonl,
    ".parquet": read_parquet,
}
_KINDS = f".txt, {', '.join(_ROWS)}, a folder of text files, {FORM}, or {code_prompts.FORM}"


def read_texts(source: str | Path, fields: RowFields = TEXT_ALONE) -> Documents:
    """Which documents stand in this source?

    `.txt` is one running text without document marks. `.json` (a list), `.jsonl`, `.jsonl.gz`
    (strings, or objects with a `text` and perhaps a `name`; those with a `group` stay together and
    may have a `label` and `marks`) and `.parquet` (a column `text`) hold a document a row, but rows
    that are lines of WikiText are joined to articles. A folder holds a document a file.
    `hf:owner/name:config:split:column` is a Hugging Face dataset; `code-prompts:1066` makes so many
    beginnings of code. Text is UTF-8. Empty documents are dropped, which the notes say. Rows have
    the category that `fields` names; files of a folder that of the folder below it that they are
    in, code prompts one of seven, whatever its field. DataError for what is not there, is of
    another kind, or cannot be read.
    """
    if str(source).startswith(PREFIX):
        return _from_rows(str(source), str(source), read_hub(str(source)))
    if str(source).startswith(code_prompts.PREFIX):
        made = code_prompts.read_prompts(str(source))
        return _checked(str(source), str(source), made, [code_prompts.note(made)])
    path = Path(os.path.expanduser(source))
    if os.path.isdir(path):
        documents, notes = read_folder(path)
        return _checked(str(source), path.resolve().name, documents, notes)
    if str(source).startswith(STRINGS):
        raise DataError(
            f"{source} were strings that somebody handed over: they are in no file.",
            _KINDS,
            "the same strings again, text=[...] in Python, or a file with them.",
        )
    if not os.path.exists(path):
        raise _missing(str(source), path)
    # What is no file is refused here, whatever it is called.
    open_regular(path).close()
    if path.name.lower().endswith(".txt"):
        return _checked(str(source), path.name, read_running_text(path), [], marked=False)
    for ending, read in _ROWS.items():
        if path.name.lower().endswith(ending):
            return _from_rows(str(source), path.name, read(path, fields))
    raise DataError(
        f"{source} is not a kind of text that can be read.",
        _KINDS,
        "give a running text the ending .txt, or name the folder it is in.",
    )


def documents_of(texts: Sequence[str]) -> Documents:
    """Strings as documents, one each. They are called by their hash: other strings have another
    name. BitlensError for what is no string, and where no text is in any."""
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(
                f"Text {number} is a {type(text).__name__}.",
                "a string a document, or a file, a folder or a dataset by its name.",
                "of rows with columns: [row['text'] for row in rows].",
            )
    digest = hashlib.sha256()
    for text in texts:
        # Lengths keep "a", "bc" and "ab", "c" apart.
        digest.update(f"{len(text)}:{text}".encode(errors="surrogatepass"))
    documents = [Document(f"text {number}", text) for number, text in enumerate(texts)]
    return _checked("The list", f"{STRINGS}{digest.hexdigest()[:12]}", documents, [])


def require_source(source: str) -> None:
    """BitlensError where a file or folder is named that is not there; nothing is read."""
    if source.startswith(STRINGS):
        return
    if source.startswith(PREFIX):
        HubSource.parse(source)
    elif not source.startswith(code_prompts.PREFIX) and not os.path.exists(
        path := Path(os.path.expanduser(source))
    ):
        raise _missing(source, path)


def _from_rows(source: str, name: str, rows: list[Document]) -> Documents:
    # Lines of an article are in no group.
    articles = None if any(row.group is not None for row in rows) else join_lines(rows)
    if articles is None:
        return _checked(source, name, rows, [])
    note = (
        f"The {len(rows):,} rows are lines, as in WikiText: they were joined to "
        f"{len(articles):,} articles, a new one at each level-one heading."
    )
    return _checked(source, name, articles, [note])


def _checked(
    source: str,
    name: str,
    documents: Sequence[Document],
    notes: list[str],
    *,
    marked: bool = True,
) -> Documents:
    kept = tuple(
        document._replace(name=in_one_line(document.name))
        for document in documents
        if document.text.strip()
    )
    if not kept:
        held = (
            f"{count(len(documents), 'document')} and no text in any"
            if documents
            else "no document"
        )
        raise DataError(
            " ".join([f"{source} holds {held}.", *notes]),
            "at least one document with text.",
            f"name another source: {_KINDS}",
        )
    torn = {d.group for d in documents if not d.text.strip()} - {None}
    if torn:
        raise DataError(
            f"A document of the group {min(map(str, torn))} of {source} is empty.",
            "text in every document of a group, which is read whole or not at all.",
            "leave the whole group out.",
        )
    for document in kept:
        _check_encodable(source, document)
    if empty := len(documents) - len(kept):
        notes = [*notes, f"Empty documents dropped: {empty:,}."]
    return Documents(in_one_line(name), kept, marked, tuple(notes))


def _check_encodable(source: str, document: Document) -> None:
    try:
        document.text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{document.name} of {source} holds half a surrogate pair, "
            f"\\u{ord(document.text[error.start]):04x}, at character {error.start}.",
            "whole characters.",
            "write the file again with its characters unescaped, as UTF-8.",
        ) from error


def _missing(source: str, path: Path) -> BitlensError:
    return DataError(f"There is no {source}.", _KINDS, nearest_file(path) or _hint(source))


def _hint(source: str) -> str:
    if source.count("/") == 1 and not source.startswith((".", "/", "~")):
        return f"{PREFIX}{source} if it is a Hugging Face dataset; else check the path."
    return "check the path."
