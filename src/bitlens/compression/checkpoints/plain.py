"""Ordinary folders: fine-tuned, pruned, or written by `bitlens compress`."""

import math
from dataclasses import replace
from pathlib import Path

from bitlens.compression.checkpoints.checkpoint import CheckpointRequest, ReadCheckpoint
from bitlens.compression.checkpoints.pretrained import load_whole
from bitlens.compression.checkpoints.readers import reader
from bitlens.compression.checkpoints.stored import find
from bitlens.errors import ModelError
from bitlens.models.files import weights_hash
from bitlens.models.load import Loaded
from bitlens.results.counts import count
from bitlens.results.files.reading import read_json

RECORD = "bitlens.json"
"""What `bitlens compress` writes beside the weights it made."""


@reader(None)
def read(request: CheckpointRequest) -> ReadCheckpoint:
    """The model in its own dtype."""
    model = load_whole(request, trust_remote_code=request.source.trust_remote_code, dtype="auto")
    stored = find(request.reference.model, model)
    found = ReadCheckpoint(
        format=str(model.dtype).removeprefix("torch."), kernels=False, model=model, stored=stored
    )
    record = Path(request.source.name) / RECORD
    return _recorded(record, found, request.reference) if record.is_file() else found


def _recorded(path: Path, found: ReadCheckpoint, reference: Loaded) -> ReadCheckpoint:
    """What was read, with what the matrices would take if they were stored as the compression made
    them, and what makes the record doubtful."""
    try:
        record = read_json(path)
        text, matrices = str(record["compression"]), dict(record["matrices"])
        weights, made_of = str(record["weights"]), str(record["reference"])
        inputs = set(record.get("inputs_rounded", ()))
        stored = dict(found.stored)
        for matrix, entry in matrices.items():
            name = matrix if matrix in stored else f"{matrix}.weight"
            bits, group = float(entry["bits"]), int(entry.get("group", 0))
            if not 0 < bits < math.inf or group < 0:
                raise ValueError(f"{bits} bits in groups of {group} for {matrix}")
            note = (
                "inputs not rounded in this folder" if matrix in inputs else entry.get("note", "")
            )
            stored[name] = replace(
                stored[name], bits=bits, format=text, group=group, note=str(note)
            )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(
            f"{path.name} beside the weights cannot be read: {type(error).__name__}: {error}.",
            '{"compression": text, "reference": hash, "weights": hash, "matrices": {name: {"bits":'
            ' 4.5, "group": 64, "note": ""}}}.',
            "the folder as bitlens compress wrote it, or take the file away.",
        ) from error
    if weights != weights_hash(path.parent):
        note = (
            f"{path.name} says {text}, but the weights are not those it was written for: it is "
            "not believed, and bits are those of what is stored."
        )
        return replace(found, notes=(note,))
    notes = []
    if made_of != reference.fingerprint:
        notes.append(
            f"It was made of {record.get('model', 'a model')} ({made_of}), and is compared with "
            f"{reference.name} ({reference.fingerprint}): what differs is not {text}'s doing "
            "alone, unless they are one model in two places."
        )
    if inputs:
        notes.append(
            f"The method rounds the inputs of {count(len(inputs), 'matrix')} too, which an "
            "ordinary folder cannot hold: what is measured here is its weights alone, less than "
            f"{text} does."
        )
    return replace(found, format=text, stored=stored, notes=tuple(notes))
