"""What does `--engine ray` cost over a plain run of the same study, in processor time?

Every process that a run starts is counted, Ray's own and its workers among them: by the clock a
busy machine tells nothing. Each run is a process of its own, from nothing to a complete store.
"""

import argparse
import multiprocessing
import os
import tempfile
import threading
import time
from pathlib import Path

import psutil


def main() -> None:
    """Print the processor time of a plain run and of runs by workers."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--tokens", type=int, default=65_536)
    asked.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    tokens, workers = (vars(asked.parse_args())[name] for name in ("tokens", "workers"))
    os.environ["OMP_NUM_THREADS"] = "1"
    plain = processor_seconds(tokens, 0)
    print(f"plain: {plain:.0f} s of processor time", flush=True)
    for number in workers:
        took = processor_seconds(tokens, number)
        print(f"{number} workers: {took:.0f} s, {took / plain:.2f} of it", flush=True)


def processor_seconds(tokens: int, workers: int) -> float:
    """Of a run and all that it starts."""
    running = multiprocessing.get_context("spawn").Process(target=run, args=(tokens, workers))
    seen: dict[int, float] = {}
    running.start()
    watch = threading.Thread(target=watched, args=(running, seen))
    watch.start()
    running.join()
    watch.join()
    assert running.exitcode == 0
    return sum(seen.values())


def watched(running: multiprocessing.process.BaseProcess, seen: dict[int, float]) -> None:
    """The last that was seen of every process below one."""
    assert running.pid is not None
    whole = psutil.Process(running.pid)
    while running.is_alive():
        try:
            for process in [whole, *whole.children(recursive=True)]:
                times = process.cpu_times()
                seen[process.pid] = times.user + times.system
        except psutil.Error:
            pass
        time.sleep(0.5)


def run(tokens: int, workers: int) -> None:
    """One audit of the embedded model; by no workers: here."""
    import torch

    from bitlens.config.study import audit_of
    from bitlens.workflows.audit.run import run as audit
    from bitlens.workflows.given import NOTHING

    torch.set_num_threads(1)
    study = audit_of(
        "demo",
        ["rtn:bits=4", "rtn:bits=3"],
        controls=("noise",),
        analyses=("behaviour", "geometry", "lens"),
        tokens=tokens,
    )
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        if not workers:
            audit(study, out, "benchmark", given=NOTHING)
            return
        import ray

        from bitlens.workflows.apart.engine import Apart
        from bitlens.workflows.apart.ray_pool import RayPool
        from bitlens.workflows.given import Given

        ray.init(address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False)
        audit(study, out, "benchmark", given=Given(engine=Apart(RayPool(ray))))
        ray.shutdown()


if __name__ == "__main__":
    main()
