"""Named tensors as the bytes of a safetensors file, in which thousands of small ones cost hardly
more than one.

The sums of a sweep are many and small, some hundreds a site and twin and some of a single number.
Written one by one, most of a wave's time goes into their names. So small tensors of one type lie
one after another in a tensor of their own, and a list says which is where.
"""

import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

SMALL = 1 << 14
"""Elements. A larger tensor stands under its own name: joining copies, and what is copied must not
be what memory is bounded by."""
JOINED = "\x1fjoined\x1f"
PLACES = "\x1fplaces"
"""Names that no other tensor may have; the first is followed by a type's."""


def pack(tensors: Mapping[str, Tensor]) -> bytes:
    """The content of a file; the tensors are contiguous and on the processor."""
    out, joined = {}, dict[str, list[Tensor]]()
    places: list[tuple[str, str, list[int]]] = []
    for name, tensor in tensors.items():
        if tensor.numel() > SMALL:
            out[name] = tensor
        else:
            kind = str(tensor.dtype)
            joined.setdefault(kind, []).append(tensor.reshape(-1))
            places.append((name, kind, list(tensor.shape)))
    out |= {JOINED + kind: torch.cat(parts) for kind, parts in joined.items()}
    out[PLACES] = torch.frombuffer(bytearray(json.dumps(places).encode()), dtype=torch.uint8)
    return save(out)


def unpack(content: bytes) -> dict[str, Tensor]:
    """The inverse of `pack`, the large tensors first; small ones are views of what they were joined
    to. SafetensorError for what `pack` has not written."""
    out = load(content)
    try:
        places: list[Any] = json.loads(bytes(out.pop(PLACES).numpy()))
        shapes: dict[str, dict[str, torch.Size]] = {}
        for name, kind, shape in places:
            shapes.setdefault(kind, {})[name] = torch.Size(shape)
        for kind, of in shapes.items():
            parts = out.pop(JOINED + kind).split([shape.numel() for shape in of.values()])
            out |= {name: part.view(of[name]) for name, part in zip(of, parts, strict=True)}
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise SafetensorError("These are not sums as they were packed.") from error
    return out
