"""Who may import what, read off the syntax trees; and what must start without torch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bitlens

ROOT = Path(bitlens.__file__).parent
GROUND = {
    "counted",
    "errors",
    "foreign",
    "home",
    "hub",
    "meanings",
    "records",
    "registry",
    "seeds",
    "visible",
    "writing",
}
"""What everybody may use: it knows nothing of the rest."""
ALLOWED: dict[str, set[str]] = {
    "counted": set(),
    "errors": set(),
    "foreign": set(),
    "home": set(),
    "hub": set(),
    "visible": set(),
    "registry": set(),
    "seeds": set(),
    "meanings": set(),
    "records": set(),
    "writing": set(),
    "tally": set(),
    "heap": set(),
    "readings": set(),
    "stats": set(),
    "schema": set(),
    "seal": set(),
    "parquet": {"schema"},
    "store": {"parquet", "schema"},
    "export": {"store"},
    "estimate": {"stats", "store"},
    "insights": {"stats", "store"},
    "report": {"insights", "schema", "store"},
    "compress": set(),
    "data": set(),
    "sae": {"seal", "schema", "stats", "store"},
    "demo": {"data", "models", "sae"},
    "models": {"compress"},
    "analyses": {"data", "models", "readings", "sae", "stats", "tally"},
    "plan": {"data", "readings", "stats"},
    "checkpoints": {"compress", "models"},
    "kept": {"compress", "seal", "store"},
    "matrices": {"compress"},
    "twin": {"compress", "matrices", "models"},
    "calibrate": {"compress", "data", "kept", "models", "twin"},
    "calibration": {"calibrate", "compress", "data", "kept", "models"},
    "checkpoint_twin": {"checkpoints", "compress", "models", "twin"},
    "matching": {"compress", "data", "models", "plan", "store", "sweep", "twin"},
    "making": {
        "kept",
        "matching",
        "checkpoint_twin",
        "checkpoints",
        "calibrate",
        "calibration",
        "compress",
        "data",
        "matrices",
        "models",
        "plan",
        "sides",
        "study",
        "targets",
        "twin",
    },
    "targets": {"compress", "models"},
    "outlook": {
        "budget",
        "compress",
        "data",
        "making",
        "models",
        "plan",
        "report",
        "sae",
        "sides",
        "study",
        "sweep",
        "targets",
    },
    "floors": {"compress", "sides"},
    "saving": {"calibration", "checkpoints", "compress", "making", "models", "study", "twin"},
    "inspection": {"compress", "making", "report", "study", "twin"},
    "sweep": {"heap", "models", "plan", "twin"},
    "comparison": {"analyses", "models", "plan", "sweep"},
    "carry": {"plan", "tally"},
    "pace": set(),
    "budget": {"comparison", "models", "plan", "readings", "report", "sae", "sweep", "tally"},
    "measure": {
        "analyses",
        "carry",
        "comparison",
        "models",
        "pace",
        "plan",
        "readings",
        "sampled",
        "sweep",
        "tally",
        "twin",
    },
    "sampled": {"analyses", "readings", "tally"},
    "tables": {"analyses", "schema"},
    "contexts": {"analyses", "data", "models", "plan", "sweep", "twin"},
    "evaluation": {"data", "models", "plan", "study"},
    "legible": {"data", "models", "plan", "study", "sweep", "twin"},
    "alignments": {"report", "sae"},
    "activations": {"data", "models", "plan", "sweep", "twin"},
    "grid": {"sae"},
    "material": {
        "activations",
        "calibration",
        "compress",
        "data",
        "evaluation",
        "legible",
        "making",
        "models",
        "plan",
        "sae",
        "saes",
        "sides",
        "study",
        "sweep",
        "twin",
    },
    "trainings": {
        "activations",
        "compress",
        "grid",
        "material",
        "models",
        "report",
        "sae",
        "schema",
        "store",
        "study",
        "sweep",
    },
    "sae_study": {
        "activations",
        "analyses",
        "data",
        "grid",
        "material",
        "models",
        "report",
        "sae",
        "schema",
        "settings",
        "stats",
        "store",
        "study",
        "sweep",
        "trainings",
    },
    "fits": {
        "data",
        "evaluation",
        "legible",
        "making",
        "models",
        "plan",
        "report",
        "sae",
        "saes",
        "study",
    },
    "repairs": {
        "activations",
        "analyses",
        "calibration",
        "comparison",
        "compress",
        "data",
        "demo",
        "evaluation",
        "making",
        "measure",
        "models",
        "pace",
        "plan",
        "report",
        "sae",
        "saes",
        "schema",
        "sides",
        "stats",
        "store",
        "study",
        "sweep",
        "twin",
    },
    "saes": {"analyses", "data", "models", "plan", "sae", "sweep", "twin"},
    "settings": {"models"},
    "study": {"analyses", "compress", "data", "demo", "models", "sae", "settings"},
    "sides": {"compress", "models", "study"},
    "checks": {"compress", "data", "models", "sides"},
    "manifest": {"analyses", "compress", "data", "models", "plan", "sides", "study", "twin"},
    "model_audit": {
        "analyses",
        "budget",
        "calibration",
        "checks",
        "comparison",
        "contexts",
        "data",
        "evaluation",
        "floors",
        "legible",
        "making",
        "manifest",
        "measure",
        "models",
        "pace",
        "plan",
        "saes",
        "sides",
        "store",
        "study",
        "tables",
        "targets",
    },
    "runner": {
        "analyses",
        "calibration",
        "model_audit",
        "estimate",
        "heap",
        "manifest",
        "models",
        "store",
        "study",
    },
    "api": {"compress", "report", "runner", "store", "study"},
    "catalogue": {"analyses", "compress", "models", "report"},
    "doctor": {"demo", "kept", "models"},
    "cli": {
        "alignments",
        "catalogue",
        "compress",
        "demo",
        "doctor",
        "export",
        "fits",
        "grid",
        "insights",
        "inspection",
        "models",
        "outlook",
        "repairs",
        "report",
        "runner",
        "sae_study",
        "saving",
        "store",
        "study",
        "trainings",
    },
    "__main__": {"cli"},
    "__init__": set(),
}
"""Modules and packages of bitlens, and what each may import besides the ground."""
MODELS_ONLY = {"analyses", "compress", "data", "demo", "doctor", "manifest", "models", "plan"} | {
    "activations",
    "model_audit",
    "budget",
    "calibrate",
    "calibration",
    "checkpoints",
    "kept",
    "checkpoint_twin",
    "making",
    "matching",
    "material",
    "matrices",
    "carry",
    "seal",
    "checks",
    "contexts",
    "floors",
    "legible",
    "measure",
    "readings",
    "repairs",
    "runner",
    "sae",
    "sae_study",
    "saes",
    "sampled",
    "sides",
    "sweep",
    "tally",
    "targets",
    "twin",
}
"""Who may import torch and transformers. Nobody else: results are read without them."""
SHARED_BY_ANALYSES = {
    "analysis",
    "correlation",
    "flow",
    "halves",
    "known",
    "neighbours",
    "survival",
}
SHARED_BY_COMPRESSIONS = {"compression", "coverage", "rule", "settings", "text"} | {
    "activations",
    "eightbit",
    "grid",
    "inputs",
    "kmeans",
    "obs",
    "sparsegpt",
    "sparsity",
    "weights",
}


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module is not None
            yield node.module
            # `from bitlens.compress import text` imports a module too.
            yield from (f"{node.module}.{name.name}" for name in node.names)


def unit(path: Path) -> str:
    """The module or package directly below bitlens."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


FILES = sorted(ROOT.rglob("*.py"))


def test_every_module_has_its_row():
    """A new module says what it may import, and a removed one leaves."""
    assert {unit(path) for path in FILES} == set(ALLOWED)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_import_what_the_table_allows(path: Path):
    """bitlens' own modules by the table; torch and transformers only where models are."""
    own, allowed = unit(path), GROUND | ALLOWED[unit(path)]
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == "bitlens" and rest:
            used = rest.split(".")[0]
            assert used == own or used in allowed, f"{path} imports {name}"
        # What safetensors raises, it raises without torch.
        if top in ("torch", "transformers", "safetensors", "accelerate") and name not in (
            "safetensors",
            "safetensors.SafetensorError",
        ):
            assert own in MODELS_ONLY, f"{path} imports {name}"


def test_the_table_has_no_circles():
    """The ground is below everything; above it, everything can be put in an order."""
    left = {name: allowed - GROUND for name, allowed in ALLOWED.items()}
    while left:
        free = {name for name, allowed in left.items() if not allowed & left.keys()}
        assert free, f"a circle among {sorted(left)}"
        left = {name: allowed for name, allowed in left.items() if name not in free}


@pytest.mark.parametrize(
    ("package", "shared"),
    [("analyses", SHARED_BY_ANALYSES), ("compress", SHARED_BY_COMPRESSIONS)],
)
def test_methods_do_not_import_each_other(package: str, shared: set[str]):
    """One method a file: adding one, or taking one away, touches no other."""
    for path in (ROOT / package).rglob("*.py"):
        for name in imports(path):
            below = name.removeprefix(f"bitlens.{package}.").split(".")[0]
            if name.startswith(f"bitlens.{package}.") and path.stem != "__init__":
                at = ROOT / package / below
                is_module = at.is_dir() or at.with_suffix(".py").exists()
                assert below in shared or not is_module, f"{path} imports {name}"


@pytest.mark.parametrize(
    "code",
    [
        "import bitlens",
        "import bitlens.records, bitlens.store, bitlens.export, bitlens.estimate",
        "import bitlens.stats.intervals, bitlens.stats.contrasts, bitlens.stats.multiple",
        "import bitlens.report.build",
        "import bitlens.insights.prediction, bitlens.insights.shared, bitlens.insights.measured",
        "import bitlens.cli",
        "import bitlens; bitlens.Study; bitlens.Store; bitlens.load_study; bitlens.__version__",
        "from bitlens.study import audit_of; refused(lambda: audit_of('demo', 'rtm:bits=4'))",
        "from bitlens.study import audit_of; refused(lambda: audit_of('demo', 'INT4'))",
    ],
)
def test_results_are_read_without_torch(code: str):
    """Neither torch nor transformers is loaded by what does not need a model, mistakes that are
    seen without one included."""
    loaded = "set(sys.modules) & {'torch', 'transformers'}"
    given = "import sys, unittest; from bitlens.errors import BitlensError"
    refused = "refused = lambda call: unittest.TestCase().assertRaises(BitlensError, call)"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{given}; {refused}; {code}; sys.exit(' '.join({loaded}) or None)",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
