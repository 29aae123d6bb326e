"""Laws of sweeps that others sum up: who did, how many they are and when decides no digit."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bitlens.config.study import Study, audit_of
from bitlens.engine.wave_size import BATCH_TOKENS
from bitlens.errors import BitlensError
from bitlens.results.store import Store
from bitlens.workflows.apart import engine
from bitlens.workflows.apart.engine import Apart
from bitlens.workflows.audit.run import run
from bitlens.workflows.given import NOTHING, Given
from bitlens.workflows.sensitivity.run import Request
from bitlens.workflows.sensitivity.run import run as sensitivity
from tests.support.apart import LocalPool

pytestmark = pytest.mark.slow


PARTS = 4


def silent(line: str) -> None:
    pass


@pytest.fixture(scope="module", autouse=True)
def many_batches(few_sequences: None) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BATCH_TOKENS, "cpu", 64)
        patch.setattr("bitlens.engine.parts.PARTS", PARTS)
        yield


@pytest.fixture(scope="module")
def study(gpt2: Path, short_texts: Path) -> Study:
    """Of batches of two kinds, some a part and some more than one; sums, rows and documents."""
    return audit_of(
        str(gpt2),
        "rtn:bits=3",
        controls=("noise",),
        analyses=("behaviour", "heads", "lens"),
        text=str(short_texts),
        tokens=900,
        context=32,
    )


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(p.relative_to(root)): p.read_bytes() for p in files if p.name != "run.json"}


def by(pool: LocalPool) -> Given:
    return Given(engine=Apart(pool))


def audited(study: Study, folder: Path, given: Given = NOTHING) -> dict[str, bytes]:
    store: Store = run(study, folder, "audit", silent, given=given)
    return contents(store.root)


@pytest.fixture(scope="module")
def plain(study: Study, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process makes of it."""
    return audited(study, tmp_path_factory.mktemp("plain") / "out")


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_gives_the_bytes_of_a_plain_run(
    study: Study, plain: dict[str, bytes], tmp_path: Path, workers: int
) -> None:
    """Whoever sums up which part, and in whatever order they come back."""
    pool = LocalPool(workers)
    assert audited(study, tmp_path / "out", by(pool)) == plain
    assert pool.asked == [list(range(PARTS))]


def test_a_command_that_was_killed_goes_on_with_the_parts_that_are_missing(
    study: Study, plain: dict[str, bytes], tmp_path: Path
) -> None:
    """By seven workers that were two: what was written is read, and a part that is not as it was
    written is summed up again."""
    with pytest.raises(KeyboardInterrupt):
        audited(study, tmp_path / "out", by(LocalPool(2, dies_after=2)))
    (damaged,) = (tmp_path / "out" / "partial").glob("*/part-3/*-2.safetensors")
    damaged.write_bytes(b"x")
    pool = LocalPool(7)
    assert audited(study, tmp_path / "out", by(pool)) == plain
    assert pool.asked == [[0, 1, 3]]


def test_what_a_worker_calls_its_files_leads_nowhere_else(tmp_path: Path) -> None:
    """Every file that it sends lies in the folder of its part."""
    engine._keep(tmp_path / "part-0", {"../out": b"x", str(tmp_path / "whole"): b"y"})
    assert [path.name for path in tmp_path.iterdir()] == ["part-0"]
    assert len(list((tmp_path / "part-0").iterdir())) == 2


def test_machines_with_too_little_memory_are_told(study: Study, tmp_path: Path) -> None:
    """Before anything is summed up, with how much it takes."""
    with pytest.raises(BitlensError, match=r"largest machine of the cluster has 1.05 MB"):
        audited(study, tmp_path / "out", by(LocalPool(memory=1 << 20)))


def test_the_forks_of_a_sensitivity_run_are_summed_up_so_too(
    gpt2: Path, short_texts: Path, tmp_path: Path
) -> None:
    """The same bytes as in one process."""
    asked = audit_of(
        str(gpt2), "rtn:bits=4", controls=(), text=str(short_texts), tokens=600, context=32
    )
    request = Request(measures=("kl",))
    for folder, given in ("plain", NOTHING), ("apart", by(LocalPool(2))):
        sensitivity(asked, request, tmp_path / folder, "command", silent, given)
    assert contents(tmp_path / "apart") == contents(tmp_path / "plain")
