"""Probes of an audit as a safetensors file: the reference's, and what repairs make of it for each
twin.

A probe is a tensor of the width of the model and one more: a direction, and behind it the offset.
Its score of an activation x is x @ direction + offset. Its name says, with tabs between, the model,
the twin, the site, the set and the method (`code, logistic`), and the way of repair; metadata have
`format`, `bitlens-probes-1`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as read_tensors
from safetensors.numpy import save

from bitlens.errors import ResultsError
from bitlens.results.files.reading import read_bytes
from bitlens.results.shared_names import PROBES
from bitlens.results.store import Store

FORMAT = "bitlens-probes-1"
BETWEEN = "\t"


class ProbeName(NamedTuple):
    """Which probe."""

    model: str
    twin: str
    site: str
    item: str
    """The set and the method: `code, logistic`."""
    way: str
    """`as it is`, of the reference, or how the twin's activations are brought back."""


def probes_of(store: Store) -> dict[ProbeName, np.ndarray]:
    """All probes of an audit, of the first seed, `[width + 1]` float64 each: direction and
    offset."""
    found: dict[ProbeName, np.ndarray] = {}
    for cell in store.manifest()["cells"]:
        if cell["analysis"] != "probes" or cell["status"] != "done":
            continue
        table = store.read_cell_table(cell["id"], PROBES)
        for row in table.to_pylist() if table is not None else ():
            place = cell["model"], cell["compression"], row["site"]
            name = ProbeName(*place, row["item"], row["way"])
            found.setdefault(name, np.array([*row["direction"], row["offset"]]))
    return found


def written(probes: Mapping[ProbeName, np.ndarray]) -> bytes:
    """The content of a file."""
    return bytes(
        save({BETWEEN.join(name): of for name, of in probes.items()}, metadata={"format": FORMAT})
    )


def read_probes(path: Path) -> dict[ProbeName, np.ndarray]:
    """The inverse of `written`. ResultsError for a file that is no file of probes: of another
    format, or with a tensor that is no direction with an offset, or not finite."""
    try:
        content = read_bytes(path)
        tensors = read_tensors(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        if header["__metadata__"]["format"] != FORMAT:
            raise ValueError("another format")
        if not all(map(_is_probe, tensors.values())):
            raise ValueError("a tensor that is no probe")
        found = {ProbeName(*name.split(BETWEEN)): of for name, of in tensors.items()}
    except (SafetensorError, TypeError, KeyError, ValueError) as error:
        raise ResultsError(
            f"{path} is no file of probes.",
            "what bitlens export RESULTS --format probes has written.",
            "export it again.",
        ) from error
    return found


def _is_probe(of: np.ndarray) -> bool:
    """Is it one direction and its offset, in numbers?"""
    return of.ndim == 1 and len(of) > 1 and of.dtype.kind == "f" and bool(np.isfinite(of).all())
