"""The format of the library dictionary_learning.

A folder holds `config.json` (trainer and buffer) and `ae.pt`, a pickle: read with nothing allowed
in it but tensors. Its linear layers are stored as torch does, `[out, in]`; when training has
scaled activations the scale is already in the biases.
"""

import io
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bitlens.errors import SaeError, told
from bitlens.results.files.reading import refuse_bomb
from bitlens.sae.formats.files import Tensors, agree, every, gated, known, settings, settings_beside
from bitlens.sae.formats.format import sae_format
from bitlens.sae.sae import Architecture, Published, Sae, TrainedOn

CONFIG = "config.json"
WEIGHTS = "ae.pt"
EVALUATION = "eval_results.json"
ARCHITECTURES: dict[str, Architecture] = {
    "AutoEncoder": "standard",
    "AutoEncoderNew": "standard",
    "GatedAutoEncoder": "gated",
    "AutoEncoderTopK": "topk",
    "BatchTopKSAE": "jumprelu",
    "MatryoshkaBatchTopKSAE": "jumprelu",
    "JumpReluAutoEncoder": "jumprelu",
}
"""Its classes. The batchwise ones have one threshold for all latents, measured in training."""
_BIASES = {
    "AutoEncoder": "bias",
    "AutoEncoderNew": "decoder.bias",
    "GatedAutoEncoder": "decoder_bias",
}
_NOT_SUBTRACTED = {"AutoEncoderNew", "JumpReluAutoEncoder"}


@sae_format(
    "dictionary_learning",
    files=(CONFIG, WEIGHTS),
    figures=EVALUATION,
    saelens_conversion="dictionary_learning_1",
)
def read_dictionary_learning(
    files: Mapping[str, bytes], folder: Path, overrides: Mapping[str, Any]
) -> Sae:
    """The SAE in the bytes of a folder's two files; `folder` names it in errors. SaeError for
    another class, or files that do not agree."""
    file = folder / CONFIG
    config = settings(files[CONFIG], file)
    trainer = known(config, "trainer", dict, file) or {}
    buffer = known(config, "buffer", dict, file) or {}
    kind = known(trainer, "dict_class", str, file)
    if kind not in ARCHITECTURES:
        raise SaeError(
            f"{folder} is of the class {kind!r}.",
            f"one of {', '.join(ARCHITECTURES)}.",
            "another SAE of the release.",
        )
    hook = _hook(trainer, buffer, folder)
    tensors = _state(files[WEIGHTS], folder / WEIGHTS)
    w_enc, w_dec = _matrices(tensors)
    latents, width = w_dec.shape
    agree(trainer, {"dict_size": latents, "activation_dim": width}, file, folder / WEIGHTS)
    w_enc, b_enc, threshold = _encoder(kind, w_enc, tensors)
    path = folder.resolve()
    return Sae(
        label=f"{path.parent.name}.{path.name}" if path.name.startswith("trainer_") else path.name,
        hook=hook,
        architecture=ARCHITECTURES[kind],
        w_enc=w_enc,
        b_enc=b_enc,
        w_dec=w_dec,
        b_dec=tensors.take(_BIASES.get(kind, "b_dec"), (width,)),
        threshold=threshold,
        k=_k(trainer, tensors, latents, file) if kind == "AutoEncoderTopK" else None,
        apply_b_dec_to_input=kind not in _NOT_SUBTRACTED,
        trained_on=TrainedOn(
            model=known(trainer, "lm_name", str, file),
            context=known(buffer, "ctx_len", int, file),
            loading=overrides.get("model_from_pretrained_kwargs") or {},
        ),
        published=_published(folder),
    )


def _state(data: bytes, file: Path) -> Tensors:
    """Names and tensors; a pickle that holds anything else is not unpickled."""
    refuse_bomb(data, file)
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        raise SaeError(
            f"{file} is not read: {told(error)}.",
            "a file that torch.save wrote from a state dict, tensors and nothing else.",
            "fetch it again; what runs code when it is loaded is refused on purpose.",
        ) from error
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise SaeError(
            f"{file} holds no state dict.",
            "tensors by name.",
            "torch.save(dictionary.state_dict(), 'ae.pt')",
        )
    for name, tensor in state.items():
        # A view may repeat a few numbers without end.
        if tensor.numel() * tensor.itemsize > tensor.untyped_storage().nbytes():
            raise SaeError(
                f"{name} in {file} has shape {list(tensor.shape)}, but the file does not hold as "
                "many numbers.",
                "tensors that are stored whole.",
                "fetch it again from where it was published.",
            )
    # torch.compile puts a word before every name.
    named = {str(name).removeprefix("_orig_mod."): tensor for name, tensor in state.items()}
    return Tensors(file, named)


def _matrices(tensors: Tensors) -> tuple[Tensor, Tensor]:
    """Encoder `[width, latents]` and decoder `[latents, width]`."""
    if "W_dec" in tensors:
        latents, width = tensors.sizes("W_dec", "[latents, width]")
        return tensors.take("W_enc", (width, latents)), tensors.take("W_dec", (latents, width))
    width, latents = tensors.sizes("decoder.weight", "[width, latents]")
    w_enc = tensors.take("encoder.weight", (latents, width))
    return w_enc.T.contiguous(), tensors.take("decoder.weight", (width, latents)).T.contiguous()


def _encoder(kind: str, w_enc: Tensor, tensors: Tensors) -> tuple[Tensor, Tensor, Tensor | None]:
    """Its matrix, bias and thresholds."""
    latents = w_enc.shape[1]
    if kind == "GatedAutoEncoder":
        names = ("gate_bias", "r_mag", "mag_bias")
        b_gate, r_mag, b_mag = (tensors.take(name, (latents,)) for name in names)
        return gated(w_enc, b_gate, r_mag, b_mag, where=tensors.file)
    b_enc = tensors.take("b_enc" if "b_enc" in tensors else "encoder.bias", (latents,))
    if kind == "JumpReluAutoEncoder":
        return w_enc, b_enc, tensors.take("threshold", (latents,))
    if ARCHITECTURES[kind] == "jumprelu":
        return w_enc, b_enc, every(tensors.take("threshold", ()), latents)
    return w_enc, b_enc, None


def _k(trainer: Mapping[str, Any], tensors: Tensors, latents: int, file: Path) -> int:
    """`k` of the weights, for training may have lowered it step by step; else of the settings."""
    k = int(tensors.take("k", ())) if "k" in tensors else known(trainer, "k", int, file)
    if k is None or not 1 <= k <= latents:
        raise SaeError(
            f"{file} gives k as {k!r} for a TopK SAE.",
            f"a whole number from 1 to {latents}, the number of latents.",
            "the folder as it was published.",
        )
    return k


def _hook(trainer: Mapping[str, Any], buffer: Mapping[str, Any], folder: Path) -> str:
    """The submodule's name; without one, the layer's residual stream."""
    if buffer.get("io", "out") != "out":
        raise SaeError(
            f"{folder} reads the {buffer['io']!r} of its module.",
            "what a module gives (out).",
            "another SAE of the release.",
        )
    name, layer = trainer.get("submodule_name"), trainer.get("layer")
    if isinstance(name, str) and re.search(r"\d", name):
        return name
    if isinstance(layer, int):
        return f"blocks.{layer}.hook_resid_post"
    raise SaeError(
        f"{folder / CONFIG} does not say where in the model the SAE belongs.",
        "trainer.submodule_name, such as resid_post_layer_3, or trainer.layer.",
        "add it by hand if you know it.",
    )


def _published(folder: Path) -> Published:
    """What the library's own evaluation found, where it was saved beside."""
    found = settings_beside(folder / EVALUATION)
    names = ("frac_variance_explained", "l0", "frac_alive")
    numbers = (found.get(name) for name in names)
    explained, l0, alive = map(_figure, numbers)
    return Published(None if explained is None else 1 - explained, l0, alive)


def _figure(number: Any) -> float | None:
    """None for what is no number, not finite, or beyond all floats."""
    known = isinstance(number, int | float) and abs(number) <= sys.float_info.max
    return float(number) if known else None
