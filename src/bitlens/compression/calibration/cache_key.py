"""Everything that calibrated weights depend on: they are found again only where all of it is so."""

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import bitlens
from bitlens.compression import parse_spec
from bitlens.models.layout import Layout
from bitlens.models.load import Loaded
from bitlens.registry import foreign_code


def made_by(layout: Layout, loaded: Loaded, seed: int, **settings: Any) -> dict[str, Any]:
    """Everything that what is kept depends on: it is found again only where all of it is so."""
    return {
        "weights": loaded.fingerprint,
        "dtype": str(layout.dtype),
        "compute": str(layout.compute),
        "seed": seed,
        "device": layout.device.type,
        "attention": loaded.attention,
        "versions": [version(name) for name in ("torch", "transformers")],
        "code": _code(),
        "other code": sorted(foreign_code(parse_spec(settings["compression"]))),
        **settings,
    }


@cache
def _code() -> str:
    """Which code makes them? Another version of a method is another method."""
    root = Path(bitlens.__file__).parent
    digest = hashlib.sha256()
    for room in ("compression", "models"):
        for file in sorted((root / room).rglob("*.py")):
            digest.update(file.relative_to(root).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:16]
