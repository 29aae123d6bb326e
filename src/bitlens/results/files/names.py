"""Names of files made from names that somebody else chose: harmless, different, within a folder."""

import hashlib
import re
from pathlib import Path

from bitlens.errors import ResultsError

LOGS = "logs"
"""The folder below results in which trackers write."""


def sanitise(name: str) -> str:
    """What may a file be called after this name? Letters, digits, `.`, `_`, `-`; never a path.

    A name that is fine stays as it is. Otherwise a hash of the original is appended, so that
    different names stay different; names that a shell, or Windows, reads as something else (`..`,
    `-rf`, `CON`) are changed too.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:100]
    safe = re.sub(r"^[.-]|\.$", "_", safe)
    if re.match(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", safe, re.IGNORECASE):
        safe = f"_{safe}"
    if safe == name and name:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{safe or '_'}-{digest}"


def inside(root: Path, name: str) -> Path:
    """The path of a file of this name, and surely within the folder. ResultsError where it would
    lead out of it."""
    path = root / sanitise(name)
    if not path.resolve().is_relative_to(root.resolve()):
        raise ResultsError(
            f"{path} leads out of {root}.",
            "files within the folder of results.",
            f"delete the link {path}.",
        )
    return path
