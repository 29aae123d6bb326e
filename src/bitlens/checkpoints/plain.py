"""Ordinary folders: fine-tuned, pruned, or written by `bitlens compress`."""

import json
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
        format, stored = _recorded(record, stored)
        return Found(format, False, model, stored)
    return Found(str(model.dtype).removeprefix("torch."), False, model, stored)


def _recorded(path: Path, stored: dict[str, Stored]) -> tuple[str, dict[str, Stored]]:
    """With what the matrices would take if they were stored as the compression made them."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        format, matrices = str(record["compression"]), dict(record["matrices"])
        found = dict(stored)
        for matrix, entry in matrices.items():
            name = matrix if matrix in stored else f"{matrix}.weight"
            found[name] = replace(
                stored[name],
                bits=float(entry["bits"]),
                format=format,
                group=int(entry.get("group", 0)),
                note=str(entry.get("note", "")),
            )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BitlensError(
            f"{path.name} beside the weights cannot be read: {type(error).__name__}: {error}.",
            '{"compression": text, "matrices": {name: {"bits": 4.5, "group": 64, "note": ""}}}.',
            "the folder as bitlens compress wrote it, or take the file away.",
        ) from error
    return format, found
