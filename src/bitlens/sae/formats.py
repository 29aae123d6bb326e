"""What does an SAE's folder say? One reader a format, every surprise an error that helps.

For now SAELens' folders: `cfg.json` and `sae_weights.safetensors`.
"""

import hashlib
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from bitlens.errors import BitlensError
from bitlens.records import to_json
from bitlens.sae.sae import Sae
from bitlens.sae.saelens import CONFIG, FOLDER, WEIGHTS, read_saelens

_LAYOUT = "6.0.0"
"""The version of SAELens whose layout is written: without it SAELens takes a file for an older
one and forgets the place."""


def load_sae(path: Path | str) -> Sae:
    """The SAE in a folder. Raises BitlensError for a folder that is no SAE, is not whole, or is
    of a kind that is not read."""
    folder = Path(path)
    _require_folder(folder)
    settings, weights = _read(folder / CONFIG), _read(folder / WEIGHTS)
    fingerprint = hashlib.sha256(settings + b"\0" + weights).hexdigest()
    return read_saelens(settings, weights, folder, fingerprint)


def save_sae(sae: Sae, path: Path | str) -> None:
    """Write the folder that `load_sae` and SAELens read."""
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"W_enc": sae.w_enc, "b_enc": sae.b_enc, "W_dec": sae.w_dec, "b_dec": sae.b_dec}
    config: dict[str, Any] = {
        "architecture": sae.architecture,
        "d_in": sae.width,
        "d_sae": sae.latents,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": sae.apply_b_dec_to_input,
        "normalize_activations": sae.normalisation,
        "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": _LAYOUT,
            "hook_name": sae.hook,
            "model_name": sae.trained_on.model,
            "context_size": sae.trained_on.context,
            "prepend_bos": sae.trained_on.prepend_bos,
            "model_from_pretrained_kwargs": sae.trained_on.loading,
        },
    }
    if sae.threshold is not None:
        tensors["threshold"] = sae.threshold
    if sae.k is not None:
        config |= {"k": sae.k, "rescale_acts_by_decoder_norm": False}
    save_file({n: t.detach().cpu().contiguous() for n, t in tensors.items()}, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)
    (folder / CONFIG).write_text(to_json(config, indent=1) + "\n", encoding="utf-8")


def _require_folder(folder: Path) -> None:
    if (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file():
        return
    if not folder.is_dir():
        raise BitlensError(f"There is no folder {folder}.", FOLDER, "the path of a downloaded SAE.")
    below = sorted(config.parent for config in folder.rglob(CONFIG))
    if below and below[0] != folder:
        names = ", ".join(path.relative_to(folder).as_posix() for path in below[:8])
        more = f" and {len(below) - 8} more" if len(below) > 8 else ""
        raise BitlensError(
            f"{folder} is not an SAE but holds {len(below)}: {names}{more}.",
            FOLDER,
            f"one of them: {below[0]}",
        )
    missing = CONFIG if not (folder / CONFIG).is_file() else WEIGHTS
    there = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing"
    raise BitlensError(
        f"{folder} has no {missing}; it holds {there}.",
        FOLDER,
        "the folder that SAELens' save_model wrote; pickles (.pt) and other formats are not read.",
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BitlensError(
            f"{path} cannot be read: {error.strerror or error}.",
            "a file this user may read.",
            f"ls -l {path}",
        ) from error
