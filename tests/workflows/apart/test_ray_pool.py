"""Sweeps summed up by Ray: a cluster whose worker, machine and driver are lost, and what is said
where there is none."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bitlens.config.study import Study, audit_of
from bitlens.engine.wave_size import BATCH_TOKENS
from bitlens.errors import CapacityError, InputError
from bitlens.results.store import Store
from bitlens.workflows.apart.engine import Apart, Batches, Needs
from bitlens.workflows.apart.job import Summed, SweepJob
from bitlens.workflows.apart.ray_pool import RayPool, ray_engine
from bitlens.workflows.audit.run import run
from bitlens.workflows.given import NOTHING, Given

STORE = 100 << 20
SETTINGS = {"controls": (), "analyses": ("behaviour",), "tokens": 1600, "context": 32}


def silent(line: str) -> None:
    pass


def test_ray_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to type."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'bitlens\[ray\]'"), ray_engine(None, silent):
        pass


@pytest.mark.slow
def test_ray_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that is too busy, for which it has no error of its own."""
    import ray

    def late(**settings: object) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", late)
    said = "does not start on this machine: The current node timed"
    with pytest.raises(InputError, match=said), ray_engine(None, silent):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "here"])
def test_a_cluster_that_does_not_answer_is_told(address: str) -> None:
    """Within seconds, with the address."""
    with (
        pytest.raises(InputError, match=f"No Ray cluster answers at {address}: "),
        ray_engine(address, silent),
    ):
        pass


GIB = 1 << 30


class Offers:
    """A cluster of machines with so many processors, GPUs and GiB each, that begins no task."""

    def __init__(self, *machines: tuple[int, int, int]) -> None:
        self.machines = machines
        self.looked = 0

    def nodes(self) -> list[dict[str, Any]]:
        self.looked += 1
        return [
            {"Alive": True, "Resources": {"CPU": cpus, "GPU": gpus, "memory": gib * GIB}}
            for cpus, gpus, gib in self.machines
        ]

    def put(self, what: object) -> object:
        return what

    def remote(self, **wanted: object) -> Any:
        return lambda work: self._Task()

    class _Task:
        def remote(self, *given: object) -> str:
            return "a task"

    def wait(self, going: list[str], **how: object) -> tuple[list[str], list[str]]:
        """Nothing is done in time, and a machine is lost meanwhile."""
        self.machines = self.machines[1:]
        return [], going

    def cancel(self, going: str, **how: object) -> None:
        pass


def begun(cluster: Offers, needs: Needs) -> None:
    job: Any = None
    next(RayPool(cluster).summed(job, {0: []}, needs))


@pytest.mark.parametrize(
    ("machines", "gpus"), [(((8, 0, 16), (2, 0, 64)), 0), (((8, 0, 64), (8, 1, 16)), 1)]
)
def test_what_no_single_machine_has_is_told(
    machines: tuple[tuple[int, int, int], ...], gpus: int
) -> None:
    """Processors of one and memory, or a GPU, of another: Ray would wait for ever."""
    needs = Needs(threads=8, gpus=gpus, memory=40 * GIB)
    with pytest.raises(CapacityError, match=r"there are 8 processors.* 17\.2 GB of memory"):
        begun(Offers(*machines), needs)


def test_the_memory_of_a_process_is_that_of_a_machine_with_its_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A larger one with fewer processors has no place for it."""
    monkeypatch.setattr("torch.get_num_threads", lambda: 8)
    assert RayPool(Offers((8, 0, 16), (2, 0, 64))).memory == 16 * GIB


def test_a_machine_that_is_lost_and_was_the_only_one_is_told() -> None:
    """When nothing has come for a while; as long as another of its size is there, it is waited."""
    needs = Needs(threads=2, gpus=0, memory=40 * GIB)
    cluster = Offers((2, 0, 64), (2, 0, 64), (2, 0, 16))
    with pytest.raises(CapacityError, match=r"there are 2 processors and 17\.2 GB of memory\."):
        begun(cluster, needs)
    # By the pool, before it begins, and twice while nothing comes.
    assert cluster.looked == 4


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two machines with a processor each, and one without that the driver is on."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    none = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False}
    made: Any = Cluster(initialize_head=True, head_node_args=none)
    made.machines = [made.add_node(num_cpus=1, object_store_memory=STORE) for _ in range(2)]
    yield made
    made.shutdown()


DRIVER = """
import sys
from pathlib import Path
from bitlens.config.study import audit_of
from bitlens.engine.wave_size import BATCH_TOKENS
from bitlens.workflows.apart.ray_pool import ray_engine
from bitlens.workflows.audit.run import run
BATCH_TOKENS["cpu"] = 64
model, text, out, address, settings = sys.argv[1:]
study = audit_of(model, "rtn:bits=3", text=text, **eval(settings))
with ray_engine(address, print) as given:
    run(study, Path(out), "audit", given=given)
"""


def killed_driver(arguments: list[str], partial: Path) -> None:
    """A command that is killed when it has written a part."""
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, *arguments])
    while not list(partial.glob("*/part-*/waves.json")):
        assert driver.poll() is None, "it ended before it was killed"
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    driver.wait()


class Losing(RayPool):
    """A worker is killed after the first part, and its machine taken away after the third."""

    cluster: Any

    def summed(self, job: SweepJob, parts: Batches, needs: Needs) -> Iterator[tuple[int, Summed]]:
        self.parts = list(parts)
        for done, (number, found) in enumerate(super().summed(job, parts, needs)):
            if done == 0:
                os.kill(int(found.worker.rpartition(" ")[2]), signal.SIGKILL)
            if done == 2:
                self.cluster.remove_node(self.cluster.machines.pop())
            yield number, found


@pytest.mark.slow
def test_what_is_lost_is_summed_up_again_and_the_bytes_are_those_of_a_plain_run(
    cluster: Any, gpt2: Path, short_texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver killed, then a worker, then a machine."""
    monkeypatch.setitem(BATCH_TOKENS, "cpu", 64)
    study = audit_of(str(gpt2), "rtn:bits=3", text=str(short_texts), **SETTINGS)
    plain = contents(study, tmp_path / "plain", NOTHING)
    out = tmp_path / "out"
    killed_driver(
        [str(gpt2), str(short_texts), str(out), cluster.address, repr(SETTINGS)], out / "partial"
    )
    there = len(list(out.glob("partial/*/part-*/waves.json")))
    with ray_engine(cluster.address, silent):
        import ray

        pool = Losing(ray)
        pool.cluster = cluster
        assert contents(study, out, Given(engine=Apart(pool))) == plain
    assert 0 < there < 16
    assert len(pool.parts) == 16 - there
    assert len(cluster.machines) == 1


def contents(study: Study, folder: Path, given: Given) -> dict[str, bytes]:
    store: Store = run(study, folder, "audit", silent, given=given)
    files = (path for path in sorted(store.root.rglob("*")) if path.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files if p.name != "run.json"}
