"""The site has every decision, links that lead within it, and the reports that were made."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tools import docs_site


def test_every_decision_is_a_page() -> None:
    """In the order of their numbers."""
    nav: list[dict[str, object]] = [{"x": "x.md"}, {"How": [{"Decisions": "adr/"}, {"y": "y.md"}]}]
    found = docs_site.on_config({"nav": nav})["nav"][1]["How"][0]["Decisions"]
    assert found == sorted(found)
    assert len(found) == len(list((docs_site.DOCS / "adr").glob("*.md")))


def test_links_lead_within_the_site() -> None:
    """Where a file stands elsewhere in the repository."""
    page = SimpleNamespace(file=SimpleNamespace(src_uri="architecture.md"))
    text = docs_site.on_page_markdown("[a](../CONTRIBUTING.md) [b](other.md)", page)
    assert text == "[a](howto/plugins.md) [b](other.md)"
    for there in docs_site.LINKS.values():
        below = there.strip("()").removeprefix("../")
        assert (docs_site.DOCS / below).is_file()


def test_the_gallery_lists_what_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own title; where nothing was made, how to make it."""
    page = SimpleNamespace(file=SimpleNamespace(src_uri="gallery.md"))
    monkeypatch.setattr(docs_site, "GALLERY", tmp_path)
    assert "make gallery" in docs_site.on_page_markdown("<!-- reports -->", page)
    (tmp_path / "demo.html").write_text("<html><head><title>What changed</title>")
    shown = docs_site.on_page_markdown("<!-- reports -->", page)
    assert shown == "- [What changed](gallery/demo.html)"
