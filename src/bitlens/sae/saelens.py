"""What do SAELens' settings and tensors mean? Read whole, or refused with what is in the way.

Both layouts of `cfg.json` are read: the one since version 6, with a part `metadata`, and the
older one that keeps everything at the top level.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from bitlens.errors import BitlensError
from bitlens.sae.sae import Architecture, Normalisation, Sae, TrainedOn

CONFIG = "cfg.json"
WEIGHTS = "sae_weights.safetensors"
FOLDER = f"a SAELens folder: {CONFIG} and {WEIGHTS}."
_OLD_NAMES = {
    "hook_point": "hook_name",
    "hook_point_head_index": "hook_head_index",
    "activation_fn_str": "activation_fn",
}
_KINDS: dict[str, type] = {
    "activation_fn_kwargs": dict,
    "apply_b_dec_to_input": bool,
    "context_size": int,
    "dtype": str,
    "finetuning_scaling_factor": bool,
    "model_from_pretrained_kwargs": dict,
    "model_name": str,
    "prepend_bos": bool,
    "rescale_acts_by_decoder_norm": bool,
}
"""Settings that are used as they stand; each may also be missing, or null."""


def read_saelens(settings: bytes, weights: bytes, folder: Path, fingerprint: str) -> Sae:
    """The SAE in the bytes of a folder's two files; `folder` names it in errors."""
    return _sae(_config(settings, folder), _tensors(weights, folder), folder, fingerprint)


def _config(data: bytes, folder: Path) -> dict[str, Any]:
    """The settings under their present names, what the metadata says beside the rest."""
    try:
        config = json.loads(data)
    except ValueError as error:
        raise BitlensError(
            f"{folder / CONFIG} is not JSON: {error}.", FOLDER, "fetch the folder again."
        ) from error
    if not isinstance(config, dict) or not isinstance(config.get("metadata", {}), dict):
        raise BitlensError(
            f"{folder / CONFIG} holds no settings.",
            "a JSON object; `metadata`, where there is one, an object as well.",
            "the file that SAELens wrote.",
        )
    config = {**config, **config.get("metadata", {})}
    config = {_OLD_NAMES.get(name, name): value for name, value in config.items()}
    for name, kind in _KINDS.items():
        if not isinstance(config.get(name), kind | None):
            raise BitlensError(
                f"{folder / CONFIG} gives {name} as {config[name]!r}.",
                f"a {kind.__name__}.",
                "the file that SAELens wrote.",
            )
    return config


def _tensors(data: bytes, folder: Path) -> dict[str, Tensor]:
    try:
        return load(data)
    except SafetensorError as error:
        raise BitlensError(
            f"{folder / WEIGHTS} is not a whole safetensors file: {error}.",
            FOLDER,
            "fetch the folder again.",
        ) from error


def _sae(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], folder: Path, fingerprint: str
) -> Sae:
    architecture = _architecture(config, folder)
    normalisation = _normalisation(config, folder)
    hook = _hook(config, folder)
    latents, width = _sizes(tensors, config, folder)
    shapes = {
        "W_enc": (width, latents),
        "b_enc": (latents,),
        "W_dec": (latents, width),
        "b_dec": (width,),
    }
    if architecture == "jumprelu":
        shapes["threshold"] = (latents,)
    weights = {name: _tensor(tensors, name, shape, folder) for name, shape in shapes.items()}
    k = _k(config, latents, folder) if architecture == "topk" else None
    if architecture == "topk" and config.get("rescale_acts_by_decoder_norm"):
        _fold_decoder_norm(weights)
    if config.get("finetuning_scaling_factor"):
        _fold_finetuning(weights, tensors, latents, folder)
    return Sae(
        label=folder.resolve().name,
        hook=hook,
        architecture=architecture,
        w_enc=weights["W_enc"],
        b_enc=weights["b_enc"],
        w_dec=weights["W_dec"],
        b_dec=weights["b_dec"],
        threshold=weights.get("threshold"),
        k=k,
        apply_b_dec_to_input=config.get("apply_b_dec_to_input") is not False,
        normalisation=normalisation,
        trained_on=TrainedOn(
            config.get("model_name"),
            config.get("context_size"),
            config.get("prepend_bos"),
            config.get("dtype"),
            config.get("model_from_pretrained_kwargs") or {},
        ),
        fingerprint=fingerprint,
    )


def _architecture(config: Mapping[str, Any], folder: Path) -> Architecture:
    """As named; in the older layout a standard one whose activation function is topk is topk."""
    name = config.get("architecture", "standard")
    activation = config.get("activation_fn", "relu")
    if activation == "topk" and name == "standard":
        name = "topk"
    if name not in get_args(Architecture):
        raise BitlensError(
            f"The SAE {folder} is of the architecture {name!r}.",
            f"one of those that are read: {', '.join(get_args(Architecture))}.",
            "another SAE of the release; BatchTopK ones are saved for use as jumprelu.",
        )
    if name == "standard" and activation != "relu":
        raise BitlensError(
            f"The SAE {folder} has the activation function {activation!r}.",
            "relu, or topk.",
            "another SAE of the release.",
        )
    if config.get("hook_head_index") is not None:
        raise BitlensError(
            f"The SAE {folder} reads head {config['hook_head_index']} alone.",
            "an SAE of a whole site.",
            "another SAE of the release, such as one of the residual stream.",
        )
    reshape = config.get("reshape_activations", "none")
    if reshape != "none" or "hook_z" in str(config.get("hook_name")):
        raise BitlensError(
            f"The SAE {folder} reads the heads' outputs side by side (hook_z).",
            "an SAE of the residual stream, of what attention or the MLP adds, or of neurons.",
            "another SAE of the release, such as one at hook_resid_post.",
        )
    return name


def _normalisation(config: Mapping[str, Any], folder: Path) -> Normalisation:
    """By name; the oldest layout has a truth value, None or nothing."""
    name = config.get("normalize_activations") or "none"
    if name is True:
        name = "expected_average_only_in"
    known: dict[str, Normalisation] = {way: way for way in get_args(Normalisation)}
    if not isinstance(name, str) or name not in known:
        raise BitlensError(
            f"The SAE {folder} normalises activations in a way that is not known: {name!r}.",
            f"one of {', '.join(known)}.",
            "an SAE whose normalisation is folded into its weights, as SAELens saves it for use.",
        )
    return known[name]


def _hook(config: Mapping[str, Any], folder: Path) -> str:
    hook = config.get("hook_name")
    if not isinstance(hook, str) or not hook:
        raise BitlensError(
            f"{folder / CONFIG} does not say where in the model the SAE belongs.",
            "hook_name, at the top level or in metadata, such as blocks.6.hook_resid_post.",
            "add it by hand if you know it.",
        )
    return hook


def _sizes(
    tensors: Mapping[str, Tensor], config: Mapping[str, Any], folder: Path
) -> tuple[int, int]:
    """Latents and width: as the decoder has them, and not otherwise in the settings."""
    decoder = tensors.get("W_dec")
    if decoder is None or decoder.ndim != 2 or 0 in decoder.shape:
        raise BitlensError(
            f"{folder / WEIGHTS} has no decoder; it holds {_shapes(tensors)}.",
            "W_dec of shape [latents, width].",
            "the file that SAELens wrote.",
        )
    latents, width = decoder.shape
    said = (config.get("d_sae", latents), config.get("d_in", width))
    if said != (latents, width):
        raise BitlensError(
            f"{folder / CONFIG} says d_sae {said[0]} and d_in {said[1]}; "
            f"W_dec has {latents} and {width}.",
            "settings and weights of one SAE.",
            "fetch the folder again: its files are of different SAEs.",
        )
    return latents, width


def _tensor(
    tensors: Mapping[str, Tensor], name: str, shape: tuple[int, ...], folder: Path
) -> Tensor:
    """A tensor of the shape it must have, finite, in float32."""
    tensor = tensors.get(name)
    if tensor is None or tuple(tensor.shape) != shape:
        found = "is missing" if tensor is None else f"has shape {list(tensor.shape)}"
        raise BitlensError(
            f"{name} {found} in {folder / WEIGHTS}.",
            f"{name} of shape {list(shape)} (the file holds {_shapes(tensors)}).",
            "the folder that SAELens wrote, settings and weights of one SAE.",
        )
    tensor = tensor.float().contiguous()
    if not bool(tensor.isfinite().all()):
        raise BitlensError(
            f"{name} in {folder / WEIGHTS} holds {int((~tensor.isfinite()).sum()):,} values that "
            "are not finite.",
            "finite weights.",
            "fetch the folder again; if it is the same, its training failed.",
        )
    return tensor


def _k(config: Mapping[str, Any], latents: int, folder: Path) -> int:
    """At the top level, or with the activation function in the older layout."""
    k = config.get("k", (config.get("activation_fn_kwargs") or {}).get("k"))
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= latents:
        raise BitlensError(
            f"{folder / CONFIG} gives k as {k!r} for a topk SAE.",
            f"a whole number from 1 to {latents}, the number of latents.",
            "the file that SAELens wrote.",
        )
    return k


def _fold_decoder_norm(weights: dict[str, Tensor]) -> None:
    """A latent's size is measured along a unit decoder row: the same, said in the weights."""
    norm = weights["W_dec"].norm(dim=1)
    weights["W_enc"] = weights["W_enc"] * norm
    weights["b_enc"] = weights["b_enc"] * norm
    weights["W_dec"] = weights["W_dec"] / norm.clamp(min=torch.finfo(norm.dtype).tiny)[:, None]


def _fold_finetuning(
    weights: dict[str, Tensor], tensors: Mapping[str, Tensor], latents: int, folder: Path
) -> None:
    """Decoding multiplies each code by a factor of its own: the same, said in the decoder."""
    names = ("finetuning_scaling_factor", "scaling_factor")
    name = next((name for name in names if name in tensors), names[0])
    factor = _tensor(tensors, name, (latents,), folder)
    weights["W_dec"] = weights["W_dec"] * factor[:, None]


def _shapes(tensors: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{n} {list(t.shape)}" for n, t in sorted(tensors.items())) or "nothing"
