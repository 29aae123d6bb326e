"""Modules are joined into one script: each once, in order, their names their own."""

from importlib.resources import files
from pathlib import Path

import pytest
import vl_convert

from bitlens.report.page.scripts import joined, script


def test_what_is_imported_comes_first_and_once() -> None:
    """A view's module stands before those that import it, however many do."""
    text = joined("start")
    places = [text.index(f"const of_{name} = ") for name in ("elements", "twins", "addresses")]
    assert places == sorted(places)
    assert text.count("const of_elements = ") == 1
    assert text.rindex("const of_") == text.index("const of_start = ")


def test_nothing_of_the_module_syntax_is_left() -> None:
    """No import or export stands in the joined text, and every view is in it."""
    text = joined("start")
    assert not [line for line in text.splitlines() if line.startswith(("import ", "export "))]
    views = {
        path.name.removesuffix(".js") for path in (files("bitlens.report") / "views").iterdir()
    }
    assert all(f"const of_{name} = " in text for name in views)


def test_a_module_that_is_missing_is_no_silent_gap() -> None:
    """A name nobody wrote stops the page from being written."""
    with pytest.raises(FileNotFoundError):
        joined("nowhere")


def test_a_bundle_is_made_once_and_again_where_it_is_damaged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is read from the cache, unless what is there is not what was written; where nothing can be
    kept it is made each time."""
    made: list[str] = []

    def bundled(own: str, vl_version: str) -> str:
        made.append(own)
        return f"// bundle {vl_version}"

    monkeypatch.setattr(vl_convert, "javascript_bundle", bundled)
    monkeypatch.setenv("BITLENS_CACHE", str(tmp_path))

    def again() -> int:
        script.cache_clear()
        assert script().startswith("// bundle")
        return len(made)

    try:
        assert [again(), again()] == [1, 1]
        (kept,) = (tmp_path / "scripts").iterdir()
        kept.write_text(kept.read_text()[:-3])
        assert [again(), again()] == [2, 2]
        monkeypatch.setenv("BITLENS_CACHE", str(kept))
        assert [again(), again()] == [3, 4]
    finally:
        script.cache_clear()
