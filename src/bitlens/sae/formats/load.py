"""SAEs read from folders and releases, by the reader of their format, and written as SAELens
writes them; every surprise is an error that helps."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from bitlens.errors import BitlensError, SaeError
from bitlens.results.files.reading import refuse_links
from bitlens.results.files.writing import write
from bitlens.results.records import to_json
from bitlens.sae.conventions import SCALE, scaled
from bitlens.sae.formats.files import read_bytes
from bitlens.sae.formats.format import SaeFormat, sae_formats
from bitlens.sae.formats.releases import ReleaseEntry, fetch, find, is_release
from bitlens.sae.formats.saelens import CONFIG, SPARSITY, WEIGHTS, sparsity_of
from bitlens.sae.sae import Sae

_LAYOUT = "6.0.0"
"""The version of SAELens whose layout is written: without it SAELens takes a file for an older
one and forgets the place."""


def load_sae(source: Path | str) -> Sae:
    """The SAE in a folder, beside the file of its weights, or of a release
    (`release:RELEASE:SAE_ID`), which is downloaded.

    Raises BitlensError for what is no SAE, is not whole, or is of a kind that is not read."""
    if isinstance(source, str) and is_release(source):
        return _of_release(find(source))
    folder, known = _find(Path(source))
    return _read(folder, known, {})


def conversions() -> dict[str, SaeFormat]:
    """The formats that SAELens reads releases in, by its names for them."""
    return {f.saelens_conversion: f for f in sae_formats() if f.saelens_conversion is not None}


def _of_release(entry: ReleaseEntry) -> Sae:
    """An SAE as SAELens reads it: the table's settings and scale are part of what it is."""
    read_here = conversions()
    if entry.conversion not in read_here:
        raise SaeError(
            f"{entry.text} is in a format that is not read ({entry.conversion}).",
            f"one of {', '.join(read_here)}.",
            "another release, or SAELens itself: load it there, save_model, and name the folder.",
        )
    known = read_here[entry.conversion]
    folder = fetch(entry, known.files, known.figures)
    sae = _read(folder, known, entry.overrides)
    meaning = to_json([entry.overrides, entry.scale])
    if entry.scale is not None and sae.normalisation == "expected_average_only_in":
        unsaid = tuple(name for name in sae.trained_on.unsaid if name != SCALE)
        sae = scaled(sae, entry.scale)
        sae = replace(sae, trained_on=replace(sae.trained_on, unsaid=unsaid))
    return replace(
        sae,
        fingerprint=hashlib.sha256(f"{sae.fingerprint} {meaning}".encode()).hexdigest(),
        published=replace(
            sae.published,
            fvu=sae.published.fvu if entry.fvu is None else entry.fvu,
            l0=sae.published.l0 if entry.l0 is None else entry.l0,
        ),
    )


def _read(folder: Path, known: SaeFormat, overrides: Mapping[str, Any]) -> Sae:
    beside = [name for name in known.beside if (folder / name).is_file()]
    files = {name: read_bytes(folder / name) for name in (*known.files, *beside)}
    # Another version of a plug-in may read the same files otherwise.
    parts = [*files.values(), *([known.code.encode()] if known.code else [])]
    fingerprint = hashlib.sha256(b"\0".join(parts)).hexdigest()
    return replace(known.read(files, folder, overrides), fingerprint=fingerprint)


def save_sae(sae: Sae, path: Path | str) -> None:
    """Write the folder that `load_sae` reads, and SAELens but for a seed-gated one; all of it or,
    to every reader, no SAE."""
    folder = Path(path)
    tensors = {"W_enc": sae.w_enc, "W_dec": sae.w_dec, "b_dec": sae.b_dec}
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
            "seqpos_slice": sae.trained_on.positions or (None,),
            "seed": sae.trained_on.seed,
        },
    }
    if sae.architecture == "gated":
        assert sae.threshold is not None
        # Of all the gates that open at these thresholds, those on the magnitude's own scale.
        silent = torch.zeros_like(sae.b_enc)
        tensors |= {"b_mag": sae.b_enc, "r_mag": silent, "b_gate": sae.b_enc - sae.threshold}
    else:
        tensors["b_enc"] = sae.b_enc
        if sae.threshold is not None:
            tensors["threshold"] = sae.threshold
    if sae.w_gate is not None and sae.b_gate is not None:
        tensors |= {"W_gate": sae.w_gate, "b_gate": sae.b_gate}
    if sae.k is not None:
        config |= {"k": sae.k, "rescale_acts_by_decoder_norm": False}
    weights = save({n: t.detach().cpu().contiguous() for n, t in tensors.items()})
    # Settings of another SAE would make these weights something else.
    write(folder / WEIGHTS, weights, withdraw=folder / CONFIG)
    write(folder / CONFIG, f"{to_json(config, indent=1)}\n".encode())


def save_firing_rates(rates: Tensor, path: Path | str) -> None:
    """Beside an SAE, how often each of its latents fired, `[latents]`, as SAELens writes it."""
    write(Path(path) / SPARSITY, save({"sparsity": sparsity_of(rates).cpu()}))


def _find(path: Path) -> tuple[Path, SaeFormat]:
    """The folder and its format; a file means the folder it is in."""
    folder = path.parent if path.is_file() else path
    if not folder.is_dir():
        raise SaeError(f"There is no folder {path}.", _expected(), "the path of a downloaded SAE.")
    for known in sae_formats():
        if all((folder / name).is_file() for name in known.files):
            refuse_links(folder, str(folder))
            return folder, known
    raise _no_sae(folder)


def _expected() -> str:
    return "; ".join(f"{' and '.join(f.files)} ({f.name})" for f in sae_formats()) + "."


def _no_sae(folder: Path) -> BitlensError:
    """What is there instead: SAEs further down, a part of one, or something else."""
    weights = {known.files[-1] for known in sae_formats()}
    below = sorted(file.parent for name in weights for file in folder.rglob(name))
    if below and folder not in below:
        names = ", ".join(path.relative_to(folder).as_posix() for path in below[:8])
        more = f" and {len(below) - 8} more" if len(below) > 8 else ""
        return SaeError(
            f"{folder} is not an SAE but holds {len(below)}: {names}{more}.",
            _expected(),
            f"one of them: {below[0]}",
        )
    missing = [
        name
        for known in sae_formats()
        for name in known.files
        if any((folder / other).is_file() for other in known.files)
        and not (folder / name).is_file()
    ]
    there = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    lacks = f"has no {' or '.join(dict.fromkeys(missing))}; it " if missing else ""
    return SaeError(
        f"{folder} {lacks}holds {there}.",
        _expected(),
        "the folder as it was published; other pickles (.pt) are not read.",
    )
