"""Reading and writing of a store's JSON files: whole, of this version, and as they should be."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bitlens.errors import BitlensError, ResultsError, path_of, told
from bitlens.results.files.reading import read_bytes
from bitlens.results.manifest_schema import LATER, LATER_IN_RUNS, Content
from bitlens.results.records import SCHEMA, to_json

MOST_WHOLE = (1 << 63) - 1
"""The largest number without a fraction that a column can hold."""
AGAIN = "run the command that made it again; it computes only what is missing."


def read_json(kind: type[Content], path: Path, remedy: str) -> dict[str, Any]:
    """What a file of ours holds, and it is all there. BitlensError that names what is not."""
    if not path.exists():
        raise damaged(path, "it is missing", remedy)
    refuse_other_version(path)
    try:
        content: dict[str, Any] = json.loads(
            read_bytes(path), parse_constant=_refuse, parse_int=_whole, parse_float=_finite
        )
    except RecursionError as error:
        raise damaged(path, "it is nested too deeply", remedy) from error
    except ValueError as error:
        raise damaged(path, told(error), remedy) from error
    check_json(kind, content, path, remedy)
    return content


def refuse_other_version(path: Path) -> None:
    """BitlensError for a file of another version of bitlens; one that is broken is not."""
    try:
        content = json.loads(read_bytes(path))
    except (BitlensError, ValueError, RecursionError):
        return
    found = content.get("schema") if isinstance(content, dict) else None
    if type(found) is int and found != SCHEMA:
        raise ResultsError(
            f"{path} has schema {found}.",
            f"schema {SCHEMA}, which this version of bitlens writes and reads.",
            "the version of bitlens that wrote it, or another --out: nothing of it is lost.",
        )


def json_bytes(kind: type[Content], content: Mapping[str, Any], path: Path) -> bytes:
    """A file's content as it is written, if it will be read: a mistake of ours is found now, not by
    a reader."""
    data = (to_json(content, indent=1) + "\n").encode()
    check_json(kind, json.loads(data), path, "report this: it is a mistake in bitlens.")
    return data


def check_json(kind: type[Content], content: Any, path: Path, remedy: str) -> None:
    """BitlensError that names what is missing, is not known or is something else. What came later
    (`LATER`) is put in with its default."""
    try:
        # Names may hold what is no text, half a surrogate; here it does not matter which.
        text = json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
        held = kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = path_of([step for step in first["loc"] if isinstance(step, str | int)])
        raise damaged(path, f"{where or 'it'} {_wrong(first)}", remedy) from None
    # What has a default when it is made is written all the same.
    missing = _missing(held.model_dump(mode="json", by_alias=True), content, [])
    if missing is not None:
        raise damaged(path, f"{path_of(missing)} is missing", remedy)


def _wrong(error: Any) -> str:
    if error["type"] == "missing":
        return "is missing"
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return "is not known to this version"
    return f"is not as it should be: {error['msg'][0].lower()}{error['msg'][1:]}"


def _missing(whole: Any, given: Any, at: list[str | int]) -> list[str | int] | None:
    """The place of the first key that is not given and that every store has."""
    parts: list[tuple[str | int, Any]] = []
    if isinstance(whole, dict):
        for name in whole:
            if name not in given and name not in LATER | LATER_IN_RUNS:
                return [*at, name]
            given.setdefault(name, whole[name])
        parts = list(whole.items())
    elif isinstance(whole, list):
        parts = list(enumerate(whole))
    found = (_missing(value, given[step], [*at, step]) for step, value in parts)
    return next((place for place in found if place is not None), None)


def damaged(path: Path, why: str, remedy: str) -> BitlensError:
    """The error for a file of ours that is not as it was written. `why`: without a full stop."""
    return ResultsError(f"{path} cannot be read: {why}.", "the file as bitlens wrote it.", remedy)


def mended(path: Path, again: str) -> str:
    """What brings a file back that is not as it was written; nothing is in the way of one that is
    not there. `again`: what makes it anew."""
    return f"delete {path} and {again}" if os.path.lexists(path) else again


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _whole(digits: str) -> int:
    number = int(digits) if len(digits) < 30 else MOST_WHOLE + 1
    if abs(number) > MOST_WHOLE:
        raise ValueError(f"the number {digits[:30]} takes more than 64 bits")
    return number


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {digits[:30]} is too large")
    return number
