"""Loading: from a folder or a hub id to a model and its tokenizer, in memory or left on disk."""

import logging
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
from accelerate import init_empty_weights
from accelerate.utils import align_module_device
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from bitlens.errors import InputError, ModelError
from bitlens.models.compute import compute_dtype, dtype_of
from bitlens.models.configuration import (
    configuration,
    dequantized,
    require_described,
    skeleton,
)
from bitlens.models.explained import guarded
from bitlens.models.files import fingerprint, folder_of, require_files
from bitlens.models.folder import require_announced
from bitlens.models.layout import blocks_path
from bitlens.models.source import ModelSource, name_of
from bitlens.models.tensors import finite
from bitlens.models.whole import require_complete, require_joined
from bitlens.results.files.writing import ROOM, explained

WEIGHTS_SHARE = 0.7
"""Of the memory allowed: models whose weights need more are swept from disk."""


@dataclass(frozen=True, eq=False, kw_only=True)
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
    config = configuration(source)
    if Path(source.name).is_dir():
        guarded(source, lambda: require_announced(source.name, Path(source.name)))
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"{source.name} is an encoder-decoder ({config.model_type}).",
            "a decoder-only causal language model.",
            "bitlens list families shows which were tried.",
        )
    quantization, notes = dequantized(source, config)
    weight_bytes = _weight_bytes(config, source)
    offload = source.device_map is None and weight_bytes > WEIGHTS_SHARE * memory
    model = _model(source, config, quantization, offload=offload)
    tokenizer = guarded(
        source, lambda: AutoTokenizer.from_pretrained(source.name, **_common(source))
    )
    for name, parameter in parameters_of(model):
        require_finite(source, name, parameter)
    restore_buffers(model, config, source)
    if not Path(source.name).exists() and (folder := folder_of(source)) is not None:
        require_files(source.name, folder)
        guarded(source, lambda: require_announced(source.name, folder))
    return Loaded(
        name=name_of(source),
        model=model.eval(),
        tokenizer=tokenizer,
        fingerprint=fingerprint(source, config, type(model)),
        offloaded=offload,
        weight_bytes=weight_bytes,
        attention=model.config._attn_implementation,
        notes=(*notes, *_other_than_float32(source)),
        compute=compute_dtype(source.compute),
    )


def _model(source: ModelSource, config: Any, quantization: dict[str, Any], *, offload: bool) -> Any:
    """The model's weights where they are to lie: in memory, or its blocks on disk."""
    # Without the flag transformers falls back to pickles.
    arguments: dict[str, Any] = {
        "dtype": _dtype(source.dtype),
        "use_safetensors": True,
        **quantization,
        **_common(source),
    }
    device = _device(source.device)
    if source.device_map:
        arguments["device_map"] = source.device_map
    elif offload:
        arguments["device_map"] = _blocks_on_disk(config, source, device)
    with _lent(offload) as aside:
        if aside is not None:
            arguments["offload_folder"] = aside
        model = whole(source, AutoModelForCausalLM, source.name, **arguments)
        if aside is not None:
            weakref.finalize(model, shutil.rmtree, aside, ignore_errors=True)
    if not offload and not source.device_map:
        model = guarded(source, lambda: model.to(device))
    return model


def _common(source: ModelSource) -> dict[str, Any]:
    """What transformers is told of a source whatever it loads."""
    return {"revision": source.revision, "trust_remote_code": source.trust_remote_code}


@contextmanager
def _lent(wanted: bool) -> Iterator[str | None]:
    """A folder for blocks that are written anew; it is gone where that fails."""
    if not wanted:
        yield None
        return
    with explained(Path(tempfile.gettempdir()), ROOM, "TMPDIR=such a folder, or more --memory."):
        folder = tempfile.mkdtemp(prefix="bitlens-offload-")
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _other_than_float32(source: ModelSource) -> Iterator[str]:
    """That it is computed in 16 bits, which is a choice."""
    if compute_dtype(source.compute) != torch.float32:
        yield f"{name_of(source)} is computed in {source.compute}, as asked (--compute)."


def restore_buffers(model: PreTrainedModel, config: Any, source: ModelSource) -> None:
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
    with init_empty_weights(include_buffers=False), _Unfilled():
        exact = AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, trust_remote_code=source.trust_remote_code
        )
    for name in narrow:
        path, _, leaf = name.rpartition(".")
        device = model.get_buffer(name).device
        model.get_submodule(path)._buffers[leaf] = exact.get_buffer(name).to(device)


class _Unfilled(TorchFunctionMode):
    """Weights that nobody reads take no memory, not even one by one until they are let go."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = {"device": torch.device("meta")} if function is torch.empty else {}
        return function(*args, **{**(kwargs or {}), **made})


def whole(source: ModelSource, cls: Any, name: str | None, **arguments: Any) -> Any:
    """`from_pretrained`, refused where anything is missing or left over, with the names."""

    def loaded() -> Any:
        try:
            return cls.from_pretrained(
                name, output_loading_info=True, ignore_mismatched_sizes=True, **arguments
            )
        except RuntimeError:
            require_joined(source.name, report.said)
            raise

    with _kept() as report:
        model, found = guarded(source, loaded)
    require_complete(source.name, found)
    return model


class _Report(logging.Filter):
    """What transformers would print of a model's tensors, kept instead: names in it are somebody
    else's."""

    said = ""

    def filter(self, record: logging.LogRecord) -> bool:
        self.said += record.getMessage()
        return False


@contextmanager
def _kept() -> Iterator[_Report]:
    logger, report = logging.getLogger("transformers.modeling_utils"), _Report()
    before = logger.level
    # However quiet it was made; at a higher level it looks into other things, and reports on them.
    logger.setLevel(logging.INFO)
    logger.addFilter(report)
    try:
        yield report
    finally:
        logger.removeFilter(report)
        logger.setLevel(before)


def free_memory(source: ModelSource) -> int:
    """Bytes free where the model is to run."""
    device = _device(source.device)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def require_finite(source: ModelSource, name: str, weights: Tensor) -> None:
    """A weight that is no number makes all that is computed with it none. ModelError says how
    many."""
    # Numbers of 8 bits and fewer come with scales, and torch has no extremes of them.
    if not weights.is_floating_point() or weights.itemsize < 2 or finite(weights):
        return
    bad = int((~torch.isfinite(weights)).sum())
    raise ModelError(
        f"{name} of {name_of(source)} holds {bad:,} of {weights.numel():,} weights that are "
        f"infinite or not a number, in {str(weights.dtype).removeprefix('torch.')}.",
        "finite weights.",
        "fetch its files again; what float16 cannot hold, --dtype bfloat16 or float32 can.",
    )


def parameters_of(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every parameter, one module at a time; read from disk where it lives there."""
    for path, module in model.named_modules():
        with align_module_device(module):
            for name, parameter in module.named_parameters(recurse=False):
                yield f"{path}.{name}", parameter.detach()


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise InputError(f"There is no device {name!r}.", "auto, cpu, cuda or cuda:N.", "cpu")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(
            f"The device is {name}, but no GPU can be used.",
            "a CUDA build of torch and a GPU.",
            "--device cpu",
        )
    return device


def _dtype(name: str) -> torch.dtype | str:
    return name if name == "auto" else dtype_of(name)


def _weight_bytes(config: Any, source: ModelSource) -> int:
    made = guarded(source, lambda: skeleton(config, source))
    require_described(source, made)
    wanted = _dtype(source.dtype)
    if not isinstance(wanted, torch.dtype):
        wanted = getattr(config, "dtype", None) or torch.float32
    size: int = sum(p.numel() for p in made.parameters()) * wanted.itemsize
    return size


def _blocks_on_disk(config: Any, source: ModelSource, device: torch.device) -> dict[str, str]:
    """Every block on disk, everything else on the device (as text: what reads the files takes
    no other)."""
    made = skeleton(config, source)
    path = blocks_path(made, config.get_text_config().num_hidden_layers)
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

    place(made, "")
    return placed
