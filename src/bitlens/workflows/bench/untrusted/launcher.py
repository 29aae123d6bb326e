"""A program of its own: it shuts one generated program in, and runs it. Linux only.

`run.py` starts it by its path, `python -I -S launcher.py REQUEST STATUS TOLD`: REQUEST is a file,
the other two are descriptors to write to. It imports nothing of bitlens, and what it does must be
done before the generated program begins: namespaces of its own for mounts, processes, the network
and shared memory; a root with the interpreter and the system's libraries in it, read only, and one
empty folder; limits; no privileges; a filter of system calls. What cannot be done is written to
STATUS, and nothing is run.
"""

import ctypes
import json
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
NOBODY = 65534
"""What the program's user is called inside a namespace of users."""
FIRST_OWNER, OWNERS = 61_184, 4_096
"""Where root starts it, the program has a user of its own among those that systemd hands out to
services for a while; else no limit of processes would hold (root has none)."""
HOME = "/work"

NEW_MOUNTS, NEW_USERS = 0x00020000, 0x10000000
NEW_NAMES, NEW_MEMORY, NEW_PROCESSES, NEW_NETWORK = 0x04000000, 0x08000000, 0x20000000, 0x40000000
"""CLONE_NEWNS, -USER, -UTS, -IPC, -PID, -NET (linux/sched.h)."""
NO_SETUID, NO_DEVICES, BIND, RECURSIVE, PRIVATE = 2, 4, 4096, 16384, 1 << 18
"""MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE (linux/mount.h)."""
DETACH = 2
PARENT_DEATH_SIGNAL, DUMPABLE, SECCOMP, NO_NEW_PRIVILEGES = 1, 4, 22, 38
"""prctl's PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS."""
MOUNT_SETATTR = 442
"""The same number everywhere; since Linux 5.12."""

MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Which column of the numbers below is theirs, and AUDIT_ARCH_* (linux/audit.h)."""
REFUSED_CALLS = {
    "socket": (41, 198),
    "ptrace": (101, 117),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "shmget": (29, 194),
    "mq_open": (240, 180),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "open_by_handle_at": (304, 265),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "mount_setattr": (442, 442),
}
"""System calls that are refused besides, ways to the network, to other namespaces, to other
processes and to memory that no limit counts, with their numbers (asm/unistd.h)."""

INNER = """
import os, sys
source, told = int(sys.argv[1]), int(sys.argv[2])
with open(source, encoding="utf-8") as file:
    token, text = file.read().split("\\n", 1)
sys.argv = [""]
def shown():
    try:
        sys.stdout.flush()
    except BaseException:
        pass
try:
    exec(compile(text, "program", "exec"), {})
except BaseException as error:
    shown()
    os.write(told, f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:1000])
    os._exit(1)
shown()
os.write(told, token.encode())
os._exit(0)
"""
"""What runs the generated program: whatever makes it end early says no token, but one that looks
for it finds it in this very process and can claim to have passed (ADR 28). Names are as in the
harness' own runner: `__name__` is not `__main__`."""


def checked(what: str, call: Callable[..., int], *arguments: Any) -> int:
    """The result of a function of libc. OSError that names `what` where it failed."""
    found = call(*arguments)
    if found < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return found


def control(what: str, option: int, *arguments: int | ctypes.c_void_p) -> None:
    """One prctl."""
    rest = [ctypes.c_ulong(one) if isinstance(one, int) else one for one in arguments]
    rest += [ctypes.c_ulong(0)] * (4 - len(rest))
    checked(what, LIBC.prctl, option, *rest)


def leave(uid: int, gid: int) -> None:
    """Namespaces of our own, of users too where we are not root: what is done in them needs
    privileges, which are then ours in there and nowhere else."""
    flags = NEW_MOUNTS | NEW_NAMES | NEW_MEMORY | NEW_PROCESSES | NEW_NETWORK
    if uid == 0:
        checked("namespaces of mounts, processes and the network, as root", LIBC.unshare, flags)
        return
    checked("a namespace of users, with mounts and a network", LIBC.unshare, flags | NEW_USERS)
    maps = {"setgroups": "deny", "uid_map": f"{NOBODY} {uid} 1", "gid_map": f"{NOBODY} {gid} 1"}
    for name, line in maps.items():
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(line)


def mount(what: str, source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """One mount."""
    texts = [one.encode() or None for one in (source, target, kind, data)]
    flag = ctypes.c_ulong(flags)
    checked(what, LIBC.mount, texts[0], texts[1], texts[2], flag, texts[3])


def show(path: str, root: str) -> None:
    """A folder or file of the machine, at the same place below `root`."""
    place = root + path
    os.makedirs(os.path.dirname(place), exist_ok=True)
    if os.path.islink(path):
        os.symlink(os.readlink(path), place)
        return
    if os.path.isdir(path):
        os.makedirs(place, exist_ok=True)
    else:
        with open(place, "x", encoding="ascii"):
            pass
    mount(f"a view of {path}", path, place, "", BIND | RECURSIVE)


def build(folder: str, shown: list[str], home_bytes: int, owner: int) -> None:
    """A root with what is `shown`, read only, and an empty home: afterwards there is nothing else.

    The last chroot is no wall by itself; below one the kernel makes no namespaces of users, in
    which the program would be somebody again."""
    mount("mounts of its own", "", "/", "", RECURSIVE | PRIVATE)
    mount("a root in memory", "none", folder, "tmpfs", NO_SETUID | NO_DEVICES, "size=1m,mode=755")
    root = f"{folder}/root"
    os.makedirs(root + HOME)
    for path in shown:
        show(path, root)
    # attr_set: read only, no set-user-ID, no devices; then attr_clr, propagation, userns_fd.
    attributes = ctypes.create_string_buffer(struct.pack("QQQQ", 7, 0, 0, 0), 32)
    arguments = (ctypes.c_long(-100), folder.encode(), ctypes.c_long(0x8000), attributes)
    number, size = ctypes.c_long(MOUNT_SETATTR), ctypes.c_long(32)
    checked("mounts that are read only (Linux 5.12)", LIBC.syscall, number, *arguments, size)
    data = f"size={home_bytes},nr_inodes=1000,mode=700,uid={owner},gid={owner}"
    mount("a home in memory", "none", root + HOME, "tmpfs", NO_SETUID | NO_DEVICES, data)
    os.chdir(folder)
    pivot = ctypes.c_long(REFUSED_CALLS["pivot_root"][MACHINES[os.uname().machine][0]])
    checked("a root of its own", LIBC.syscall, pivot, b".", b".")
    checked("a root of its own", LIBC.umount2, b".", DETACH)
    os.chroot("/root")
    os.chdir(HOME)


def limit(limits: dict[str, int]) -> None:
    """What one process, and one user, may use; the hard limits, which nobody can raise again."""
    cpu = limits["cpu_s"]
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    fixed = {
        resource.RLIMIT_AS: limits["memory_bytes"],
        resource.RLIMIT_FSIZE: limits["file_bytes"],
        resource.RLIMIT_NOFILE: limits["open_files"],
        resource.RLIMIT_NPROC: limits["processes"],
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    for kind, most in fixed.items():
        resource.setrlimit(kind, (most, most))


def filter_calls(machine: str) -> None:
    """System calls that are refused from now on, as if they were not permitted (seccomp)."""
    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06
    column, architecture = MACHINES[machine]
    refused = [numbers[column] for numbers in REFUSED_CALLS.values()]
    rules = [(load, 0, 0, 4), (equal, 1, 0, architecture), (give, 0, 0, 0x80000000)]
    # The numbers of x32, another way to the same calls, begin there.
    rules += [(load, 0, 0, 0), (at_least, len(refused) + 1, 0, 0x40000000)]
    rules += [(equal, len(refused) - at, 0, number) for at, number in enumerate(refused)]
    rules += [(give, 0, 0, 0x7FFF0000), (give, 0, 0, 0x00050001)]
    packed = b"".join(struct.pack("HBBI", *rule) for rule in rules)
    code = ctypes.create_string_buffer(packed, len(packed))
    program = struct.pack("HxxxxxxP", len(rules), ctypes.addressof(code))
    held = ctypes.create_string_buffer(program, len(program))
    control("a filter of system calls", SECCOMP, 2, ctypes.cast(held, ctypes.c_void_p))


def become(wanted: dict[str, Any], root: bool, owner: int, told: int) -> None:
    """The generated program, in this process; does not come back."""
    source = os.memfd_create("program")
    os.write(source, f"{wanted['token']}\n{wanted['program']}".encode("utf-8", "replace"))
    os.lseek(source, 0, os.SEEK_SET)
    for one in (source, told):
        os.set_inheritable(one, True)  # noqa: FBT003 (it takes no names)
    limit(wanted["limits"])
    if root:
        os.setgroups([])
        os.setresgid(owner, owner, owner)
        os.setresuid(owner, owner, owner)
    control("no privileges", NO_NEW_PRIVILEGES, 1)
    filter_calls(os.uname().machine)
    python = wanted["python"]
    inner = [python, "-I", "-S", "-X", "utf8", "-c", INNER, str(source), str(told)]
    os.execve(python, inner, {"HOME": HOME})


def first_process(wanted: dict[str, Any], root: bool, status: int, told: int) -> None:
    """The first process in there: it builds, starts the program and waits for it. When it ends,
    the kernel ends all others, whatever they ignore."""
    control("an end with whoever started it", PARENT_DEATH_SIGNAL, signal.SIGKILL)
    owner = FIRST_OWNER + wanted["number"] % OWNERS if root else NOBODY
    build(wanted["folder"], wanted["shown"], wanted["limits"]["folder_bytes"], owner)
    control("a process that is not read", DUMPABLE, 0)
    child = os.fork()
    if child == 0:
        try:
            become(wanted, root, owner, told)
        except OSError as error:
            say(status, missing=named(error))
        os._exit(1)
    os.close(told)
    # Orphans of the program become ours: only its own end counts.
    while (found := os.wait())[0] != child:
        pass
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = os.waitstatus_to_exitcode(found[1])
    say(status, code=code, cpu_s=used.ru_utime + used.ru_stime)
    os._exit(0)


def named(error: OSError) -> str:
    """What could not be done, and what the system said."""
    return f"{error.filename or 'a step'} ({error.strerror})"


def say(status: int, **what: Any) -> None:
    """One line for whoever started this."""
    os.write(status, json.dumps(what).encode() + b"\n")


def main(request: str, status: int, told: int) -> None:
    """Run what is asked for in the file `request`."""
    with open(request, encoding="utf-8") as file:
        wanted = json.load(file)
    for one in (status, told):
        os.set_inheritable(one, False)  # noqa: FBT003
    uid, gid = os.geteuid(), os.getegid()
    try:
        control("an end with whoever started it", PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.uname().machine not in MACHINES:
            say(status, missing=f"numbers of system calls of {os.uname().machine}")
            return
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("1000")
        leave(uid, gid)
        child = os.fork()
        if child == 0:
            first_process(wanted, uid == 0, status, told)
    except OSError as error:
        say(status, missing=named(error))
        os._exit(1)
    os.close(told)
    os.waitpid(child, 0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
