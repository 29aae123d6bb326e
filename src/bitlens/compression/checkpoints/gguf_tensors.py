"""Which tensors of a GGUF file hold a parameter, and reading them where transformers does not."""

import re
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bitlens.compression.checkpoints.checkpoint import Stored
from bitlens.compression.checkpoints.gguf_settings import says
from bitlens.errors import ModelError

READ_HERE = {"gpt_oss"}
"""Architectures whose experts transformers looks for under names that no file has (5.23)."""

EXPERTS = {"gate_up_proj": ("gate", "up"), "down_proj": ("down",)}
"""What fused parameters of experts are called in the file, where gate and up stand apart."""


class Names:
    """The tensors of a file, by the names that parameters have in transformers."""

    def __init__(self, gguf: Any, reader: Any, blocks: int) -> None:
        written = str(says(reader, "general.architecture"))
        architecture = next(a for a, name in gguf.MODEL_ARCH_NAMES.items() if name == written)
        self._names = gguf.get_tensor_name_map(architecture, blocks)
        self.tensors: dict[str, Any] = {tensor.name: tensor for tensor in reader.tensors}

    def tensors_of(self, parameter: str) -> list[Any]:
        """Those that hold it, in their order; empty where there is none."""
        leaf = parameter.rpartition(".")[2]
        whole = leaf.removesuffix("_bias")
        block = re.search(r"\.(\d+)\.", parameter)
        if block and whole in EXPERTS:
            kind = "weight" if whole == leaf else "bias"
            names = [f"blk.{block[1]}.ffn_{part}_exps.{kind}" for part in EXPERTS[whole]]
        else:
            name = str(self._names.get_name(parameter, try_suffixes=(".weight", ".bias")))
            names = [name, f"{name}.weight"]
        return [self.tensors[name] for name in names if name in self.tensors]


def read_tensors(gguf: Any, names: Names, reference: nn.Module, file: str) -> dict[str, Stored]:
    """Every parameter of the reference from the file, as the reference stores it. BitlensError
    where one is not there, or of another size."""
    stored = {}
    for name, parameter in reference.named_parameters(remove_duplicate=False):
        found = names.tensors_of(name)
        if not found and name == "lm_head.weight":
            found = names.tensors_of("model.embed_tokens.weight")
        if not found:
            raise ModelError(
                f"{file} has no weights for {name}.",
                "a weight for every weight of the reference.",
                "a whole file, converted from this reference.",
            )
        size = sum(int(tensor.n_elements) for tensor in found)
        if size != parameter.numel():
            raise ModelError(
                f"{file} has {size:,} weights for {name}, the reference {parameter.numel():,}.",
                "two models of one architecture and size.",
                "a file converted from this reference.",
            )
        weight = partial(_weight, gguf, found, turned=parameter.ndim == 3)
        stored[name] = Stored(weight=weight, bits=32.0, format="F32")
    return stored


def _weight(gguf: Any, tensors: list[Any], *, turned: bool) -> Tensor:
    """What they stand for; rows of gate and up in turn; experts as `[expert, in, out]`."""
    # What is stored in float32 is the file itself, which nobody may write to.
    read = [gguf.dequantize(tensor.data, tensor.tensor_type) for tensor in tensors]
    parts = [torch.from_numpy(np.require(numbers, np.float32, ("C", "W"))) for numbers in read]
    rows = 1 if parts[0].ndim > 1 else 0
    whole = torch.stack(parts, rows + 1).flatten(rows, rows + 1) if len(parts) > 1 else parts[0]
    return whole.mT.contiguous() if turned else whole
