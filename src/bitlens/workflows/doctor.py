"""What this machine has of what an audit needs: facts to read, and to put into a bug report."""

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import torch

from bitlens.compression.calibration.cache import RECORD, twins
from bitlens.compression.checkpoints.readers import readers
from bitlens.config.study import audit_of
from bitlens.config.study_settings import DEMO
from bitlens.errors import BitlensError
from bitlens.models.sixteen_bits import instructions, speedup, worth_pairing
from bitlens.results.counts import count
from bitlens.results.files.home import without_home
from bitlens.workflows.session import Session

NEEDED = ("bitlens", "torch", "transformers", "accelerate", "safetensors", "numpy", "pyarrow")
OPTIONAL = {"datasets": "for --text hf:owner/name: pip install datasets"} | {
    name: f"for checkpoint: of its format: pip install 'bitlens[{extra}]'"
    for name, extra in sorted(readers().packages.items())
}
SHOWN = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
"""Variables of the environment whose values are no secrets."""
HIDDEN = ("HF_HOME", "HF_TOKEN")
"""Variables of which only is said whether they are set."""


def examine() -> Iterator[tuple[str, str]]:
    """Names and what was found: versions, processor, memory, GPUs, environment, the demo."""
    yield "python", platform.python_version()
    for name in NEEDED:
        yield name, version(name)
    for name, purpose in OPTIONAL.items():
        yield name, _installed(name) or f"absent ({purpose})"
    yield "system", f"{platform.system()} {platform.machine()}"
    yield "cores", f"{psutil.cpu_count()}, of which torch uses {torch.get_num_threads()} threads"
    yield "vector instructions", torch.backends.cpu.get_cpu_capability()
    yield "bfloat16", _bfloat16("cpu", ", ".join(instructions()) or "no instructions for it")
    memory = psutil.virtual_memory()
    yield "memory", f"{memory.available / 1e9:.1f} GB free of {memory.total / 1e9:.1f} GB"
    yield "GPU", ", ".join(_gpus()) or "none that torch can use"
    for name in SHOWN:
        yield name, os.environ.get(name, "not set")
    for name in HIDDEN:
        yield name, "set" if name in os.environ else "not set"
    yield "calibrated twins", _calibrated()
    yield "embedded model", _demo()


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _bfloat16(device: str, why: str) -> str:
    advice = "worth" if worth_pairing(torch.device(device)) else "not worth"
    return (
        f"products {speedup(device):.2g} times as fast as in float32 ({why}); --compute paired is "
        f"{advice} trying there"
    )


def _gpus() -> Iterator[str]:
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        name = torch.cuda.get_device_name(number)
        bfloat16 = _bfloat16(f"cuda:{number}", "measured")
        yield f"cuda:{number} {name}, {free / 1e9:.1f} GB free of {total / 1e9:.1f} GB, {bfloat16}"


def _calibrated() -> str:
    try:
        return _kept(twins())
    except BitlensError as error:
        return error.found


def _kept(folder: Path) -> str:
    where = without_home(str(folder))
    try:
        sizes = {file: file.stat().st_size for file in folder.rglob("*") if file.is_file()}
    except OSError as error:
        return f"{where} cannot be read: {error.strerror}"
    kept = sum(file.name == RECORD for file in sizes)
    return f"{kept} in {where}, {sum(sizes.values()) / 1e9:.2f} GB; remove that folder to empty it"


def _demo() -> str:
    try:
        session = Session.open(audit_of(DEMO, "nothing", device="cpu"), log=lambda _: None)
    except BitlensError as error:
        return f"does not load: {error.found}"
    parameters = sum(parameter.numel() for parameter in session.loaded.model.parameters())
    return f"loads: {count(session.layout.depth, 'block')}, {count(parameters, 'parameter')}"
