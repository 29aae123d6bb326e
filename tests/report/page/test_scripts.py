"""Modules are joined into one script: each once, in order, their names their own."""

from importlib.resources import files

import pytest

from bitlens.report.page.scripts import joined


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
