from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bitlens.sae.formats.format import sae_format
from bitlens.sae.sae import Sae


@sae_format("arrays", files=("site.txt", "arrays.npz"))
def read_arrays(files: Mapping[str, bytes], folder: Path, overrides: Mapping[str, Any]) -> Sae:
    """A TopK SAE as numpy arrays, beside a file that says where it reads."""
    arrays = np.load(BytesIO(files["arrays.npz"]))
    names = ("w_enc", "b_enc", "w_dec", "b_dec")
    tensors = {name: torch.from_numpy(arrays[name]) for name in names}
    hook, k = files["site.txt"].decode().strip(), int(arrays["k"])
    return Sae(label=folder.name, hook=hook, architecture="topk", k=k, **tensors)
