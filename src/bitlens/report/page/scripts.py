"""The page's script: small ES modules, joined into one text without a build step."""

import re
from functools import cache
from importlib.resources import files

import vl_convert

from bitlens.report.page.pictures import VEGA_LITE

_VIEWS = files("bitlens.report") / "views"
_IMPORT = re.compile(r'^import (?:(\{[^}]*\}) from )?"\./(\w+)\.js";$', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?function|const|class) (\w+)", re.MULTILINE)


@cache
def script() -> str:
    """Every view, with Vega, Vega-Lite and Vega-Embed bundled in."""
    bundle = vl_convert.javascript_bundle(joined("start"), vl_version=VEGA_LITE)
    assert "</script" not in bundle.lower()
    assert "<!--" not in bundle
    return bundle


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
