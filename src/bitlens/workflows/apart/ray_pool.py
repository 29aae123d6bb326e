"""Workers of a Ray cluster as a pool: which does what, where, and again if it is lost, Ray says."""

import importlib
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psutil
import torch

from bitlens.errors import CapacityError, InputError, ModelError, told
from bitlens.report.text.numbers import size
from bitlens.results.counts import count
from bitlens.sae.training.trainer import InMemory
from bitlens.workflows.apart.engine import Apart, Batches, Needs
from bitlens.workflows.apart.job import Summed, SweepJob, summed
from bitlens.workflows.apart.training import SaeTraining, TrainedApart, trained_apart
from bitlens.workflows.engines import PlannedTraining
from bitlens.workflows.given import Given
from bitlens.workflows.session import Log

RETRIES = 3
"""How often a part is begun again whose worker or machine was lost."""
SECONDS = 10
"""In which a cluster must answer."""
PATIENCE = 60
"""Seconds without a result, after which is looked whether machines are there that can give one."""
STORE = (100 << 20, 2 << 30)
"""Bytes of the object store of a cluster of one's own, at least and at most: a tenth of what is
free. What does not fit, Ray puts on disk."""


@contextmanager
def ray_engine(address: str | None, log: Log) -> Iterator[Given]:
    """While this lasts, sweeps are summed up by workers of the cluster at this address, or of one
    of this machine alone. BitlensError where Ray is not installed or does not answer."""
    ray = _imported()
    _connect(ray, address)
    try:
        pool = RayPool(ray)
        log(f"Ray: {pool.said}.")
        yield Given(engine=Apart(pool))
    finally:
        ray.shutdown()


class RayPool:
    """A `Pool` of the cluster that this process is connected with."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._machines = _machines(ray)
        most = max((int(of.get("CPU", 0)) for of in self._machines), default=0)
        if not most:
            raise InputError(
                "The cluster has no machine with a processor for work.",
                "one machine at least that offers processors.",
                "ray start --address=HOST:PORT on one, or leave --address out.",
            )
        self.threads = min(torch.get_num_threads(), most)
        # Processors of one machine and memory of another make no worker.
        self.memory = max(
            int(of.get("memory", 0)) for of in self._machines if of.get("CPU", 0) >= self.threads
        )

    @property
    def said(self) -> str:
        """What there is, in words."""
        cpus, gpus = (int(sum(of.get(k, 0) for of in self._machines)) for k in ("CPU", "GPU"))
        more = f" and {count(gpus, 'GPU')}" if gpus else ""
        machines, processors = count(len(self._machines), "machine"), count(cpus, "processor")
        return f"{machines} with {processors}{more}"

    def summed(self, job: SweepJob, parts: Batches, needs: Needs) -> Iterator[tuple[int, Summed]]:
        """What came of every part, by its number, as they are done. BitlensError where no machine
        has what one takes, or a part's worker was lost again and again."""
        self._require(needs)
        shared = self._ray.put(job)
        task = self._task(summed, needs)
        yield from self._done({task.remote(shared, list(of)): n for n, of in parts.items()}, needs)

    def trained(
        self, saes: Sequence[SaeTraining], of: PlannedTraining, needs: Needs
    ) -> Iterator[tuple[int, TrainedApart]]:
        """What came of every SAE, by its place, as they are done. A machine holds the activations
        of each model once for all of its workers. BitlensError as above."""
        self._require(needs)
        assert isinstance(of.source, InMemory)
        learnt, held = (
            {name: self._ray.put(tensor.cpu().numpy()) for name, tensor in rows.items()}
            for rows in (of.source.rows, of.held_out)
        )
        task = self._task(trained_apart, needs)
        going = {
            task.remote(one, learnt[one.job.model], held[one.job.model]): place
            for place, one in enumerate(saes)
        }
        yield from self._done(going, needs)

    def _require(self, needs: Needs) -> None:
        """BitlensError unless one machine that is there has all of it together: Ray would wait for
        such a machine for ever, and say nothing."""
        machines = _machines(self._ray)
        if needs.gpus and not any(of.get("GPU", 0) for of in machines):
            raise InputError(
                "The model runs on a GPU here, and no machine of the cluster offers one.",
                "workers that compute as this command does, or digits would differ.",
                "ray start --num-gpus on the machines, or --device cpu.",
            )
        wanted = {"CPU": needs.threads, "GPU": needs.gpus, "memory": needs.memory}
        if any(all(of.get(k, 0) >= least for k, least in wanted.items()) for of in machines):
            return
        there = "; ".join(dict.fromkeys(_told(of) for of in machines))
        raise CapacityError(
            "No machine of the cluster has all that a process takes: there are "
            f"{there or 'none left'}.",
            f"a machine with {_told(wanted)}.",
            "a larger machine, less with --memory, fewer OMP_NUM_THREADS; without --engine ray "
            "this process does it alone.",
        )

    def _task(self, work: Callable[..., Any], needs: Needs) -> Any:
        return self._ray.remote(
            num_cpus=needs.threads,
            num_gpus=needs.gpus,
            memory=needs.memory,
            max_retries=RETRIES,
            # A worker with a GPU would be let go after every task, its model with it.
            max_calls=0,
        )(work)

    def _done(self, going: dict[Any, int], needs: Needs) -> Iterator[tuple[int, Any]]:
        try:
            while going:
                done, _ = self._ray.wait(list(going), num_returns=1, timeout=PATIENCE)
                if not done:
                    self._require(needs)
                for one in done:
                    yield going.pop(one), self._got(one)
        finally:
            for reference in going:
                self._ray.cancel(reference, force=True)

    def _got(self, reference: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except errors.OutOfMemoryError as error:
            raise CapacityError(
                "A worker ran out of memory again and again.",
                "as much memory as was told above, on every machine that takes one.",
                "--memory with less (more waves), or fewer workers on a machine.",
            ) from error
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.ObjectLostError) as error:
            raise ModelError(
                f"A part's worker was lost {RETRIES + 1} times.",
                "a machine on which it can end; ray's own log says what became of it.",
                "the same command again goes on with the parts that are missing.",
            ) from error
        except (errors.RaySystemError, errors.RayTaskError) as error:
            if "No module named" not in str(error):
                raise
            raise InputError(
                f"A worker cannot run bitlens: {told(error.cause or error)}.",
                "the same bitlens on every machine of the cluster.",
                "pip install 'bitlens[ray]' on each, in the environment that ray was started in.",
            ) from error


def _machines(ray: Any) -> list[dict[str, float]]:
    """What each machine that is there offers, in Ray's own words."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _told(offer: Mapping[str, float]) -> str:
    """Processors, GPUs and memory, in words."""
    gpus = int(offer.get("GPU", 0))
    more = f", {count(gpus, 'GPU')}" if gpus else ""
    memory = size(int(offer.get("memory", 0)))
    return f"{count(int(offer.get('CPU', 0)), 'processor')}{more} and {memory} of memory"


def _imported() -> Any:
    # It reports usage unless it is told not to before it is imported.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise InputError(
            f"--engine ray needs ray, which cannot be imported: {told(error)}.",
            "bitlens with its extra 'ray'.",
            "pip install 'bitlens[ray]'",
        ) from error


def _connect(ray: Any, address: str | None) -> None:
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        least, most = STORE
        room = min(most, max(least, psutil.virtual_memory().available // 10))
        try:
            ray.init(address="local", object_store_memory=room, **quiet)
        except Exception as error:
            # It has no type of error for what did not start in time.
            raise InputError(
                f"Ray does not start on this machine: {told(error)}.",
                "a machine with time to start it: some ten processes in half a minute.",
                "the same command again, or without --engine ray.",
            ) from error
        return
    try:
        if address != "auto":
            host, _, port = address.rpartition(":")
            # Ray itself tries for four minutes.
            with socket.create_connection((host, int(port)), timeout=SECONDS):
                pass
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError, OverflowError) as error:
        raise InputError(
            f"No Ray cluster answers at {address}: {told(error)}.",
            "auto on a machine of the cluster, or the HOST:PORT that ray start --head printed.",
            "ray start --head, ray status; or leave --address out to use this machine alone.",
        ) from error
