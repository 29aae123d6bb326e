"""The runner of programs that a language model wrote: each shut in, limited, and ended in time.

How they are shut in stands in `launcher.py`, and why so in docs/adr/0028-generated-code.md. Where
this machine does not allow it, nothing is run.
"""

import json
import os
import secrets
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import KW_ONLY, asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, Literal

from bitlens.errors import BitlensError, InputError

OPTION = "--confirm-run-unsafe-code"
_LAUNCHER = Path(__file__).with_name("launcher.py")
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/nix/store", "/gnu/store", "/etc/ld.so.cache")
"""What an interpreter finds its libraries in, where there is such a folder."""
_PIECE = 65_536
_MESSAGE = 2_000
"""Bytes of what the program and its launcher say about its end."""


@dataclass(frozen=True)
class ProgramLimits:
    """What one generated program may use."""

    _: KW_ONLY
    cpu_s: int = 5
    """Seconds of processor time, each process. The harness allows 3 s by the clock, where a busy
    machine changes scores."""
    wall_s: float = 30.0
    """Seconds by the clock."""
    memory_bytes: int = 1 << 30
    """Address space, each process."""
    processes: int = 6
    """Processes and threads at a time, the two that guard it included where it is not root who
    starts them."""
    file_bytes: int = 4 << 20
    """Of one file."""
    folder_bytes: int = 16 << 20
    """Of all files."""
    open_files: int = 32
    output_bytes: int = 10_000
    """Of its output that is kept; it may print more."""


@dataclass(frozen=True)
class ProgramRun:
    """How a generated program ended."""

    ended: Literal["passed", "failed", "timed out", "died"]
    """passed: it came to its end. failed: an exception, or it left before. died: by a signal."""
    told: str
    """The exception and its message, the limit or the signal; empty for passed."""
    output: str
    """The beginning of what it printed."""


STANDARD = ProgramLimits()


def run_program(text: str, limits: ProgramLimits = STANDARD) -> ProgramRun:
    """Run a program in Python that nobody vouches for. InputError where this machine does not let
    it be shut in: it names what is missing, and nothing was run."""
    if sys.platform != "linux":
        raise _refused(f"namespaces (this is {sys.platform}, and only Linux has them)")
    token = secrets.token_hex(16)
    # Not below the home of its user: the folder is not to be seen from inside, and is not.
    with TemporaryDirectory(prefix="bitlens-code-") as folder:
        python = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
        wanted = {
            "program": text,
            "token": token,
            "python": python,
            "shown": _shown(python),
            "folder": folder,
            "number": secrets.randbelow(1 << 30),
            "limits": asdict(limits),
        }
        request = Path(folder, "request.json")
        request.write_text(json.dumps(wanted), encoding="utf-8")
        status, told, output, late = _watched(request, limits)
    return _ended(status, told.decode("utf-8", "replace"), output, token, late and limits)


def require_containment() -> None:
    """Does this machine let a program be shut in? Tried with one that tries to get out. InputError
    that says what is missing."""
    ran = run_program(_PROBE)
    if ran.ended != "passed":
        raise _refused(f"a wall that holds: {ran.ended}, {ran.told} {ran.output}".strip())


_PROBE = """
import os, socket
def refused(what, call, *arguments):
    try:
        call(*arguments)
    except OSError:
        return
    raise AssertionError(f"{what} was let through")
refused("a file outside", open, "/outside", "w")
refused("a file among the system's", open, os.__file__, "a")
refused("a socket", socket.socket)
refused("a folder of the machine", os.listdir, "/proc")
refused("a mount", os.chroot, "/")
assert os.getuid() != 0, "it is root"
assert set(os.environ) <= {"HOME", "LC_CTYPE"}, f"it sees an environment, {sorted(os.environ)}"
assert os.getcwd() == os.environ["HOME"] and not os.listdir("."), "its folder is not empty"
with open("inside", "w") as file:
    file.write("what it may do")
"""


def _shown(python: str) -> list[str]:
    """The folders that the interpreter needs, none inside another."""
    wanted = {sys.base_prefix, sys.base_exec_prefix, str(Path(python).parent), *_SYSTEM}
    there = {os.path.normpath(path) for path in wanted if os.path.lexists(path)}
    return sorted(
        path for path in there if not any(str(parent) in there for parent in Path(path).parents)
    )


def _watched(request: Path, limits: ProgramLimits) -> tuple[bytes, bytes, bytes, bool]:
    """What the launcher said, what the program said of its end, what it printed, and whether the
    clock ran out. Nothing that it starts is left afterwards."""
    status, told = os.pipe(), os.pipe()
    command = [sys.executable, "-I", "-S", str(_LAUNCHER), str(request)]
    process = subprocess.Popen(
        [*command, str(status[1]), str(told[1])],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={},
        pass_fds=(status[1], told[1]),
        start_new_session=True,
    )
    assert process.stdout is not None
    for end in (status[1], told[1]):
        os.close(end)
    pipes: dict[str, IO[bytes]] = {
        "status": os.fdopen(status[0], "rb", buffering=0),
        "told": os.fdopen(told[0], "rb", buffering=0),
        "output": process.stdout,
    }
    most = {"status": _MESSAGE, "told": _MESSAGE, "output": limits.output_bytes}
    try:
        read, late = _read(pipes, most, time.monotonic() + limits.wall_s)
    finally:
        # Every process of it is in the group, or in a namespace that ends with one that is.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in pipes.values():
            pipe.close()
    return read["status"], read["told"], read["output"], late


def _read(
    pipes: Mapping[str, IO[bytes]], most: Mapping[str, int], end: float
) -> tuple[dict[str, bytes], bool]:
    """The beginning of what comes through each, until all are closed or it is `end` by the clock.
    What is too much is read and forgotten: a program that prints is not to wait for a reader."""
    read = dict.fromkeys(pipes, b"")
    with selectors.DefaultSelector() as selector:
        for name, pipe in pipes.items():
            selector.register(pipe, selectors.EVENT_READ, name)
        while selector.get_map():
            left = end - time.monotonic()
            if left <= 0:
                return read, True
            for key, _ in selector.select(left):
                piece = os.read(key.fd, _PIECE)
                read[key.data] = (read[key.data] + piece)[: most[key.data]]
                if not piece:
                    selector.unregister(key.fileobj)
    return read, False


def _ended(
    status: bytes, told: str, printed: bytes, token: str, late: ProgramLimits | Literal[False]
) -> ProgramRun:
    """What became of it. `late`: the limits, where the clock ran out."""
    output = printed.decode("utf-8", "replace")
    said: dict[str, Any] = {}
    for line in status.decode().splitlines():
        said |= json.loads(line)
    if "missing" in said:
        raise _refused(said["missing"])
    if late:
        return ProgramRun("timed out", f"{late.wall_s:g} s by the clock", output)
    if "code" not in said:
        return ProgramRun("died", "with all that guarded it", output)
    code = said["code"]
    if code == -signal.SIGXCPU or (code == -signal.SIGKILL and said["cpu_s"] >= 1):
        return ProgramRun("timed out", f"{said['cpu_s']:.1f} s of processor time", output)
    if code < 0:
        return ProgramRun("died", signal.Signals(-code).name, output)
    if told == token and code == 0:
        return ProgramRun("passed", "", output)
    told = told.removesuffix(": ")
    return ProgramRun("failed", told or f"it left before its end, with exit code {code}", output)


def _refused(missing: str) -> BitlensError:
    return InputError(
        f"Generated code cannot be shut in on this machine; missing: {missing}.",
        "Linux 5.12 or newer that lets a process have its own users, mounts, network and a filter "
        "of system calls.",
        "a machine of your own instead of a container (a container: with "
        "--security-opt seccomp=unconfined --security-opt apparmor=unconfined), Ubuntu with "
        "kernel.apparmor_restrict_unprivileged_userns=0, or benchmarks that run no code.",
    )
