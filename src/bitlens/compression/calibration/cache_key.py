"""The key of calibrated weights in the cache: everything that they depend on.

They are found again only where all of it is the same."""

import hashlib
from functools import cache
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import bitlens
from bitlens.compression import format_spec
from bitlens.compression.compression import Compression
from bitlens.models.layout import Layout
from bitlens.models.load import Loaded
from bitlens.registry import foreign_code


def made_by(
    layout: Layout, loaded: Loaded, seed: int, *, compression: Compression, **settings: Any
) -> dict[str, Any]:
    """What decides about the matrices that this compression makes, as JSON can hold it: the
    model, the machine, the code of ours and of a plug-in, the compression and these settings."""
    return {
        "weights": loaded.fingerprint,
        "dtype": str(layout.dtype),
        "compute": str(layout.compute),
        "seed": seed,
        "device": layout.device.type,
        "attention": loaded.attention,
        "versions": [version(name) for name in ("torch", "transformers")],
        "code": _code(),
        "other code": sorted(foreign_code(compression)),
        "compression": format_spec(compression),
        **settings,
    }


@cache
def _code() -> str:
    """A hash of our own code that makes them: another version of a method is another method, and
    so is one that reads other positions or measures the harm of a sparsity otherwise."""
    root = Path(bitlens.__file__).parent
    digest = hashlib.sha256()
    rooms = [(root / room).rglob("*.py") for room in ("compression", "data", "engine", "models")]
    for file in sorted([*chain(*rooms), root / "seeds.py"]):
        digest.update(file.relative_to(root).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:16]
