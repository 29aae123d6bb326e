"""The user's own folder, and how a path in it is written where others read it."""

import atexit
import os
import re
import shutil
import tempfile
from pathlib import Path


def home() -> Path | None:
    """The user's folder; None where there is none, as for a container's user, or where it is all
    of the disk."""
    try:
        found = Path.home()
    except RuntimeError:
        return None
    return found if found.is_absolute() and found != Path(found.anchor) else None


def lend_home() -> None:
    """Where the user has none, a folder for this process: libraries look for one when they are
    imported, and for the user's name."""
    try:
        Path.home()
    except RuntimeError:
        folder = tempfile.mkdtemp(prefix="bitlens-home-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["HOME"] = folder
        os.environ.setdefault("USER", "bitlens")


def without_home(text: str) -> str:
    """A command or a path with `~` for the user's folder, whose name is nobody's business."""
    folder = home()
    if folder is None:
        return text
    return re.sub(rf"(?<![\w/.~-]){re.escape(str(folder))}(?=[/\s'\"]|$)", "~", text)


def with_home(path: str) -> str:
    """A path that begins with `~` as one that can be opened."""
    folder = home()
    return path if folder is None else re.sub(r"^~(?=/|$)", lambda _: str(folder), path)


CACHE = "BITLENS_CACHE"


def cache() -> Path | None:
    """What can be made again is kept here: below $BITLENS_CACHE, or in the user's own cache folder;
    None where there is neither."""
    if own := os.environ.get(CACHE):
        return Path(own)
    folder = home()
    root = os.environ.get("XDG_CACHE_HOME") or (folder and folder / ".cache")
    return None if root is None else Path(root) / "bitlens"
