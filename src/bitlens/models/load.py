"""From a folder or a hub id to a model and its tokenizer, in memory or left on disk."""

import hashlib
import json
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from accelerate.utils import align_module_device
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from bitlens.compress.weights import finite
from bitlens.errors import BitlensError, told
from bitlens.models.folder import require_announced, require_whole
from bitlens.models.layout import blocks_path
from bitlens.models.source import ModelSource
from bitlens.registry import nearest

WEIGHTS_SHARE = 0.7
"""Of the memory allowed: models whose weights need more are swept from disk."""


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
    require_model(source)
    if Path(source.name).is_dir():
        guarded(source, lambda: require_announced(source.name, Path(source.name)))
    config = guarded(source, lambda: AutoConfig.from_pretrained(source.name, **common))
    if getattr(config, "is_encoder_decoder", False):
        raise BitlensError(
            f"{source.name} is an encoder-decoder ({config.model_type}).",
            "a decoder-only causal language model.",
            "bitlens list families shows which were tried.",
        )
    device = _device(source.device)
    weight_bytes = _weight_bytes(config, source)
    offload = source.device_map is None and weight_bytes > WEIGHTS_SHARE * memory
    # Without the flag transformers falls back to pickles.
    arguments: dict[str, Any] = {
        "dtype": _dtype(source.dtype),
        "use_safetensors": True,
        **common,
    }
    if source.device_map:
        arguments["device_map"] = source.device_map
    elif offload:
        arguments["device_map"] = _blocks_on_disk(config, source, device)
        arguments["offload_folder"] = tempfile.mkdtemp(prefix="bitlens-offload-")
    model = guarded(source, lambda: AutoModelForCausalLM.from_pretrained(source.name, **arguments))
    if offload:
        folder = arguments["offload_folder"]
        weakref.finalize(model, shutil.rmtree, folder, ignore_errors=True)
    elif not source.device_map:
        model = guarded(source, lambda: model.to(device))
    tokenizer = guarded(source, lambda: AutoTokenizer.from_pretrained(source.name, **common))
    for name, parameter in _parameters(model):
        require_finite(source, name, parameter)
    return Loaded(
        name_of(source),
        model.eval(),
        tokenizer,
        fingerprint(source, config),
        offload,
        weight_bytes,
        model.config._attn_implementation,
    )


def free_memory(source: ModelSource) -> int:
    """Bytes free where the model is to run."""
    device = _device(source.device)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def name_of(source: ModelSource) -> str:
    """What is the model called? The hub id, or the folder's own name."""
    path = Path(source.name)
    return path.resolve().name if path.exists() else source.name


def require_model(source: ModelSource) -> None:
    """Say early and plainly what a path lacks; a hub id is left to the hub."""
    path = Path(source.name)
    if not path.exists():
        if source.name.count("/") > 1 or source.name.startswith((".", "/", "~")):
            near = nearest(path.name, [p.name for p in path.parent.glob("*")])
            raise BitlensError(
                f"There is no folder {source.name}.",
                "a folder with config.json, safetensors weights and a tokenizer, or a hub id.",
                near or "the path of a downloaded model.",
            )
        return
    require_whole(source.name, path)
    if not (path / "config.json").is_file():
        raise BitlensError(
            f"{source.name} is not a model: it has no config.json.",
            "a transformers folder: config.json, *.safetensors, tokenizer.json.",
            "the folder that save_pretrained wrote.",
        )
    require_safetensors(source.name, path)


def require_safetensors(name: str, folder: Path) -> None:
    """Libraries fall back to pickles, or follow an index to them."""
    pickles = [path.name for path in folder.glob("*.bin")]
    if any(folder.glob("*.safetensors")):
        pickles = [file for file in _listed(name, folder) if not file.endswith(".safetensors")]
    if pickles:
        raise BitlensError(
            f"{name} has its weights as pickles ({min(pickles)}) only.",
            "safetensors: unpickling runs whatever code is in the file.",
            "save it again with save_pretrained, which writes safetensors.",
        )


def _listed(name: str, folder: Path) -> Iterator[str]:
    """The files of a model that is in several."""
    for index in folder.glob("*.safetensors.index.json"):
        try:
            files = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise BitlensError(
                f"{index.name} of {name} cannot be read: {type(error).__name__}: {error}.",
                '{"weight_map": {parameter: file}}, as save_pretrained writes it.',
                "fetch the folder again.",
            ) from error
        yield from map(str, files)


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
    text = told(error)
    if "trust_remote_code" in text:
        return BitlensError(
            f"{source.name} comes with code of its own.",
            "a model that transformers knows; code from a model is run only when asked for.",
            "read that code, then --trust-remote-code.",
        )
    if "gated" in text.lower() or "401" in text or "403" in text:
        return BitlensError(
            f"{source.name} may not be read: {text}.",
            "a public model, or one whose licence you have accepted.",
            "accept the licence on its page and set HF_TOKEN.",
        )
    if "not the path" in text or "is not a local folder" in text or "connect" in text.lower():
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
    return name if name == "auto" else getattr(torch, name)


def _skeleton(config: Any, source: ModelSource) -> nn.Module:
    """The model without weights."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=source.trust_remote_code)


def _weight_bytes(config: Any, source: ModelSource) -> int:
    skeleton = guarded(source, lambda: _skeleton(config, source))
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


def fingerprint(source: ModelSource, config: Any) -> str:
    """Which weights are these? Of a folder, a hash of every weight file; of a hub model, its
    commit. Whichever transformers reads them."""
    aside = ("_name_or_path", "transformers_version")
    settings = {k: v for k, v in config.to_dict().items() if k not in aside}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    folder = Path(source.name)
    if folder.is_dir():
        digest.update(weights_hash(folder).encode())
    else:
        digest.update(str(getattr(config, "_commit_hash", None) or source.revision).encode())
    return digest.hexdigest()[:16]


def weights_hash(folder: Path) -> str:
    """Of every weight file in a folder, and its name."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
