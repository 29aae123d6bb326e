"""From a folder or a hub id to a model and its tokenizer, in memory or left on disk."""

import logging
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from accelerate import init_empty_weights
from accelerate.utils import align_module_device
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.quantization_config import Mxfp4Config

from bitlens.compress.weights import finite
from bitlens.errors import BitlensError, told
from bitlens.models.compute import dtype_of
from bitlens.models.files import fingerprint, folder_of, held, require_files, weight_files
from bitlens.models.folder import require_announced, require_whole
from bitlens.models.layout import blocks_path
from bitlens.models.source import ModelSource
from bitlens.models.whole import require_complete
from bitlens.registry import nearest_file

WEIGHTS_SHARE = 0.7
"""Of the memory allowed: models whose weights need more are swept from disk."""
LARGEST = {
    "num_hidden_layers": 4096,
    "num_layers": 4096,
    "n_layer": 4096,
    "n_layers": 4096,
    "max_position_embeddings": 1 << 24,
    "n_positions": 1 << 24,
}
"""Of what a configuration may ask for: many times what any model has."""
DESCRIBED = 1 << 28
"""Weights that a configuration may describe beyond twice what the files hold; missing ones are
then named, and many more than that would take the memory first."""
DEQUANTIZED = {"mxfp4": Mxfp4Config}
"""Methods of which transformers makes ordinary weights again when it loads them."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model ready to be audited."""

    name: str
    """For the reader: the hub id, or the folder's own name (its path is nobody's business)."""
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    fingerprint: str
    """Changes when the weights do."""
    offloaded: bool
    """Whether the blocks are read from disk, one after another."""
    weight_bytes: int
    attention: str
    """The implementation it was loaded with."""
    notes: tuple[str, ...] = ()
    """How it is otherwise than its files, in sentences."""
    compute: torch.dtype = torch.float32
    """What it is computed in, whatever its weights are stored in."""


@contextmanager
def attention(model: PreTrainedModel, implementation: str) -> Iterator[None]:
    """While this lasts, the model attends by this implementation."""
    before = model.config._attn_implementation
    if before != implementation:
        model.set_attn_implementation(implementation)
    try:
        yield
    finally:
        if before != implementation:
            model.set_attn_implementation(before)


def load(source: ModelSource, memory: int) -> Loaded:
    """The model in evaluation mode and its tokenizer; `memory` in bytes.

    Blocks stay on disk, through accelerate's offloading, when the weights would take more than
    a share of the memory. Raises BitlensError for what is not there, not whole, not a causal LM,
    or needs code of its own without the flag.
    """
    common = {"revision": source.revision, "trust_remote_code": source.trust_remote_code}
    config = configuration(source)
    if Path(source.name).is_dir():
        guarded(source, lambda: require_announced(source.name, Path(source.name)))
    if getattr(config, "is_encoder_decoder", False):
        raise BitlensError(
            f"{source.name} is an encoder-decoder ({config.model_type}).",
            "a decoder-only causal language model.",
            "bitlens list families shows which were tried.",
        )
    quantization, notes = _dequantized(source, config)
    device = _device(source.device)
    weight_bytes = _weight_bytes(config, source)
    offload = source.device_map is None and weight_bytes > WEIGHTS_SHARE * memory
    # Without the flag transformers falls back to pickles.
    arguments: dict[str, Any] = {
        "dtype": _dtype(source.dtype),
        "use_safetensors": True,
        **quantization,
        **common,
    }
    if source.device_map:
        arguments["device_map"] = source.device_map
    elif offload:
        arguments["device_map"] = _blocks_on_disk(config, source, device)
        arguments["offload_folder"] = tempfile.mkdtemp(prefix="bitlens-offload-")
    model = whole(source, AutoModelForCausalLM, source.name, **arguments)
    if offload:
        folder = arguments["offload_folder"]
        weakref.finalize(model, shutil.rmtree, folder, ignore_errors=True)
    elif not source.device_map:
        model = guarded(source, lambda: model.to(device))
    tokenizer = guarded(source, lambda: AutoTokenizer.from_pretrained(source.name, **common))
    for name, parameter in _parameters(model):
        require_finite(source, name, parameter)
    _restore_buffers(model, config, source)
    if not Path(source.name).exists() and (folder := folder_of(source)) is not None:
        require_files(source.name, folder)
        guarded(source, lambda: require_announced(source.name, folder))
    return Loaded(
        name_of(source),
        model.eval(),
        tokenizer,
        fingerprint(source, config, type(model)),
        offload,
        weight_bytes,
        model.config._attn_implementation,
        notes,
        dtype_of(source.compute),
    )


def _restore_buffers(model: PreTrainedModel, config: Any, source: ModelSource) -> None:
    """Numbers that a model derives from its configuration in the dtype of its weights, such as the
    factor that Gemma multiplies its embeddings with, as they are in float32."""
    narrow = {
        name
        for name, buffer in model.named_buffers()
        if buffer.is_floating_point() and buffer.itemsize < 4 and not buffer.is_meta
    }
    narrow -= model.state_dict().keys()
    if not narrow:
        return
    with init_empty_weights(include_buffers=False):
        exact = AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, trust_remote_code=source.trust_remote_code
        )
    for name in narrow:
        path, _, leaf = name.rpartition(".")
        device = model.get_buffer(name).device
        model.get_submodule(path)._buffers[leaf] = exact.get_buffer(name).to(device)


def whole(source: ModelSource, cls: Any, name: str | None, **arguments: Any) -> Any:
    """`from_pretrained`, refused where anything is missing or left over, with the names."""
    with _unreported():
        model, report = guarded(
            source,
            lambda: cls.from_pretrained(
                name, output_loading_info=True, ignore_mismatched_sizes=True, **arguments
            ),
        )
    require_complete(source.name, report)
    return model


@contextmanager
def _unreported() -> Iterator[None]:
    """transformers prints a table of what is missing or left over; it is an error here, and the
    names in it are somebody else's."""
    logger = logging.getLogger("transformers.modeling_utils")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def configuration(source: ModelSource, **arguments: Any) -> Any:
    """What its config.json says; refused where no model could be made of it."""
    require_model(source)
    common = {"revision": source.revision, "trust_remote_code": source.trust_remote_code}
    # Its class may make a list as long as the model is deep: the number is looked at before.
    settings, _ = guarded(
        source,
        lambda: PretrainedConfig.get_config_dict(
            source.name, revision=source.revision, **arguments
        ),
    )
    _require_sizes(source, settings)
    config = guarded(source, lambda: AutoConfig.from_pretrained(source.name, **common, **arguments))
    depth = getattr(config.get_text_config(), "num_hidden_layers", None)
    if not getattr(config, "is_encoder_decoder", False) and not (type(depth) is int and depth > 0):
        raise _unbelievable(source, "num_hidden_layers", depth)
    return config


def _require_sizes(source: ModelSource, settings: Mapping[str, Any]) -> None:
    for key, value in settings.items():
        if isinstance(value, dict):
            _require_sizes(source, value)
        elif key in LARGEST and type(value) is int and value > LARGEST[key]:
            raise _unbelievable(source, key, value)


def _unbelievable(source: ModelSource, key: str, value: Any) -> BitlensError:
    return BitlensError(
        f"config.json of {source.name} gives {key} as {value!r}.",
        f"a whole number from 1 to {LARGEST[key]:,}.",
        "the config.json that was published with these weights.",
    )


def _dequantized(source: ModelSource, config: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """How a reference is loaded whose weights are stored as codes, and what is said of it."""
    text = config.get_text_config(decoder=True)
    settings = getattr(config, "quantization_config", None) or getattr(
        text, "quantization_config", None
    )
    if not settings:
        return {}, ()
    settings = settings if isinstance(settings, dict) else settings.to_dict()
    method = settings.get("quant_method")
    method = getattr(method, "value", method)
    if method not in DEQUANTIZED:
        raise BitlensError(
            f"{source.name} is quantized ({method}): it has no weights that could be compressed "
            "or compared with.",
            "a reference in 16 or 32 bits"
            f" ({' and '.join(name.upper() for name in DEQUANTIZED)} can be undone).",
            "the model that it was made from as the reference, and beside it --to "
            f"checkpoint:{source.name} (inspect: --twin {source.name}).",
        )
    note = (
        f"{name_of(source)} is stored in {method.upper()}; its weights were dequantized when it "
        "was loaded, and what is compressed and compared is that."
    )
    return {"quantization_config": DEQUANTIZED[method](dequantize=True)}, (note,)


def free_memory(source: ModelSource) -> int:
    """Bytes free where the model is to run."""
    device = _device(source.device)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def name_of(source: ModelSource) -> str:
    """What is the model called? The hub id, of a folder in its cache too, or the folder's own
    name."""
    path = Path(source.name)
    if not path.exists():
        return source.name
    path = path.resolve()
    if path.parent.name == "snapshots" and path.parents[1].name.startswith("models--"):
        return path.parents[1].name.removeprefix("models--").replace("--", "/")
    return path.name


def require_model(source: ModelSource) -> None:
    """Say early and plainly what a path lacks; a hub id is left to the hub."""
    path = Path(source.name)
    if not path.exists():
        if source.name.count("/") > 1 or source.name.startswith((".", "/", "~")):
            raise BitlensError(
                f"There is no folder {source.name}.",
                "a folder with config.json, safetensors weights and a tokenizer, or a hub id.",
                nearest_file(path) or "the path of a downloaded model.",
            )
        return
    require_whole(source.name, path)
    if not (path / "config.json").is_file():
        raise BitlensError(
            f"{source.name} is not a model: it has no config.json.",
            "a transformers folder: config.json, *.safetensors, tokenizer.json.",
            "the folder that save_pretrained wrote.",
        )
    require_files(source.name, path)


def require_finite(source: ModelSource, name: str, weights: Tensor) -> None:
    """A weight that is no number makes all that is computed with it none."""
    # Numbers of 8 bits and fewer come with scales, and torch has no extremes of them.
    if not weights.is_floating_point() or weights.itemsize < 2 or finite(weights):
        return
    bad = int((~torch.isfinite(weights)).sum())
    raise BitlensError(
        f"{name} of {name_of(source)} holds {bad:,} of {weights.numel():,} weights that are "
        f"infinite or not a number, in {str(weights.dtype).removeprefix('torch.')}.",
        "finite weights.",
        "fetch its files again; what float16 cannot hold, --dtype bfloat16 or float32 can.",
    )


def _parameters(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every parameter, one module at a time; read from disk where it lives there."""
    for path, module in model.named_modules():
        with align_module_device(module):
            for name, parameter in module.named_parameters(recurse=False):
                yield f"{path}.{name}", parameter.detach()


def guarded(source: ModelSource, action: Any) -> Any:
    """transformers' many errors as one that says what to do."""
    try:
        return action()
    except BitlensError:
        raise
    except Exception as error:
        # safetensors raises a class of its own for files that are cut short.
        if type(error).__module__.startswith("safetensors") or "Safetensor" in str(type(error)):
            raise BitlensError(
                f"The weights of {source.name} cannot be read: {error}.",
                "whole safetensors files.",
                "compare their sizes with the original's and fetch them again.",
            ) from error
        raise _explained(source, error) from error


def _explained(source: ModelSource, error: Exception) -> BitlensError:
    text, said = told(error), " ".join(str(error).split())
    if "trust_remote_code" in said:
        return BitlensError(
            f"{source.name} comes with code of its own.",
            "a model that transformers knows; code from a model is run only when asked for.",
            "read that code, then --trust-remote-code.",
        )
    if "gated" in said.lower() or re.search(r"\b40[13]\b", said):
        return BitlensError(
            f"{source.name} may not be read: {text}.",
            "a public model, or one whose licence you have accepted.",
            "accept the licence on its page and set HF_TOKEN.",
        )
    if "not the path" in said or "is not a local folder" in said or "connect" in said.lower():
        return BitlensError(
            f"{source.name} is no folder here and could not be had from the hub: {text}.",
            "a folder, or a hub id that can be reached or is in the cache.",
            "check the spelling and the network; HF_HUB_OFFLINE=1 uses the cache alone.",
        )
    return BitlensError(
        f"{source.name} could not be loaded: {type(error).__name__}: {text}.",
        "a causal language model that transformers loads.",
        "python -c \"import transformers as t; t.AutoModelForCausalLM.from_pretrained('...')\" "
        "shows the whole error.",
    )


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise BitlensError(f"There is no device {name!r}.", "auto, cpu, cuda or cuda:N.", "cpu")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BitlensError(
            f"The device is {name}, but no GPU can be used.",
            "a CUDA build of torch and a GPU.",
            "--device cpu",
        )
    return device


def _dtype(name: str) -> torch.dtype | str:
    return name if name == "auto" else dtype_of(name)


def _skeleton(config: Any, source: ModelSource) -> nn.Module:
    """The model without weights."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=source.trust_remote_code)


def _require_described(source: ModelSource, skeleton: nn.Module) -> None:
    """What is missing would be made up, and take memory, before anyone could say so."""
    folder = folder_of(source)
    if folder is None or not weight_files(folder):
        return
    described = sum(p.numel() for p in skeleton.parameters())
    found = guarded(source, lambda: held(folder))
    if described > 2 * found + DESCRIBED:
        raise BitlensError(
            f"config.json of {source.name} describes {described:,} weights; its files hold "
            f"{found:,}.",
            "a configuration and the weights of one model.",
            "fetch all of its files again.",
        )


def _weight_bytes(config: Any, source: ModelSource) -> int:
    skeleton = guarded(source, lambda: _skeleton(config, source))
    _require_described(source, skeleton)
    wanted = _dtype(source.dtype)
    if not isinstance(wanted, torch.dtype):
        wanted = getattr(config, "dtype", None) or torch.float32
    return sum(p.numel() for p in skeleton.parameters()) * wanted.itemsize


def _blocks_on_disk(config: Any, source: ModelSource, device: torch.device) -> dict[str, str]:
    """Every block on disk, everything else on the device (as text: what reads the files takes
    no other)."""
    skeleton = _skeleton(config, source)
    path = blocks_path(skeleton, config.get_text_config().num_hidden_layers)
    placed: dict[str, str] = {}

    def place(module: nn.Module, prefix: str) -> None:
        for name, child in module.named_children():
            full = f"{prefix}{name}"
            if full == path:
                placed.update({f"{full}.{n}": "disk" for n, _ in child.named_children()})
            elif path.startswith(f"{full}."):
                place(child, f"{full}.")
            else:
                placed[full] = str(device)

    place(skeleton, "")
    return placed
