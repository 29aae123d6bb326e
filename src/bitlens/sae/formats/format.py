"""The formats of SAE folders: each registers with its reader, ours and those of plug-ins.

A plug-in package names the module of its reader in the entry-point group `bitlens.sae_formats`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from bitlens.registry import Plugins, code_of
from bitlens.sae.sae import Sae

Reader = Callable[[Mapping[str, bytes], Path, Mapping[str, Any]], Sae]
"""From the bytes of files by name, the folder they are in, and what stands above its settings."""


@dataclass(frozen=True, kw_only=True)
class SaeFormat:
    """What a folder of this format holds, and who reads it."""

    name: str
    files: tuple[str, ...]
    """The weights last: they tell it from the others."""
    read: Reader
    beside: tuple[str, ...] = ()
    """Files that are part of what it is where they are there."""
    figures: str | None = None
    """A file with published figures, which need not be there."""
    saelens_conversion: str | None = None
    """What SAELens calls the way to read it, in its table of releases; None: it has none."""

    @property
    def code(self) -> str:
        """A hash of the package that its reader is of; empty for ours."""
        return code_of(self.read.__module__)


_FORMATS: dict[str, SaeFormat] = {}
_PLUGINS = Plugins("bitlens.sae_formats")


def sae_format(
    name: str,
    *,
    files: tuple[str, ...],
    beside: tuple[str, ...] = (),
    figures: str | None = None,
    saelens_conversion: str | None = None,
) -> Callable[[Reader], Reader]:
    """Decorator: make a reader known under the name of its format, with the fields of `SaeFormat`.
    ValueError where the name is taken by another reader."""

    def add(read: Reader) -> Reader:
        if name in _FORMATS:
            raise ValueError(f"the SAE format {name!r} is registered twice")
        _FORMATS[name] = SaeFormat(
            name=name,
            files=files,
            read=read,
            beside=beside,
            figures=figures,
            saelens_conversion=saelens_conversion,
        )
        return read

    return add


def sae_formats() -> list[SaeFormat]:
    """Every format, those that ask for more files first: where a folder is of several, the first
    is meant."""
    package = __name__.rpartition(".")[0]
    for module in iter_modules(import_module(package).__path__, f"{package}."):
        import_module(module.name)
    _PLUGINS.load()
    return sorted(_FORMATS.values(), key=lambda known: (-len(known.files), known.name))
