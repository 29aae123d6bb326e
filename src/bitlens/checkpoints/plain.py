"""Ordinary folders: fine-tuned, pruned, or written by `bitlens compress`."""

import json
import math
from dataclasses import replace
from pathlib import Path

from bitlens.checkpoints.checkpoint import Found, Request, Stored
from bitlens.checkpoints.pretrained import load_whole
from bitlens.checkpoints.stored import find
from bitlens.errors import BitlensError

RECORD = "bitlens.json"
"""What `bitlens compress` writes beside the weights it made."""


def read(request: Request) -> Found:
    """The model in its own dtype."""
    model = load_whole(request, trust_remote_code=request.source.trust_remote_code, dtype="auto")
    stored = find(request.reference.model, model)
    record = Path(request.source.name) / RECORD
    if record.is_file():
        format, stored, notes = _recorded(record, stored)
        return Found(format, False, model, stored, notes)
    return Found(str(model.dtype).removeprefix("torch."), False, model, stored)


def _recorded(
    path: Path, stored: dict[str, Stored]
) -> tuple[str, dict[str, Stored], tuple[str, ...]]:
    """With what the matrices would take if they were stored as the compression made them."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        format, matrices = str(record["compression"]), dict(record["matrices"])
        inputs = set(record.get("inputs_rounded", ()))
        rounded = len(inputs)
        found = dict(stored)
        for matrix, entry in matrices.items():
            name = matrix if matrix in stored else f"{matrix}.weight"
            bits, group = float(entry["bits"]), int(entry.get("group", 0))
            if not 0 < bits < math.inf or group < 0:
                raise ValueError(f"{bits} bits in groups of {group} for {matrix}")
            note = (
                "inputs not rounded in this folder" if matrix in inputs else entry.get("note", "")
            )
            found[name] = replace(
                stored[name], bits=bits, format=format, group=group, note=str(note)
            )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BitlensError(
            f"{path.name} beside the weights cannot be read: {type(error).__name__}: {error}.",
            '{"compression": text, "matrices": {name: {"bits": 4.5, "group": 64, "note": ""}}}.',
            "the folder as bitlens compress wrote it, or take the file away.",
        ) from error
    note = (
        f"The method rounds the inputs of {rounded} matrices too, which an ordinary folder cannot "
        f"hold: what is measured here is its weights alone, less than {format} does."
    )
    return format, found, (note,) if rounded else ()
