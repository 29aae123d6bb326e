"""Set-up: every dependency is pinned, torch is the one that was tested, torchvision is absent."""

import re
import tomllib
from pathlib import Path

import pytest

from bitlens.demo import model_path

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]


def pins(file: str) -> dict[str, str]:
    """What a file of constraints pins, by name."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


PINS, AGAINST = pins("constraints.txt"), pins("constraints-against.txt")


def canonical(requirement: str) -> str:
    """The name of a requirement as package indexes spell it."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()  # type: ignore[index]


EXTRAS = PROJECT["optional-dependencies"]
OF_DEV = ["bench", "ray", "wandb", "tensorboard", "mlflow"]
"""Extras that `dev` brings."""


@pytest.mark.parametrize(
    "requirement",
    PROJECT["dependencies"]
    + [r for r in EXTRAS["dev"] if not r.startswith("bitlens[")]
    + [r for extra in OF_DEV for r in EXTRAS[extra]],
)
def test_dependencies_are_pinned(requirement: str):
    """What was tested is what is installed."""
    assert canonical(requirement) in PINS


def test_torch_is_exact_and_torchvision_absent():
    """A torchvision built for another torch breaks transformers."""
    assert PINS["torch"] == "2.13.0"
    assert "torchvision" not in PINS
    assert "torch==2.13.0" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_other_tools_are_pinned_beside_the_same_libraries():
    """Where both pin a version it is the same, but of numpy, which gptqmodel decides about."""
    wanted = {canonical(r) for r in PROJECT["optional-dependencies"]["against"]} - {"bitlens"}
    assert wanted | {"gptqmodel", "hqq", "torchao", "dictionary-learning"} <= AGAINST.keys()
    assert {n for n in PINS.keys() & AGAINST.keys() if PINS[n] != AGAINST[n]} == {"numpy"}
    assert "torchvision" not in AGAINST


def test_the_wheel_holds_the_package_alone():
    """Nothing of `tools`, tests or benchmarks: what is packed stands below `src/bitlens`."""
    wheel = {"packages": ["src/bitlens"]}
    assert PYPROJECT["tool"]["hatch"] == {"build": {"targets": {"wheel": wheel}}}
    demo = ROOT / "src" / "bitlens" / "demo"
    assert [path.name for path in demo.rglob("*.py")] == ["__init__.py"]
    assert (ROOT / "tools" / "demo_model" / "train.py").exists()


def test_citation_and_package_have_one_version():
    """And one licence."""
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {PROJECT['version']}\n" in citation
    assert f"\nlicense: {PROJECT['license']}\n" in citation
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_continuous_integration_runs_the_tests():
    """The same command as a developer's, and it can be executed."""
    script = ROOT / ".ci" / "run"
    assert "make test" in script.read_text(encoding="utf-8")
    assert script.stat().st_mode & 0o111


def test_what_is_embedded_is_in_the_package():
    """The wheel holds the folder the package is in."""
    assert model_path().is_relative_to(ROOT / "src" / "bitlens")
