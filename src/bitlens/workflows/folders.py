"""Folders that a workflow fills over several runs: what something else wrote is left alone."""

from collections.abc import Callable
from pathlib import Path

from bitlens.errors import ResultsError
from bitlens.results.files.writing import unfinished


def refuse_foreign(out: Path, writer: str, begun: str, own: Callable[[Path], bool]) -> None:
    """BitlensError where the folder `out` is a file, or holds what `writer` would not write: an
    entry that is neither its `own` nor unfinished. `begun`: who may have begun such a folder."""
    if out.exists() and not out.is_dir():
        raise ResultsError(
            f"{out} is a file.",
            f"a new folder, or one that {begun}.",
            f"another --out, such as {out}-1.",
        )
    for path in sorted(out.iterdir()) if out.is_dir() else ():
        if not unfinished(path.name) and not own(path):
            raise ResultsError(
                f"{out} holds {path.name}, which {writer} would not write.",
                f"a new folder, or one that {begun}.",
                "another --out.",
            )
