"""A checkpoint beside the reference whose twin it is: what is asked for, read and handed on."""

import copy
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bitlens.errors import ModelError
from bitlens.models.load import Loaded
from bitlens.models.source import ModelSource


@dataclass(frozen=True, eq=False, kw_only=True)
class Stored:
    """What a checkpoint holds for one parameter of its reference."""

    weight: Callable[[], Tensor]
    """The values it stands for, float32, in the reference's shape and orientation; made anew at
    every call, so that one at a time is in memory."""
    bits: float
    """Bits per weight with scales and zeros included; those of its dtype if not quantized."""
    format: str
    """`nf4`, `gptq`, `Q4_0`; its dtype if not quantized."""
    group: int = 0
    """Input columns within a row that share a scale; 0: whole rows or more do, or nothing does."""
    note: str = ""
    """What the user should know about how it is stored."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LoadedCheckpoint:
    """A twin with modules of its own."""

    name: str
    """For the reader: the hub id, or the folder's or file's own name."""
    format: str
    """`bitsandbytes nf4`, `gptq 4 bits`, `Q4_0 gguf`, `float32`."""
    kernels: bool
    """True: the library's own modules run, activations as deployed. False: ordinary matrices."""
    model: PreTrainedModel
    """In evaluation mode; its blocks are where the reference's are."""
    tokenizer: PreTrainedTokenizerBase
    fingerprint: str
    """Changes when the weights do."""
    stored: Mapping[str, Stored]
    """By the reference's parameter names, tied ones under each of their names."""
    notes: tuple[str, ...] = ()
    """What was decided on the way, in sentences: whose tokenizer is used, what cannot run here."""
    padding_matters: bool = False
    """Whether what stands at padding changes what is computed elsewhere in its row."""
    own_settings: tuple[str, ...] = ()
    """Settings that change what is computed, where they are not the reference's; its own are
    used."""
    left_out: tuple[str, ...] = ()
    """What the checkpoint does where it is deployed, and does not do here."""
    arithmetic: torch.dtype | None = None
    """What its kernels multiply in, where it is another dtype than their modules tell."""


@dataclass(frozen=True, eq=False)
class CheckpointRequest:
    """A checkpoint that is to be opened, and the reference whose twin it is."""

    source: ModelSource
    run: Literal["auto", "kernels", "weights"]
    reference: Loaded
    config: Any = None
    """Of a folder: its own config.json as transformers reads it."""

    @property
    def device(self) -> torch.device:
        """Where the reference runs."""
        parameters = self.reference.model.parameters()
        return next(p.device for p in parameters if p.device.type != "meta")


@dataclass(frozen=True, eq=False, kw_only=True)
class ReadCheckpoint:
    """What a format's reader makes of a request."""

    format: str
    kernels: bool
    model: PreTrainedModel
    stored: Mapping[str, Stored]
    notes: tuple[str, ...] = ()
    """How the modules multiply; no longer true of dequantized weights."""
    padding_matters: bool = False
    """Whether what stands at padding changes what is computed elsewhere in its row."""
    wrong: str = ""
    """Why what the modules compute on this machine is not what the checkpoint stands for."""
    exact: Mapping[str, Stored] | None = None
    """What the files hold, where the modules hold it rounded; taken when both agree."""
    undeployed: str = ""
    """Why nobody deploys these modules on a machine like this one: they run if asked for."""
    left_out: tuple[str, ...] = ()
    """What the checkpoint does where it is deployed, and neither modules nor weights do here."""
    arithmetic: torch.dtype | None = None
    """What the kernels multiply in, where it is another dtype than their modules tell."""


def library(name: str, extra: str, *, needed_for: str) -> ModuleType:
    """An optional library; ModelError, with what installs it, where it is absent or too old."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name == name.partition(".")[0]
        found = "is not installed" if absent else f"cannot be imported: {error}"
        raise ModelError(
            f"{needed_for} needs {name}, which {found}.",
            f"bitlens with its extra {extra!r}.",
            f"pip install 'bitlens[{extra}]'",
        ) from error


def quantization(config: Any) -> dict[str, Any]:
    """The quantization settings in a model's config.json; empty where there are none."""
    settings = getattr(config, "quantization_config", None) or {}
    return settings if isinstance(settings, dict) else settings.to_dict()


def ordinary(config: Any) -> Any:
    """A copy of a configuration without the quantization in it."""
    own = copy.deepcopy(config)
    if hasattr(own, "quantization_config"):
        del own.quantization_config
    return own
