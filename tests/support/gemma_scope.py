"""A random SAE as Gemma Scope's folders hold it."""

from pathlib import Path
from typing import Any

import numpy as np

from tests.support.saes import small_sae

PLAIN = small_sae("jumprelu", apply_b_dec_to_input=False)
ARRAYS = {
    "W_enc": PLAIN.w_enc,
    "W_dec": PLAIN.w_dec,
    "b_enc": PLAIN.b_enc,
    "b_dec": PLAIN.b_dec,
    "threshold": PLAIN.threshold,
}


def write(folder: Path, **other: Any) -> Path:
    """The arrays, `other` in the place of some."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {name: np.asarray(values) for name, values in (ARRAYS | other).items()}
    np.savez(folder / "params.npz", **arrays)
    return folder
