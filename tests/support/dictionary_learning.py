"""A random SAE as dictionary_learning's folders hold each of its classes."""

import json
from pathlib import Path
from typing import Any

import torch

from tests.support.saes import small_sae

PLAIN = small_sae("jumprelu")
_DRAW = torch.Generator().manual_seed(5)
R_MAG, GATE, MAG = 0.5 * torch.randn(3, 40, generator=_DRAW)
THRESHOLD = 0.7
_LINEAR = {
    "encoder.weight": PLAIN.w_enc.T.contiguous(),
    "decoder.weight": PLAIN.w_dec.T.contiguous(),
}
_PLAIN = {"W_enc": PLAIN.w_enc, "W_dec": PLAIN.w_dec, "b_enc": PLAIN.b_enc, "b_dec": PLAIN.b_dec}
_CHOICE = {"k": torch.tensor(5, dtype=torch.int), "threshold": torch.tensor(THRESHOLD)}
_AFFINE = _LINEAR | {"encoder.bias": PLAIN.b_enc}
STATES = {
    "AutoEncoder": _AFFINE | {"bias": PLAIN.b_dec},
    "AutoEncoderNew": _AFFINE | {"decoder.bias": PLAIN.b_dec},
    "GatedAutoEncoder": _LINEAR
    | {"decoder_bias": PLAIN.b_dec, "r_mag": R_MAG, "gate_bias": GATE, "mag_bias": MAG},
    "AutoEncoderTopK": _AFFINE | _CHOICE | {"b_dec": PLAIN.b_dec},
    "BatchTopKSAE": _AFFINE | _CHOICE | {"b_dec": PLAIN.b_dec},
    "MatryoshkaBatchTopKSAE": _PLAIN | _CHOICE | {"group_sizes": torch.tensor([10, 30])},
    "JumpReluAutoEncoder": _PLAIN | {"threshold": PLAIN.threshold},
}
"""The state dict of each of its classes."""


def write(folder: Path, kind: str, **other: Any) -> Path:
    """A trained dictionary of this class; `other` are settings of its trainer."""
    folder.mkdir(parents=True, exist_ok=True)
    trainer = {"dict_class": kind, "activation_dim": 12, "dict_size": 40, "k": 5, "layer": 3}
    trainer |= {"lm_name": "EleutherAI/tiny", "submodule_name": "resid_post_layer_3"}
    config = {"trainer": trainer | other, "buffer": {"d_submodule": 12, "io": "out", "ctx_len": 64}}
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(STATES[kind], folder / "ae.pt")
    return folder
