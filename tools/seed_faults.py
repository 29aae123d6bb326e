"""Do the tests see a mistake in the code? Plants those of faults.toml, one at a time, in a copy.

    python tools/seed_faults.py                every mistake, each by the tests that should see it
    python tools/seed_faults.py NAME ...       some of them
    python tools/seed_faults.py --all-tests    by the whole suite: slow

A mistake counts as caught only if tests fail; one with which the tests cannot even be collected is
broken, and says nothing. Exit code 1 if any survives or is broken.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_name("faults.toml")
COPIED = (
    *("src", "tests", "tools", "docs", "studies", "benchmarks", "pyproject.toml", "Makefile"),
    *(
        "README.md",
        "CONTRIBUTING.md",
        "mkdocs.yml",
        "constraints.txt",
        "constraints-against.txt",
        "CITATION.cff",
        "LICENSE",
    ),
)
FAILED = 1
"""pytest's exit code where tests ran and some failed."""


@dataclass(frozen=True)
class Fault:
    """One mistake: this text of this file, and what stands in its place."""

    name: str
    file: str
    why: str
    """What would be wrong with it."""
    old: str
    new: str
    tests: tuple[str, ...]
    """Those that should see it."""

    def planted(self, text: str) -> str:
        """The file's text with the mistake. The old text must stand there exactly once."""
        found = text.count(self.old)
        if found != 1:
            raise ValueError(f"{self.name}: its text stands {found} times in {self.file}")
        return text.replace(self.old, self.new)


def faults() -> list[Fault]:
    """Those of the list."""
    entries = tomllib.loads(LIST.read_text(encoding="utf-8"))["fault"]
    return [Fault(**{**entry, "tests": tuple(entry["tests"])}) for entry in entries]


def tests_of(tree: Path, tests: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """pytest on some tests of a tree, its own sources first."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(tree / "src"),
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    return subprocess.run(
        command, cwd=tree, env=environment, capture_output=True, text=True, check=False
    )


def plant(tree: Path, fault: Fault, tests: Sequence[str]) -> str:
    """What became of a mistake: caught, survived or broken. The tree is as before afterwards."""
    path = tree / fault.file
    text = path.read_text(encoding="utf-8")
    path.write_text(fault.planted(text), encoding="utf-8")
    try:
        code = tests_of(tree, tests).returncode
    finally:
        path.write_text(text, encoding="utf-8")
    return {0: "survived", FAILED: "caught"}.get(code, "broken")


def main() -> None:
    """Plant the mistakes that were asked for and print what became of each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--all-tests", action="store_true")
    asked = parser.parse_args()
    chosen = [f for f in faults() if not asked.names or f.name in asked.names]
    if not chosen:
        parser.error(f"there is no mistake of this name; those there are: {LIST}")
    everything = ["tests"] if asked.all_tests else sorted({t for f in chosen for t in f.tests})
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        tree = Path(folder) / ROOT.name
        tree.mkdir()
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            copy(ROOT / name, tree / name)
        whole = tests_of(tree, everything)
        if whole.returncode:
            sys.exit(f"{whole.stdout}\nThe tests fail without any mistake: they can catch none.")
        fates: dict[str, list[str]] = {"caught": [], "survived": [], "broken": []}
        for fault in chosen:
            fate = plant(tree, fault, ["tests"] if asked.all_tests else fault.tests)
            fates[fate].append(fault.name)
            print(f"{fate:9}{fault.name}: {fault.why}", flush=True)
    print(", ".join(f"{len(names)} {fate}" for fate, names in fates.items()))
    sys.exit(bool(fates["survived"] or fates["broken"]))


if __name__ == "__main__":
    main()
