"""SAEs that others train are those that one process trains."""

from pathlib import Path

import pytest

from bitlens.config.sae_grid import SaeGrid
from bitlens.config.study import audit_of
from bitlens.workflows.apart.engine import Apart
from bitlens.workflows.given import NOTHING, Given
from bitlens.workflows.train_sae.run import train_saes
from tests.support.apart import LocalPool


@pytest.mark.slow
def test_saes_are_the_same_files_whoever_trains_them(
    gpt2: Path, short_texts: Path, tmp_path: Path
) -> None:
    """Of a model and a twin, each SAE by itself, in whatever order they come back."""
    study = audit_of(str(gpt2), "rtn:bits=3", controls=(), text=str(short_texts), tokens=2000)
    grid = SaeGrid(site="resid.1", widths=("2x",), ks=(4,), seeds=(0, 1), epochs=1)
    pool = LocalPool()
    for folder, given in ("here", NOTHING), ("apart", Given(engine=Apart(pool))):
        on = ["reference", "rtn:bits=3"]
        train_saes(study, on, grid, tmp_path / folder, print, given)
    assert pool.asked == [[0, 1, 2, 3]]
    assert contents(tmp_path / "apart") == contents(tmp_path / "here")


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}
