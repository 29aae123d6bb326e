"""The format of Gemma Scope.

JumpReLU SAEs (Lieberum et al. 2024) of Gemma 2 as one `params.npz` each. What is not in it stands
in the path: `gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82`.
"""

import io
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bitlens.errors import SaeError, told
from bitlens.results.files.reading import refuse_bomb
from bitlens.sae.formats.files import Tensors
from bitlens.sae.formats.format import sae_format
from bitlens.sae.sae import Published, Sae, TrainedOn

WEIGHTS = "params.npz"
_CONTEXT = 1024
_SITES = {"res": "hook_resid_post", "mlp": "hook_mlp_out"}


@sae_format("Gemma Scope", files=(WEIGHTS,), saelens_conversion="gemma_2")
def read_gemma_scope(files: Mapping[str, bytes], folder: Path, overrides: Mapping[str, Any]) -> Sae:
    """The SAE in the bytes of a `params.npz`; where it belongs is read off the folder's path."""
    tensors = _arrays(files[WEIGHTS], folder / WEIGHTS)
    latents, width = tensors.sizes("W_dec", "[latents, width]")
    path = folder.resolve().as_posix()
    hook = _hook(path, folder)
    w_enc, w_dec = tensors.take("W_enc", (width, latents)), tensors.take("W_dec", (latents, width))
    b_dec = tensors.take("b_dec", (width,))
    if hook == "hook_embed":
        # They read the embedding before Gemma multiplies it by the root of its width.
        root = width**0.5
        w_enc, w_dec, b_dec = w_enc / root, w_dec * root, b_dec * root
    l0 = re.search(r"average_l0_(\d+)", folder.resolve().name)
    size = re.search(r"gemma-scope-(\d+b)-(pt|it)", path)
    model = f"gemma-2-{size[1]}{'-it' if size[2] == 'it' else ''}" if size else None
    return Sae(
        label=".".join(folder.resolve().parts[-3:]),
        hook=hook,
        architecture="jumprelu",
        w_enc=w_enc,
        b_enc=tensors.take("b_enc", (latents,)),
        w_dec=w_dec,
        b_dec=b_dec,
        threshold=tensors.take("threshold", (latents,)),
        apply_b_dec_to_input=False,
        trained_on=TrainedOn(
            model=model,
            context=_CONTEXT,
            prepend_bos=True,
            loading=overrides.get("model_from_pretrained_kwargs") or {},
        ),
        published=Published(l0=float(l0[1]) if l0 else None),
    )


def _arrays(data: bytes, file: Path) -> Tensors:
    """Without unpickling: an array of objects is refused by numpy."""
    refuse_bomb(data, file)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            twice = {name for name in arrays.files if arrays.files.count(name) > 1}
            if twice:
                raise ValueError(f"{min(twice)} is in it twice")
            return Tensors(file, {name: torch.from_numpy(arrays[name]) for name in arrays.files})
    except (
        # A header may claim any shape; nothing is touched before the numbers are found.
        MemoryError,
        ValueError,
        EOFError,
        OSError,
        TypeError,
        AttributeError,
        NotImplementedError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise SaeError(
            f"{file} cannot be read as arrays: {told(error)}.",
            "an npz file of numbers: W_enc, W_dec, b_enc, b_dec, threshold.",
            "fetch it again.",
        ) from error


def _hook(path: str, folder: Path) -> str:
    """In the residual stream, unless the repository's name says attention or MLP."""
    repository = re.search(r"gemma-scope-\d+b-(?:pt|it)-(\w+)", path)
    kind = repository[1] if repository else "res"
    if kind not in _SITES:
        raise SaeError(
            f"{folder} belongs to gemma-scope's {kind}.",
            "an SAE of the residual stream (res) or of what the MLP adds (mlp): those of attention "
            "read the heads' outputs side by side, and a transcoder reads one place and predicts "
            "another.",
            "gemma-scope-2b-pt-res, for example.",
        )
    if re.search(r"embedding/width_\w+/\w+$", path):
        return "hook_embed"
    layer = re.search(r"layer_(\d+)/width_\w+/\w+$", path)
    if layer is None:
        raise SaeError(
            f"{folder} does not say where in the model the SAE belongs.",
            "folders called as Gemma Scope's are: layer_12/width_16k/average_l0_82.",
            "move params.npz into folders of these names.",
        )
    return f"blocks.{layer[1]}.{_SITES[kind]}"
