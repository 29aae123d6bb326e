"""Programs that mean harm, and what becomes of them.

Where this machine does not let a program be shut in they skip, and say what is missing.
"""

import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from bitlens.errors import BitlensError
from bitlens.workflows.bench.untrusted.run import (
    ProgramLimits,
    ProgramRun,
    require_containment,
    run_program,
)

QUICK = ProgramLimits(cpu_s=1, wall_s=60.0)
"""The clock is for those that sleep: a busy machine is no reason to fail."""
NAME = "import ctypes; ctypes.CDLL(None).prctl(15, b'{name}', 0, 0, 0)\n"
"""Gives a process a name that is seen from outside (PR_SET_NAME)."""


@pytest.fixture(scope="module")
def walls() -> None:
    """A machine that lets programs be shut in."""
    try:
        require_containment()
    except BitlensError as error:
        pytest.skip(error.found)


def running(name: str) -> list[str]:
    """The processes of the machine that are called so."""
    found = []
    for comm in Path("/proc").glob("[0-9]*/comm"):
        with suppress(OSError):
            found += [str(comm)] if comm.read_text().strip() == name else []
    return found


def gone(name: str) -> bool:
    """Is every process of that name gone, within a second?"""
    end = time.monotonic() + 1
    while running(name) and time.monotonic() < end:
        time.sleep(0.01)
    return not running(name)


def ran(text: str, limits: ProgramLimits = QUICK) -> ProgramRun:
    """How a program ended."""
    return run_program(text, limits)


@pytest.mark.usefixtures("walls")
@pytest.mark.parametrize(
    ("text", "ended", "told"),
    [
        ("assert sum([1, 2]) == 3", "passed", ""),
        ("assert 1 == 2, 'no'", "failed", "AssertionError: no"),
        ("def f(:\n", "failed", "SyntaxError: "),
        ("import sys; sys.exit(0)", "failed", "SystemExit: 0"),
        ("import os; os._exit(0)", "failed", "it left before its end, with exit code 0"),
        ("input()", "failed", "EOFError: "),
        ("x = bytearray(1 << 40)", "failed", "MemoryError"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "died", "SIGKILL"),
        ("print('\\udc80' if __name__ == '__main__' else '')", "passed", ""),
    ],
    ids=["right", "wrong", "syntax", "exit", "early", "reads", "memory", "killed", "name"],
)
def test_how_a_program_ends(text: str, ended: str, told: str) -> None:
    """Only one that comes to its end has passed; leaving early with code 0 is none."""
    found = ran(text)
    assert (found.ended, found.told[: len(told)]) == (ended, told)
    assert told or not found.told


@pytest.mark.usefixtures("walls")
def test_a_loop_that_ignores_signals_ends() -> None:
    """After a second of processor time, and one more where it does not listen."""
    deaf = "import signal\nfor one in set(signal.Signals) - {9, 19}:\n    signal.signal(one, 1)\n"
    found = ran(deaf + "while True: pass")
    assert (found.ended, found.told[3:]) == ("timed out", " s of processor time")


@pytest.mark.usefixtures("walls")
def test_one_that_sleeps_ends_with_all_its_children() -> None:
    """The clock has a limit too: nothing is left of it, sessions of its own included."""
    name = f"bl-sleep-{os.getpid() % 10_000}"
    text = NAME.format(name=name) + "import os, time\nos.fork() or os.setsid()\ntime.sleep(99)"
    found = ran(text, ProgramLimits(wall_s=3.0))
    assert (found.ended, found.told) == ("timed out", "3 s by the clock")
    assert gone(name)


@pytest.mark.usefixtures("walls")
def test_a_child_does_not_outlive_its_program() -> None:
    """It is ended when the program comes to its end, whatever session it is in."""
    name = f"bl-child-{os.getpid() % 10_000}"
    text = NAME.format(name=name) + (
        "import os, time, signal\n"
        "if not os.fork():\n    os.setsid()\n    signal.signal(15, 1)\n    time.sleep(99)\n"
    )
    assert ran(text).ended == "passed"
    assert gone(name)


@pytest.mark.usefixtures("walls")
def test_a_fork_bomb_stays_small() -> None:
    """No more than a handful of processes at a time, and none afterwards."""
    name = f"bl-bomb-{os.getpid() % 10_000}"
    text = NAME.format(name=name) + (
        "import os, time\nnumber = 0\n"
        "for _ in range(1000):\n"
        "    try:\n        child = os.fork()\n"
        "    except OSError:\n        break\n"
        "    if not child:\n        time.sleep(99)\n"
        "    number += 1\n"
        "assert 1 <= number < 6, number\n"
    )
    found = ran(text)
    assert (found.ended, found.told) == ("passed", "")
    assert gone(name)


@pytest.mark.usefixtures("walls")
def test_deep_recursion_takes_nobody_along() -> None:
    """It is out of stack, of memory or of time, by the version of Python."""
    text = "import sys\nsys.setrecursionlimit(10**9)\ndef f(n): return f(n + 1) + 1\nf(0)"
    assert ran(text, ProgramLimits(cpu_s=1, wall_s=60.0, memory_bytes=1 << 28)).ended != "passed"


@pytest.mark.usefixtures("walls")
def test_much_output_is_read_and_forgotten() -> None:
    """The program does not wait for a reader, and no more than the beginning is kept."""
    found = ran("for at in range(200): print(str(at) * 50_000)")
    assert (found.ended, len(found.output)) == ("passed", QUICK.output_bytes)
    assert found.output.startswith("00000")


@pytest.mark.usefixtures("walls")
def test_nothing_outside_is_read_or_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the folders of the user, nor the environment of who started it, nor its processes."""
    monkeypatch.setenv("BITLENS_SECRET", "a-secret-of-the-parent")
    secret = tmp_path / "secret.txt"
    secret.write_text("what nobody may read")
    text = f"""
import os
for path in ({str(secret)!r}, "/proc/self/environ", "/proc/1/environ", "/etc/passwd"):
    assert not os.path.exists(path), path
for path in ({str(tmp_path / "new")!r}, "/new", "/usr/new", "/tmp/new", os.__file__ + ".new"):
    try:
        open(path, "w")
    except OSError:
        continue
    raise AssertionError(path)
assert "secret" not in str(dict(os.environ))
assert os.getppid() == 1 and sorted(os.listdir("/")) == sorted(set(os.listdir("/")))
for pid in range(2, 50):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        continue
    assert pid == os.getpid(), pid
"""
    found = ran(text)
    assert (found.ended, found.told) == ("passed", "")
    assert sorted(tmp_path.iterdir()) == [secret]


@pytest.mark.usefixtures("walls")
def test_files_of_its_own_have_limits() -> None:
    """One file, and all of them together."""
    text = """
import errno
def write(name, size):
    with open(name, "wb") as file:
        file.write(bytes(size))
try:
    write("file0", 5 << 20)
except OSError as error:
    assert error.errno == errno.EFBIG, error
else:
    raise AssertionError("a file that is too large")
for number in range(99):
    try:
        write(f"file{number}", 3 << 20)
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
        break
assert number == 5, number
"""
    found = ran(text)
    assert (found.ended, found.told) == ("passed", "")


@pytest.mark.usefixtures("walls")
def test_there_is_no_network_and_no_way_back() -> None:
    """A port of this machine is out of reach; so are privileges, mounts and namespaces."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        text = f"""
import ctypes, os, socket
try:
    socket.create_connection(("127.0.0.1", {port}), timeout=1)
except OSError:
    pass
else:
    raise AssertionError("connected")
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x10000000) == -1, "a namespace of users"
assert libc.mount(None, b"/usr", None, 32 | 4096, None) == -1, "writable again"
assert libc.umount2(b"/usr", 2) == -1
assert libc.shmget(0, 1 << 20, 0o1600) == -1, "memory that no limit counts"
assert libc.ptrace(16, 1, 0, 0) == -1, "whoever guards it"
for call, *arguments in ((os.chroot, "/"), (os.setuid, 0), (os.kill, 1, 9), (os.setgid, 0)):
    try:
        call(*arguments)
    except OSError:
        continue
    assert call is os.kill, call
"""
        found = ran(text)
    assert (found.ended, found.told) == ("passed", "")


def test_a_machine_that_does_not_allow_it_runs_nothing() -> None:
    """As in a container: what makes namespaces is refused. It says what is missing, exit code 2 on
    the command line, and no program was run."""
    text = (
        "from bitlens.workflows.bench.untrusted import launcher, run\n"
        "from bitlens.errors import BitlensError\nimport os\n"
        "launcher.control('', launcher.NO_NEW_PRIVILEGES, 1)\n"
        "launcher.filter_calls(os.uname().machine)\n"
        "try:\n    run.run_program('print(1)')\n"
        "except BitlensError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    first, second, third = done.stdout.splitlines()
    assert first.startswith("Generated code cannot be shut in on this machine; missing: ")
    assert first.endswith("(Operation not permitted).")
    assert "Linux 5.12" in second
    assert "container" in third


def test_only_linux_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere it says so before anything is started."""
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(BitlensError, match="this is darwin, and only Linux"):
        run_program("print(1)")
