"""The format of sparsify (eai-sparsify).

A folder a module, called like it (`layers.5`, `h.5`, `layers.5.mlp`), with the run's own settings
in the folder above. `multi_topk` and `normalize_decoder` are about training: they change nothing
here.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bitlens.errors import SaeError
from bitlens.results.files.reading import require_inside
from bitlens.sae.formats.files import Tensors, agree, known, settings, settings_beside
from bitlens.sae.formats.format import sae_format
from bitlens.sae.sae import Sae, TrainedOn

CONFIG = "cfg.json"
WEIGHTS = "sae.safetensors"
RUN = "config.json"
_FOREIGN = {
    "transcode": "predicts what its module gives from what it gets",
    "skip_connection": "adds a linear map of its input to what it decodes",
    "embed_skip": "adds a map of the embedding to what it decodes",
    "gram_lookup": "takes away the mean of each n-gram first",
    "signed": "keeps the largest codes of either sign",
}
"""Settings that make it another thing than an autoencoder of one activation."""


@sae_format("sparsify", files=(CONFIG, WEIGHTS), saelens_conversion="sparsify")
def read_sparsify(files: Mapping[str, bytes], folder: Path, overrides: Mapping[str, Any]) -> Sae:
    """The SAE in the bytes of a folder's two files; `folder` names it, and its place. SaeError for
    a k that is none, or files that do not agree."""
    file = folder / CONFIG
    config = settings(files[CONFIG], file)
    _refuse(config, folder)
    tensors = Tensors.of_safetensors(files[WEIGHTS], folder / WEIGHTS)
    latents, width = tensors.sizes("W_dec", "[latents, width]")
    agree(config, {"d_in": width}, file, folder / WEIGHTS)
    k = known(config, "k", int, file)
    if k is None or not 1 <= k <= latents:
        raise SaeError(
            f"{file} gives k as {k!r}.",
            f"a whole number from 1 to {latents}, the number of latents.",
            "the file that sparsify wrote.",
        )
    # Of several seeds each has a folder inside that of the module.
    seeded = re.fullmatch(r"seed\d+", folder.resolve().name) is not None
    place = folder.resolve().parent if seeded else folder.resolve()
    require_inside(place.parent, place.parent / RUN, f"{RUN} beside {place.name} leads to")
    run = settings_beside(place.parent / RUN)
    return Sae(
        label=f"{place.name}.{folder.resolve().name}" if seeded else place.name,
        hook=place.name,
        architecture="topk",
        w_enc=tensors.take("encoder.weight", (latents, width)).T.contiguous(),
        b_enc=tensors.take("encoder.bias", (latents,)),
        w_dec=tensors.take("W_dec", (latents, width)),
        b_dec=tensors.take("b_dec", (width,)),
        k=k,
        trained_on=TrainedOn(
            model=known(run, "model", str, place.parent / RUN),
            context=known(run, "ctx_len", int, place.parent / RUN),
            loading=overrides.get("model_from_pretrained_kwargs") or {},
        ),
    )


def _refuse(config: Mapping[str, Any], folder: Path) -> None:
    for name, meaning in _FOREIGN.items():
        if config.get(name):
            raise SaeError(
                f"{folder} has {name} set: it {meaning}.",
                "a sparse autoencoder, which describes what it reads by its codes alone.",
                "another SAE of the model.",
            )
    if config.get("activation", "topk") != "topk":
        raise SaeError(
            f"{folder} has the activation {config['activation']!r}.",
            "topk, the activation that sparsify's SAEs are read with here.",
            "another SAE of the model.",
        )
