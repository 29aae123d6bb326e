"""A package of four files, installed as entry points, goes through an audit to the page.

The files are the recipes of CONTRIBUTING.md: what stands there is what runs here.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bitlens.demo import sae_paths
from bitlens.results.store import Store
from bitlens.sae.formats.load import load_sae

HERE = Path(__file__).parent
PLUGIN = HERE / "plugin"
FILES = ("ternary", "energy", "arrays", "section")
CONTRIBUTING = (HERE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES = re.findall(r"^```python\n(.*?)^```$", CONTRIBUTING, re.MULTILINE | re.DOTALL)
MOST_LINES = 20
"""Of a recipe, imports among them, empty ones not."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of an audit with all four, in a process that finds the package."""
    folder = tmp_path_factory.mktemp("plugin")
    sae = load_sae(sae_paths()[0])
    saved = folder / "mine"
    saved.mkdir()
    (saved / "site.txt").write_text("resid.1\n", encoding="utf-8")
    tensors = {name: getattr(sae, name).numpy() for name in ("w_enc", "b_enc", "w_dec", "b_dec")}
    np.savez(saved / "arrays.npz", k=np.array(sae.k), **tensors)
    command = [sys.executable, "-m", "bitlens", "audit", "demo", "--to", "ternary"]
    command += [
        "--analyses",
        "behaviour,energy,unexplained",
        "--sae",
        str(saved),
        "--controls",
        "none",
    ]
    command += ["--text", "demo", "--tokens", "1500", "--out", str(folder / "results")]
    paths = os.pathsep.join([str(PLUGIN), *sys.path])
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}
    )
    assert done.returncode == 0, done.stderr
    return folder / "results"


@pytest.mark.slow
def test_a_package_reaches_the_page(store: Path) -> None:
    """Its compression is measured, its analysis reads its SAE, its section shows the number."""
    rows = Store.open(store).read_table("estimates").to_pylist()
    (ratio,) = [row for row in rows if row["analysis"] == "unexplained"]
    assert (ratio["compression"], ratio["metric"], ratio["site"]) == ("ternary", "ratio", "resid.1")
    assert ratio["value"] > 1
    (energy,) = [row for row in rows if row["analysis"] == "energy"]
    assert energy["value"] < 1
    page = (store / "report.html").read_text(encoding="utf-8")
    assert "What SAEs leave out" in page
    assert f"{ratio['value']:.2f}" in page


@pytest.mark.parametrize("name", FILES)
def test_the_recipes_are_its_files(name: str) -> None:
    """Word for word, in their order, and short."""
    file = (PLUGIN / "bitlens_example" / f"{name}.py").read_text(encoding="utf-8")
    assert RECIPES[FILES.index(name)] == file
    assert len([line for line in file.splitlines() if line.strip()]) <= MOST_LINES


def test_contributing_names_every_entry_point() -> None:
    """The tables that a plug-in's own pyproject.toml needs have the groups of the package."""
    points = (PLUGIN / "bitlens_example-1.0.dist-info" / "entry_points.txt").read_text()
    for group, lines in re.findall(r"\[(.+)\]\n((?:\w+ = .+\n?)+)", points):
        for name, module in re.findall(r"(\w+) = (.+)", lines):
            told = rf'\[project.entry-points."{group}"\]\n(\w+ = .+\n)*{name} = "{module}"'
            assert re.search(told, CONTRIBUTING), name
