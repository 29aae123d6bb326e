"""Folders that hold something else than a model whose weights are what its config.json says: told
apart, and refused with what they do hold."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import safe_open

from bitlens.errors import ModelError
from bitlens.models.files import require_files, weight_files
from bitlens.models.source import ModelSource, refuse_absent_folder
from bitlens.results.files.reading import read_bytes, read_json

SETTINGS = "quantization_config"
"""Where config.json announces that weights are codes."""

SIDE_FILES = ("hf_quant_config.json", "quantize_config.json", "quant_config.json")
"""Where ModelOpt, AutoGPTQ and AutoAWQ wrote it before transformers knew of them."""

LEFT_OVER = re.compile(
    r".*("
    # compressed-tensors, ModelOpt and fine-grained FP8
    r"weight_(packed|shape|scale|scale_2|scale_inv|global_scale|zero_point|g_idx)"
    r"|(input|output)_(scale|global_scale|zero_point)|\.[qkv]_scale"
    r"|\.(qweight|qzeros|scales|g_idx)"  # GPTQ, AWQ, MLX
    r"|\.W_q"  # HQQ
    r"|\.SCB|\.weight\.(absmax|quant_map|nested_absmax|quant_state\..*)"  # bitsandbytes
    r"|_proj_(blocks|scales)"  # MXFP4
    r"|:_weight_.*|\._weight_(qdata|scale|zero_point)"  # torchao
    r")"
)
"""What stands beside codes and is no parameter of any model."""


def require_whole(name: str, folder: Path) -> None:
    """Refuses what only looks like a model's folder: an adapter, a folder of the hub's cache."""
    snapshots = folder / "snapshots"
    if folder.resolve().name.startswith("models--") and snapshots.is_dir():
        main = folder / "refs" / "main"
        found = sorted(path.name for path in snapshots.iterdir() if path.is_dir())
        if main.is_file() and (text := read_bytes(main).decode(errors="replace").strip()) in found:
            found = [text]
        raise ModelError(
            f"{name} is a folder of the hub's cache: the model's files are in its snapshots.",
            "the folder of one snapshot, or the model's hub id.",
            f"{Path(name) / 'snapshots' / found[-1]}" if found else "fetch it again: it has none.",
        )
    if (folder / "adapter_config.json").is_file():
        adapter = _json(folder / "adapter_config.json")
        kind = str(adapter.get("peft_type", "PEFT"))
        base = str(adapter.get("base_model_name_or_path") or "another model")
        raise ModelError(
            f"{name} holds an adapter ({'LoRA' if kind == 'LORA' else kind} of {base}): what is"
            " added to a model's weights, not a model.",
            "a whole model, with the adapter merged into its weights.",
            "with peft: AutoPeftModelForCausalLM.from_pretrained(ADAPTER).merge_and_unload()"
            ".save_pretrained(MERGED), then MERGED.",
        )


def require_announced(name: str, folder: Path) -> None:
    """Refuses codes that config.json does not announce: taken for weights, they are noise of the
    right shape. Small files and the headers of weights are read, no weights."""
    config = _json(folder / "config.json")
    if not config.get(SETTINGS) and (found := unannounced(folder, config)):
        raise ModelError(
            f"{name} holds quantized codes that its config.json does not announce:"
            f" {'; '.join(found)}.",
            f"weights of 16 or 32 bits, or a {SETTINGS} in config.json that says what the codes"
            " stand for.",
            _remedy(folder, config),
        )


def unannounced(folder: Path, config: dict[str, Any]) -> list[str]:
    """What there is besides ordinary weights, in words."""
    found = []
    tensors = list(_tensors(folder))
    codes = [(n, dtype) for n, dtype, shape in tensors if _is_narrow(dtype) and not _is_mask(shape)]
    if codes:
        found.append(f"{codes[0][0]} is stored as {codes[0][1]}{_more(codes)}")
    scales = [n for n, _, _ in tensors if LEFT_OVER.fullmatch(n)]
    if scales:
        found.append(f"{scales[0]} is no weight of a model{_more(scales)}")
    found += [f"{file} says {said}" for file in SIDE_FILES if (said := _said(folder / file))]
    found += [f"config.json has {key!r}" for key in _other_keys(config)]
    return found


def _is_narrow(dtype: str) -> bool:
    return dtype != "BOOL" and int((re.findall(r"\d+", dtype) or ["16"])[0]) <= 8


def _is_mask(shape: list[int]) -> bool:
    """Causal masks that older versions saved with the weights."""
    return len(shape) == 4 and shape[:2] == [1, 1] and shape[2] == shape[3]


def _more(found: list[Any]) -> str:
    return f" ({len(found) - 1} more)" if len(found) > 1 else ""


def _tensors(folder: Path) -> Iterator[tuple[str, str, list[int]]]:
    """Name, dtype and shape of all that is in the files."""
    for file in weight_files(folder):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                part = tensors.get_slice(name)
                yield name, part.get_dtype(), list(part.get_shape())


def _said(path: Path) -> str:
    """The settings of a side file, shortly; empty where it says that nothing is quantized."""
    if not path.is_file():
        return ""
    whole = _json(path)
    settings = whole.get("quantization", whole)
    settings = settings if isinstance(settings, dict) else whole
    keys = ("quant_algo", "kv_cache_quant_algo", "bits", "w_bit", "quant_method")
    said = [f"{key} {settings[key]}" for key in keys if settings.get(key)]
    return ", ".join(said)[:200]


def _other_keys(config: dict[str, Any]) -> list[str]:
    """Where other programs announce it; transformers does not look there."""
    return [k for k in ("compression_config", "quantization", "quant_config") if config.get(k)]


def _remedy(folder: Path, config: dict[str, Any]) -> str:
    whole = "else the model that it was quantized from."
    if (folder / "quantize_config.json").is_file():
        settings = {"quant_method": "gptq", **_json(folder / "quantize_config.json")}
        return f'add to config.json: "{SETTINGS}": {json.dumps(settings)[:300]}; {whole}'
    if config.get("compression_config"):
        return f'call "compression_config" in config.json "{SETTINGS}"; {whole}'
    return f"the {SETTINGS} of the program that wrote it, added to config.json; {whole}"


def _json(path: Path) -> dict[str, Any]:
    found = read_json(path) if path.exists() else None
    return found if isinstance(found, dict) else {}


def require_model(source: ModelSource) -> None:
    """Say early and plainly what a path lacks; a hub id is left to the hub. ModelError names it."""
    path = Path(source.name)
    refuse_absent_folder(source)
    if not path.exists():
        return
    require_whole(source.name, path)
    if not (path / "config.json").is_file():
        raise ModelError(
            f"{source.name} is not a model: it has no config.json.",
            "a transformers folder: config.json, *.safetensors, tokenizer.json.",
            "the folder that save_pretrained wrote.",
        )
    require_files(source.name, path)
