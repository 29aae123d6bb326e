"""What the documentation site is given besides its pages: links that lead within it, the list of
decisions, the gallery's reports. A hook of MkDocs."""

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
GALLERY = DOCS / "gallery"
"""Where `tools/gallery.py` puts reports; no part of the repository."""
LINKS = {
    "(../CONTRIBUTING.md)": "(howto/plugins.md)",
    "(docs/architecture.md)": "(../architecture.md)",
    "(adr)": "(adr/0001-layouts-found-not-listed.md)",
}
"""Links of files that are read on their own too, and where they lead on the site."""
NONE_YET = "There are none here yet: `make gallery` makes them, and `make docs` then shows them.\n"


def on_config(config: Any) -> Any:
    """Every decision is a page: the folder stands in the navigation for all its files."""
    decisions = [f"adr/{path.name}" for path in sorted((DOCS / "adr").glob("*.md"))]
    for entry in config["nav"]:
        for parts in entry.values():
            for part in parts if isinstance(parts, list) else ():
                if part == {"Decisions": "adr/"}:
                    part["Decisions"] = decisions
    return config


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A page as the site has it."""
    for there, here in LINKS.items():
        markdown = markdown.replace(f"]{there}", f"]{here}")
    if page.file.src_uri == "gallery.md":
        markdown = markdown.replace("<!-- reports -->", reports())
    return markdown


def reports() -> str:
    """The reports that were made, each a link."""
    found = sorted(GALLERY.glob("*.html"))
    lines = [f"- [{_title(path)}](gallery/{path.name})" for path in found]
    return "\n".join(lines) if lines else NONE_YET


def _title(path: Path) -> str:
    """What the page itself says it is."""
    head = path.read_text(encoding="utf-8")[:20_000]
    found = re.search(r"<title>([^<]*)</title>", head)
    return found[1] if found else path.stem
