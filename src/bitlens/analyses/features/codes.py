"""Codes kept of every position of a short text, so that it need not be read again to show where
features fire."""

import numpy as np
import torch

from bitlens.engine.accumulators import ReplicateState, SampledRows
from bitlens.engine.activations import Positions
from bitlens.engine.places import packed
from bitlens.results.records import DetailTable
from bitlens.sae.placed_sae import PlacedSae
from bitlens.sae.sparse_codes import Codes

CODES = "codes"
"""The table of where shown features fire, at all positions that count."""
MOST_BYTES = 64 << 20
"""Of an SAE's codes of one model; of more nothing is kept."""
CROWDED = 4
"""A batch with more than so many times the latents that fire in the reference loses its codes: what
was said of memory would not hold."""
_ENTRY = 8 + 2 + 4 + 4
"""Bytes of an activation: its position, shard, latent and value."""


def bytes_kept(placed: PlacedSae, positions: int) -> int:
    """What the codes of so many positions of one model take; 0 where they are not kept."""
    size = int(positions * placed.fit.l0 * _ENTRY)
    return size if size <= MOST_BYTES else 0


def entries(codes: Codes, at: Positions, placed: PlacedSae) -> SampledRows:
    """Every activation of a batch with its position; of a crowded one a single entry that says
    so, a latent below 0."""
    row, latent, value = codes.row, codes.latent, codes.value
    if len(row) > CROWDED * max(1.0, placed.fit.l0) * codes.rows:
        row, latent, value = row[:1], torch.full_like(latent[:1], -1), value[:1]
    place = packed(at.document, at.offset)
    values = {"latent": latent.to(torch.int32), "value": value}
    return SampledRows(place[row], at.shard[row].to(torch.int16), values)


def told(state: ReplicateState, label: str, latents: np.ndarray) -> DetailTable | None:
    """Where some latents of an SAE fire in either model, by position, then latent; None where
    that was not kept."""
    parts = []
    for of_twin, who in enumerate(("reference", "twin")):
        found = state.entries(f"{label}/{who}")
        if found is None or (found[1]["latent"] < 0).any():
            return None
        place, values = found
        mine = np.isin(values["latent"], latents)
        parts.append((place[mine], values["latent"][mine], values["value"][mine], of_twin))
    columns = {
        name: np.concatenate([part[n] for part in parts])
        for n, name in enumerate(("place", "latent", "value"))
    }
    length = [len(part[0]) for part in parts]
    columns["of_twin"] = np.repeat([False, True], length)
    return DetailTable(CODES, {"sae": np.full(sum(length), label), **columns})
