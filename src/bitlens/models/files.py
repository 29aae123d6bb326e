"""The files that a model is made of, and the fingerprint of its weights.

A model's folder is data that somebody sent: what it links to, or names, elsewhere is not read.
"""

import hashlib
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError, safe_open

from bitlens.errors import BitlensError, ModelError
from bitlens.models.source import ModelSource
from bitlens.results.files.reading import open_regular, read_json, refuse_links, require_inside

_INDEX = ".safetensors.index.json"


def folder_of(source: ModelSource) -> Path | None:
    """Where its files are: its own folder, or its commit in the hub's cache; None if neither."""
    path = Path(source.name)
    if path.is_dir():
        return path
    found = try_to_load_from_cache(source.name, "config.json", revision=source.revision)
    return Path(found).parent if isinstance(found, str) else None


def require_files(name: str, folder: Path) -> None:
    """Weights as safetensors, and nothing that leads out of the folder. ModelError for anything
    else, or a file that the index names and is not there."""
    refuse_links(folder, name)
    for index, file in _listed(name, folder):
        require_inside(folder, folder / file, f"{index} of {name} names {file!r},")
        read = index == f"model{_INDEX}" and not (folder / "model.safetensors").is_file()
        if read and not (folder / file).is_file():
            raise ModelError(
                f"{file} of {name} is not there; {index} names it.",
                "every file that the index names.",
                "fetch it, or the whole folder, again.",
            )
    require_safetensors(name, folder)
    require_once(name, _read_together(name, folder))


def _read_together(name: str, folder: Path) -> list[Path]:
    """The files of a model that is in several, of indexes that which is followed."""
    followed = _named_in_config(folder) or f"model{_INDEX}"
    if followed == f"model{_INDEX}" and (folder / "model.safetensors").is_file():
        return []
    return [folder / file for index, file in _listed(name, folder) if index == followed]


def require_once(name: str, files: Sequence[Path]) -> None:
    """No tensor in two of these files, which are read together: the last would have its way.
    ModelError names one that is."""
    found: dict[str, str] = {}
    for path in files:
        try:
            with safe_open(path, framework="pt") as tensors:
                keys = list(tensors.keys())
        except (SafetensorError, OSError):
            continue  # whoever reads its weights says so
        for key in keys:
            if key in found:
                raise ModelError(
                    f"{name} has {key} twice: in {found[key]} and in {path.name}.",
                    "every tensor once.",
                    "fetch it again into an empty folder: files of two versions may be in this "
                    "one.",
                )
            found[key] = path.name


def require_safetensors(name: str, folder: Path) -> None:
    """Libraries fall back to pickles, or follow an index to them. ModelError where there are no
    others."""
    pickles = [file for _, file in _listed(name, folder) if not file.endswith(".safetensors")]
    if not weight_files(folder):
        pickles += [path.name for path in folder.glob("*.bin")]
    if pickles:
        raise ModelError(
            f"{name} has its weights as pickles ({min(pickles)}) only.",
            "safetensors: unpickling runs whatever code is in the file.",
            "save it again with save_pretrained, which writes safetensors.",
        )


def _listed(name: str, folder: Path) -> Iterator[tuple[str, str]]:
    """The files of a model that is in several, each with where that is said."""
    named = _named_in_config(folder)
    if named and not named.endswith(_INDEX):
        yield "config.json", named
    indexes = sorted(path.name for path in folder.glob(f"*{_INDEX}"))
    for index in dict.fromkeys([*indexes, *([named] if named.endswith(_INDEX) else [])]):
        try:
            files = read_json(folder / index)["weight_map"].values()
        except (TypeError, KeyError, AttributeError) as error:
            raise ModelError(
                f"{index} of {name} lists no files: {type(error).__name__}: {error}.",
                '{"weight_map": {parameter: file}}, as save_pretrained writes it.',
                "fetch the folder again.",
            ) from error
        yield from ((index, file) for file in dict.fromkeys(map(str, files)))


def _named_in_config(folder: Path) -> str:
    """A configuration may say which file holds the weights; empty where it does not."""
    try:
        named = read_json(folder / "config.json")
        return str(named.get("transformers_weights") or "")
    except (BitlensError, AttributeError):
        # Whoever reads the configuration says what is wrong with it.
        return ""


def weight_files(folder: Path) -> list[Path]:
    """Every file of weights, those that an index names in a subfolder among them."""
    own = {path for path in folder.glob("*.safetensors") if path.is_file()}
    own |= {folder / file for _, file in _listed(folder.name, folder)}
    return sorted(path for path in own if path.is_file())


def held(folder: Path) -> int:
    """Numbers in all of a model's files of weights, read off their headers."""
    numbers = 0
    for path in weight_files(folder):
        with safe_open(path, framework="pt") as tensors:
            numbers += sum(math.prod(tensors.get_slice(k).get_shape()) for k in tensors.keys())  # noqa: SIM118
    return numbers


def weights_hash(folder: Path) -> str:
    """The first 16 hexadecimal digits of a SHA-256 over every file of weights and its name."""
    digest = hashlib.sha256()
    for path in weight_files(folder):
        with open_regular(path) as file:
            name = path.relative_to(folder).as_posix()
            digest.update(name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def fingerprint(source: ModelSource, config: Any, *classes: type) -> str:
    """Which model is this? Changes with its settings, its weights (of a folder, every file of
    them; of a hub model, its commit), and the code that came with it, where `classes` and that of
    `config` are from. Whichever transformers reads them."""
    aside = ("_name_or_path", "transformers_version")
    settings = {k: v for k, v in config.to_dict().items() if k not in aside}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    folder = folder_of(source)
    if folder is not None and folder == Path(source.name):
        digest.update(weights_hash(folder).encode())
    else:
        digest.update((folder.name if folder else str(source.revision)).encode())
    for code in _code(type(config), *classes):
        digest.update(code)
    return digest.hexdigest()[:16]


def _code(*classes: type) -> Iterator[bytes]:
    """The source of what came with the model, as it was run: the modules of its packages."""
    packages = {cls.__module__.rpartition(".")[0] for cls in classes}
    ours = tuple(f"{p}." for p in packages if p.partition(".")[0] == "transformers_modules")
    for name in sorted(sys.modules):
        if ours and name.startswith(ours):
            file = getattr(sys.modules[name], "__file__", None)
            yield name.rpartition(".")[2].encode() + (Path(file).read_bytes() if file else b"")
