"""The format of SAELens: settings and tensors read whole, or refused with what is in the way.

Both layouts of `cfg.json` are read: the one since version 6, with a part `metadata`, and the
older one that keeps everything at the top level.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from bitlens.errors import SaeError
from bitlens.sae.conventions import B_DEC, CENTRING, SCALE, scaled
from bitlens.sae.formats.files import Tensors, agree, gated, known, read_bytes, settings
from bitlens.sae.formats.format import sae_format
from bitlens.sae.sae import Architecture, Normalisation, Published, Sae, TrainedOn

CONFIG = "cfg.json"
WEIGHTS = "sae_weights.safetensors"
SPARSITY = "sparsity.safetensors"
SCALER = "activation_scaler.json"
"""Beside an SAE whose training was not ended: what activations are multiplied by first."""
_LEAST = 1e-10
"""Added to a firing rate before its logarithm is written."""
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
    "seqpos_slice": list,
}
"""Settings that are used as they stand; each may also be missing, or null."""


@sae_format(
    "SAELens",
    files=(CONFIG, WEIGHTS),
    beside=(SCALER,),
    figures=SPARSITY,
    saelens_conversion="sae_lens",
)
def read_saelens(files: Mapping[str, bytes], folder: Path, overrides: Mapping[str, Any]) -> Sae:
    """The SAE in the bytes of a folder's files; `folder` names it in errors. `overrides` are
    settings that stand above those of the file: a release may know better."""
    config = _config(files[CONFIG], folder, overrides)
    tensors = Tensors.of_safetensors(files[WEIGHTS], folder / WEIGHTS)
    architecture = _architecture(config, folder)
    normalisation = _normalisation(config, folder)
    hook = _hook(config, folder)
    latents, width = tensors.sizes("W_dec", "[latents, width]")
    agree(config, {"d_sae": latents, "d_in": width}, folder / CONFIG, folder / WEIGHTS)
    weights = _weights(architecture, tensors, latents, width)
    rates = _rates(folder, latents)
    if architecture == "topk" and config.get("rescale_acts_by_decoder_norm"):
        _fold_decoder_norm(weights)
    if config.get("finetuning_scaling_factor"):
        _fold_finetuning(weights, tensors, latents)
    factor = _factor(files, folder) if normalisation == "expected_average_only_in" else None
    sae = Sae(
        label=folder.resolve().name,
        hook=hook,
        architecture=architecture,
        w_enc=weights["W_enc"],
        b_enc=weights["b_enc"],
        w_dec=weights["W_dec"],
        b_dec=weights["b_dec"],
        threshold=weights.get("threshold"),
        w_gate=weights.get("W_gate"),
        b_gate=weights.get("b_gate"),
        k=_k(config, latents, folder) if architecture == "topk" else None,
        apply_b_dec_to_input=config.get("apply_b_dec_to_input") is not False,
        normalisation=normalisation,
        trained_on=TrainedOn(
            model=config.get("model_name"),
            context=config.get("context_size"),
            prepend_bos=config.get("prepend_bos"),
            dtype=config.get("dtype"),
            loading=config.get("model_from_pretrained_kwargs") or {},
            positions=_positions(config),
            unsaid=tuple(_unsaid(config, normalisation, factor)),
            seed=seed if isinstance(seed := config.get("seed"), int) else None,
        ),
        published=Published() if rates is None else Published(l0=float(rates.sum())),
        firing_rate=rates,
        neuronpedia=_neuronpedia(config),
    )
    return sae if factor is None else replace(scaled(sae, factor), normalisation="none")


def _neuronpedia(config: Mapping[str, Any]) -> str | None:
    """Its name there; None for what could not be one."""
    name = config.get("neuronpedia_id")
    return name if isinstance(name, str) and re.fullmatch(r"[\w.-]+/[\w.-]+", name) else None


def _factor(files: Mapping[str, bytes], folder: Path) -> float | None:
    """What activations are multiplied by first, of a checkpoint into which it is not folded yet."""
    file = folder / SCALER
    if SCALER not in files:
        return None
    factor = settings(files[SCALER], file).get("scaling_factor")
    if factor is None:
        return None
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < math.inf:
        raise SaeError(
            f"{file} gives scaling_factor as {factor!r}.",
            "a positive number.",
            "the file that SAELens wrote.",
        )
    return float(factor)


def _unsaid(
    config: Mapping[str, Any], normalisation: Normalisation, factor: float | None
) -> Iterator[str]:
    """Which conventions are left open? The older layout was that of a time when TransformerLens
    centred by default."""
    loading = config.get("model_from_pretrained_kwargs") or {}
    if "metadata" not in config and CENTRING not in loading:
        yield CENTRING
    if normalisation == "expected_average_only_in" and factor is None:
        yield SCALE
    if config.get(B_DEC) is None:
        yield B_DEC


def _config(data: bytes, folder: Path, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The settings under their present names, what the metadata says beside the rest."""
    file = folder / CONFIG
    config = settings(data, file)
    if not isinstance(config.get("metadata", {}), dict):
        raise SaeError(
            f"{file} holds no settings in metadata.", "an object.", "the file that SAELens wrote."
        )
    # Before BOS became a setting, texts were read with it.
    older = {} if "metadata" in config else {"prepend_bos": True}
    config = {**older, **config, **config.get("metadata", {})}
    config = {_OLD_NAMES.get(name, name): value for name, value in config.items()} | {**overrides}
    for name, kind in _KINDS.items():
        known(config, name, kind, file)
    return config


def _architecture(config: Mapping[str, Any], folder: Path) -> Architecture:
    """The architecture that is named; in the older layout a standard one whose activation function
    is topk is topk."""
    name: Architecture = config.get("architecture", "standard")
    activation = config.get("activation_fn", "relu")
    if activation == "topk" and name == "standard":
        name = "topk"
    if "transcoder" in str(name):
        raise SaeError(
            f"{folder} is a transcoder ({name}).",
            "an autoencoder, which describes what it reads: a transcoder reads one place and "
            "predicts another, so it has no reconstruction of either that could be compared.",
            "another SAE of the model, of the residual stream, attention or MLP.",
        )
    if name not in get_args(Architecture):
        raise SaeError(
            f"The SAE {folder} is of the architecture {name!r}.",
            f"one of those that are read: {', '.join(get_args(Architecture))}.",
            "another SAE of the release; BatchTopK and Matryoshka ones are read as SAELens saves "
            "them for use (save_inference_model), as jumprelu.",
        )
    if name == "standard" and activation != "relu":
        raise SaeError(
            f"The SAE {folder} has the activation function {activation!r}.",
            "relu, or topk.",
            "another SAE of the release.",
        )
    if config.get("hook_head_index") is not None:
        raise SaeError(
            f"The SAE {folder} reads head {config['hook_head_index']} alone.",
            "an SAE of a whole site.",
            "another SAE of the release, such as one of the residual stream.",
        )
    reshape = config.get("reshape_activations", "none")
    if reshape != "none" or "hook_z" in str(config.get("hook_name")):
        raise SaeError(
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
    ways: dict[str, Normalisation] = {way: way for way in get_args(Normalisation)}
    if not isinstance(name, str) or name not in ways:
        raise SaeError(
            f"The SAE {folder} normalises activations in a way that is not known: {name!r}.",
            f"one of {', '.join(ways)}.",
            "an SAE whose normalisation is folded into its weights, as SAELens saves it for use.",
        )
    return ways[name]


def _hook(config: Mapping[str, Any], folder: Path) -> str:
    hook = config.get("hook_name")
    if not isinstance(hook, str) or not hook:
        raise SaeError(
            f"{folder / CONFIG} does not say where in the model the SAE belongs.",
            "hook_name, at the top level or in metadata, such as blocks.6.hook_resid_post.",
            "add it by hand if you know it.",
        )
    return hook


def _positions(config: Mapping[str, Any]) -> tuple[int | None, ...] | None:
    """The slice of positions it was trained on, if that leaves anything out."""
    ends = tuple(config.get("seqpos_slice") or ())
    return ends if any(end is not None for end in ends) else None


def _weights(
    architecture: Architecture, tensors: Tensors, latents: int, width: int
) -> dict[str, Tensor]:
    found = {
        "W_enc": tensors.take("W_enc", (width, latents)),
        "W_dec": tensors.take("W_dec", (latents, width)),
        "b_dec": tensors.take("b_dec", (width,)),
    }
    if architecture == "gated":
        b_gate, r_mag, b_mag = (
            tensors.take(name, (latents,)) for name in ("b_gate", "r_mag", "b_mag")
        )
        encoder = gated(found["W_enc"], b_gate, r_mag, b_mag, where=tensors.file)
        return found | dict(zip(("W_enc", "b_enc", "threshold"), encoder, strict=True))
    found["b_enc"] = tensors.take("b_enc", (latents,))
    if architecture == "jumprelu":
        found["threshold"] = tensors.take("threshold", (latents,))
    if architecture == "seed-gated":
        found["W_gate"] = tensors.take("W_gate", (width, latents))
        found["b_gate"] = tensors.take("b_gate", (latents,))
    return found


def _k(config: Mapping[str, Any], latents: int, folder: Path) -> int:
    """At the top level, or with the activation function in the older layout."""
    k = config.get("k", (config.get("activation_fn_kwargs") or {}).get("k"))
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= latents:
        raise SaeError(
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


def _fold_finetuning(weights: dict[str, Tensor], tensors: Tensors, latents: int) -> None:
    """Decoding multiplies each code by a factor of its own: the same, said in the decoder."""
    names = ("finetuning_scaling_factor", "scaling_factor")
    name = next((name for name in names if name in tensors), names[0])
    weights["W_dec"] = weights["W_dec"] * tensors.take(name, (latents,))[:, None]


def sparsity_of(rates: Tensor) -> Tensor:
    """`[latents]` float32: the log10 of firing rates, as SAELens writes them."""
    return (rates.double() + _LEAST).log10().float()


def _rates(folder: Path, latents: int) -> Tensor | None:
    """`[latents]` float64: SAELens may put beside an SAE the log10 of how often each latent
    fired."""
    file = folder / SPARSITY
    if not file.is_file():
        return None
    tensors = Tensors.of_safetensors(read_bytes(file), file)
    if "sparsity" not in tensors:
        return None
    rates = 10 ** tensors.take("sparsity", (latents,)).double() - _LEAST
    # What never fired comes back within rounding of nothing.
    return torch.where(rates > _LEAST, rates, 0.0)
