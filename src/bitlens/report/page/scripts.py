"""The page's script: small ES modules, joined into one text without a build step."""

import hashlib
import re
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import vl_convert

from bitlens.errors import BitlensError
from bitlens.report.page.pictures import VEGA_LITE
from bitlens.results.files.home import cache
from bitlens.results.files.writing import write

_VIEWS = files("bitlens.report") / "views"
_IMPORT = re.compile(r'^import (?:(\{[^}]*\}) from )?"\./(\w+)\.js";$', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?function|const|class) (\w+)", re.MULTILINE)


@lru_cache(maxsize=1)
def script() -> str:
    """Every view, with Vega, Vega-Lite and Vega-Embed bundled in; kept in the cache, for bundling
    takes as long as a section."""
    own, root = joined("start"), cache()
    made_by = "\n".join([version("vl-convert-python"), VEGA_LITE, own])
    name = f"{hashlib.sha256(made_by.encode()).hexdigest()[:20]}.js"
    kept = root / "scripts" / name if root else None
    bundle = _read(kept) if kept else None
    if bundle is None:
        bundle = vl_convert.javascript_bundle(own, vl_version=VEGA_LITE)
        if kept:
            with suppress(BitlensError, OSError):
                write(kept, f"{_seal(bundle)}\n{bundle}".encode())
    assert "</script" not in bundle.lower()
    assert "<!--" not in bundle
    return bundle


def _read(kept: Path) -> str | None:
    """A bundle that was kept whole; None where there is none."""
    try:
        seal, _, bundle = kept.read_bytes().decode().partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    return bundle if seal == _seal(bundle) else None


def _seal(bundle: str) -> str:
    """What tells that a file was not cut short."""
    return f"// {hashlib.sha256(bundle.encode()).hexdigest()}"


def joined(root: str) -> str:
    """A module and those it imports, each once and before whoever imports it.

    Each becomes a function of its own, so that names of one module are unknown to the others.
    """
    texts: dict[str, str] = {}

    def add(name: str) -> None:
        if name in texts:
            return
        texts[name] = ""
        source = (_VIEWS / f"{name}.js").read_text(encoding="utf-8")
        for found in _IMPORT.finditer(source):
            add(found[2])
        names = ", ".join(found[2] for found in _EXPORT.finditer(source))
        source = _IMPORT.sub(lambda m: f"const {m[1]} = of_{m[2]};" if m[1] else "", source)
        source = _EXPORT.sub(r"\1 \2", source)
        # Taken out and put in again: in order of completion, not of first mention.
        del texts[name]
        texts[name] = f"const of_{name} = (() => {{\n{source}\nreturn {{ {names} }};\n}})();"

    add(root)
    return "\n".join(texts.values())
