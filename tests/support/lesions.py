"""Lesions of known places in the embedded model, as ordinary folders of a checkpoint."""

from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from torch import nn

from bitlens.demo import model_path, sae_paths
from bitlens.sae.formats.load import load_sae

SIZE = 32
"""Numbers of one head of the embedded model."""
HEAD, BLIND, BLOCK, SITE = (2, 5), (1, 3), 2, 1
"""Head without an output, head without queries, block of two bits, block with a muted feature."""


def _columns(head: int) -> slice:
    return slice(head * SIZE, (head + 1) * SIZE)


def silence(model: nn.Module, block: int, head: int) -> None:
    """What one head hands to the output projection is multiplied with nought."""
    model.model.layers[block].self_attn.o_proj.weight[:, _columns(head)] = 0


def blind(model: nn.Module, block: int, head: int) -> None:
    """One head has no queries: it looks everywhere alike."""
    model.model.layers[block].self_attn.q_proj.weight[_columns(head)] = 0


def two_bits(model: nn.Module, block: int) -> None:
    """Every matrix of one block is rounded to four values a row."""
    for module in model.model.layers[block].modules():
        if isinstance(module, nn.Linear):
            weight = module.weight
            scale = weight.abs().amax(dim=1, keepdim=True) / 1.5
            module.weight.copy_(((weight / scale - 0.5).round().clamp(-2, 1) + 0.5) * scale)


def mute(model: nn.Module, block: int, direction: torch.Tensor) -> None:
    """A block writes nothing along one direction, neither by attention nor by its MLP."""
    along = direction / direction.norm()
    layer = model.model.layers[block]
    for module in (layer.self_attn.o_proj, layer.mlp.down_proj):
        module.weight -= torch.outer(along, along @ module.weight)


@torch.no_grad()
def planted(folder: Path, lesion: Callable[[nn.Module], None]) -> str:
    """The embedded model with a lesion, written to a folder: a compression that names it."""
    model = transformers.AutoModelForCausalLM.from_pretrained(model_path(), dtype=torch.float32)
    lesion(model)
    model.save_pretrained(folder)
    return f"checkpoint:{folder}"


def direction_of(latent: int) -> torch.Tensor:
    """Where the embedded SAE of block 1 writes one latent."""
    return load_sae(sae_paths()[0]).w_dec[latent].float()
