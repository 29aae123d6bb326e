"""Releases of SAEs on the hub, found by SAELens' table of names. No torch."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files as resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from bitlens.errors import SaeError, told
from bitlens.models.hub import require_answer
from bitlens.registry import nearest

PREFIX = "release:"
FORM = "release:RELEASE:SAE_ID"
EXAMPLE = "release:gpt2-small-res-jb:blocks.8.hook_resid_pre"
_OWN = "releases.yaml"
_ANY = "any"
"""In place of a release's SAEs: each folder of the repository is known by its own name."""


@dataclass(frozen=True, kw_only=True)
class ReleaseEntry:
    """One SAE of the table."""

    text: str
    """As it was asked for."""
    repository: str
    folder: str
    """Inside the repository."""
    conversion: str
    """What SAELens calls the way to read it."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Settings that stand above those in the folder."""
    scale: float | None = None
    """What activations are to be multiplied by, where that is not in the weights."""
    fvu: float | None = None
    """Variance left unexplained, as published; None where nothing was."""
    l0: float | None = None
    """Mean latents that fire at a position, as published; None where nothing was."""


def is_release(text: str) -> bool:
    """No folder is called so, unless it is written `./release:...`."""
    return text.startswith(PREFIX)


def find(text: str) -> ReleaseEntry:
    """The entry of `release:NAME:SAE_ID`; BitlensError, with what was probably meant, for names
    that the table has not. Nothing is downloaded."""
    name, _, sae_id = text.removeprefix(PREFIX).partition(":")
    if not name or not sae_id:
        raise SaeError(f"{text!r} names no SAE of a release.", FORM, EXAMPLE)
    table = releases()
    if name not in table:
        raise SaeError(
            f"There is no release {name!r} in {_source()}.",
            f"{FORM}, as SAELens calls them.",
            nearest(name, table) or _whole_table(),
        )
    release = table[name]
    saes = release["saes"]
    if saes == _ANY:
        chosen: Mapping[str, Any] = {"path": sae_id}
    else:
        by_id = {str(sae["id"]): sae for sae in saes}
        if sae_id not in by_id:
            raise SaeError(
                f"The release {name} has no SAE {sae_id!r} in {_source()}.",
                f"one of its {len(by_id)}, such as {', '.join(list(by_id)[:3])}.",
                nearest(sae_id, by_id) or f"{PREFIX}{name}:{next(iter(by_id))}",
            )
        chosen = by_id[sae_id]
    explained = chosen.get("variance_explained")
    return ReleaseEntry(
        text=text,
        repository=release["repo_id"],
        folder=str(chosen["path"]),
        conversion=release.get("conversion_func") or "sae_lens",
        overrides=release.get("config_overrides") or {},
        scale=chosen.get("norm_scaling_factor"),
        fvu=None if explained is None else 1 - explained,
        l0=chosen.get("l0"),
    )


@cache
def releases() -> Mapping[str, Any]:
    """By name; of an installed SAELens its whole table, read as data, above our own short one."""
    own = _parse(resources("bitlens.sae").joinpath(_OWN).read_text(encoding="utf-8"))
    file = _installed()
    return own if file is None else own | _parse(file.read_text(encoding="utf-8"))


def fetch(entry: ReleaseEntry, files: Sequence[str], figures: str | None) -> Path:
    """The folder with these files, downloaded where they are not in the hub's cache yet.
    `figures` is a file that need not be there."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    with _asking(entry):
        require_answer(entry.repository, f"{entry.folder}/{files[0]}")
        paths = [
            Path(hf_hub_download(entry.repository, f"{entry.folder}/{name}")) for name in files
        ]
        if figures is not None:
            with suppress(EntryNotFoundError):
                hf_hub_download(entry.repository, f"{entry.folder}/{figures}")
    return paths[-1].parent


def _installed() -> Path | None:
    """SAELens' own table, found without importing it: that takes seconds."""
    spec = find_spec("sae_lens")
    folders = spec.submodule_search_locations if spec else None
    found = [Path(folder) / "pretrained_saes.yaml" for folder in folders or ()]
    return next((file for file in found if file.is_file()), None)


def _parse(text: str) -> dict[str, Any]:
    # The compiled parser takes a second for SAELens' table, the other one many.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return dict(yaml.load(text, Loader=loader))


def _source() -> str:
    return "SAELens' table" if _installed() else f"our short table ({', '.join(releases())})"


def _whole_table() -> str:
    if _installed():
        return "SAELens' documentation lists every release."
    return "pip install sae-lens, whose table of releases is then used; or download it yourself."


@contextmanager
def _asking(entry: ReleaseEntry) -> Iterator[None]:
    """Turns whatever the hub or the network says into an error that can be acted on."""
    try:
        yield
    except Exception as error:
        raise SaeError(
            f"{entry.text} cannot be fetched from {entry.repository}/{entry.folder}: "
            f"{told(error)}.",
            "a repository that this machine can reach, or that is in the hub's cache.",
            "check the network (HF_HUB_OFFLINE=1 uses the cache alone); gated repositories need "
            "HF_TOKEN.",
        ) from error
