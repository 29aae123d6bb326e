"""What the documentation says to type works: on short texts, and tiny models where it names large
ones."""

import json
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from bitlens import cli
from bitlens.analyses import ANALYSES
from tests.support.doc_pages import DOCS, NOTEBOOKS, PAGES, blocks, cells, named, shown

ROOT = DOCS.parent
SHORT = {"tokens=8_192": "tokens=600", '["rtn:bits=8", "rtn:bits=4"]': '["rtn:bits=4"]'}
"""What stands in place of what the notebooks audit, so that they are quick."""
LINES = [
    pytest.param(line, id=f"{named(page)} {number}")
    for page in PAGES
    for number, line in enumerate(line for b in blocks(page, "bash") for line in b.splitlines())
]


@pytest.mark.parametrize("line", LINES)
def test_every_command_can_be_typed(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is make with a target there is, pip, or bitlens with options it has."""
    words = shlex.split(line)
    if words[0] == "make":
        assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
        return
    if words[0] == "pip":
        assert words[1] == "install"
        return
    assert words[0] == "bitlens"
    command = typer.main.get_command(cli.app)
    with command.make_context("bitlens", words[1:2]) as context:
        known: Any = command
        _, below, _ = known.resolve_command(context, words[1:2])
        assert below is not None
        below.make_context(words[1], words[2:], parent=context)


@pytest.mark.slow
def test_all_of_it_runs(
    tmp_path: Path,
    gpt2: Path,
    few_sequences: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Notebooks cell by cell, and what a cell shows can be shown; the second goes on with what the
    first computed. Then the Python of each page from its top, on the same results. Pages of reports
    are not written."""
    shutil.copytree(gpt2, tmp_path / "gpt2")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bitlens.workflows.api.build_report", lambda root: None)
    for notebook in NOTEBOOKS:
        names: dict[str, Any] = {}
        for cell in cells(notebook):
            for long, short in SHORT.items():
                cell = cell.replace(long, short)
            for value in shown(cell, names):
                written = value._repr_html_() if hasattr(value, "_repr_html_") else repr(value)
                assert written, f"{named(notebook)} shows nothing after {cell}"
    assert "nothing to compute" in capsys.readouterr().out
    shutil.copytree(tmp_path / "results-notebook", tmp_path / "bitlens-demo")
    for page in PAGES:
        names = {}
        for block in blocks(page, "python"):
            exec(block.replace('"gpt2"', f'"{tmp_path / "gpt2"}"'), names)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=named)
def test_notebooks_are_stripped(notebook: Path) -> None:
    """Nothing that was computed is in them, no machine's paths, and they begin with a title."""
    content = json.loads(notebook.read_text(encoding="utf-8"))
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert all((cell["outputs"], cell["execution_count"]) == ([], None) for cell in code)
    assert cells(notebook, "markdown")[0].startswith("# ")
    assert len({cell["id"] for cell in content["cells"]}) == len(content["cells"])


def test_every_page_is_in_the_navigation() -> None:
    """And every entry of it is a page."""

    def pages(entry: Any) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        inner = entry.values() if isinstance(entry, dict) else entry
        return [page for part in inner for page in pages(part)]

    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    there = {named(path) for path in DOCS.rglob("*.md") if path.parent.name != "adr"}
    assert set(pages(settings["nav"])) == there | {"adr/"}


def test_metrics_that_pages_name_exist() -> None:
    """As `analysis.metric`, and by their short names in the table of analyses."""
    known = {f"{name}.{m.name}" for name in ANALYSES for m in ANALYSES[name].metrics}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        written = "\n".join(blocks(page, "python"))
        quoted = set(re.findall(r'"([a-z]+\.[a-z_0-9]+)"', written))
        assert {name for name in quoted if name.partition(".")[0] in ANALYSES} <= known, page
        for analysis, told in re.findall(r"^\| `(\w+)` \| (`[^|]*`) \|", text, re.MULTILINE):
            assert {f"{analysis}.{n}" for n in re.findall(r"`(\w+)`", told)} <= known


def test_the_site_asks_nobody_for_anything() -> None:
    """No font, script or picture is fetched from elsewhere when it is built or read."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "font: false" in text
    assert "http" not in text
    assert os.path.exists(ROOT / "tools" / "docs_site.py")
