"""One executor as a process: namespaces of its own, an image as its root, and no more rights than a task needs.

The supervisor runs this file as a program of its own (`room` as JSON on stdin; it answers with an exit code or a sentence).
It forks the first process of a PID namespace, which makes the room and runs the command: when that ends, all in it end.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
from typing import NamedTuple

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# linux/mount.h, linux/sched.h, linux/prctl.h, linux/capability.h
_READ_ONLY, _NO_SUID, _NO_DEV, _NO_EXEC, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 2, 4, 8, 32, 4096, 1 << 14, 1 << 18
_DETACH = 2
_MOUNTS, _UTS, _IPC, _USER, _PIDS, _NETWORK = 1 << 17, 1 << 26, 1 << 27, 1 << 28, 1 << 29, 1 << 30
_DIE_WITH_PARENT, _DROP_CAPABILITY, _NO_NEW_PRIVILEGES = 1, 24, 38
_KEPT_CAPABILITIES = {0, 1, 3, 4, 5, 6, 7}  # CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID
_SET_INTERFACE_FLAGS = 0x8914  # linux/sockios.h
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

_DEVICES = ("null", "zero", "full", "random", "urandom")
_KERNEL = ("acpi", "asound", "bus", "fs", "irq", "scsi", "sys", "sysrq-trigger")  # what root could turn against the machine
_MOST_PIDS = 4096

_libc = ctypes.CDLL(None, use_errno=True)


class Room(NamedTuple):
    """What an executor gets: a root with all its files, and the rest as TES has it."""

    supervisor: int
    root: str
    command: list[str]
    env: dict[str, str]
    workdir: str
    stdin: str | None
    stdout: str | None
    stderr: str | None
    unnamed: list[str]
    """Files of the machine for a `stdout` and a `stderr` without a name."""
    has_network: bool
    data_bytes: int | None


def own_mounts() -> None:
    """Give this process mounts that nobody else sees; who is not root becomes root of a user namespace."""
    uid, gid = os.geteuid(), os.getegid()
    _call("unshare", _MOUNTS | (_USER if uid else 0))
    if uid:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    mount("", "/", flags=_RECURSIVE | _PRIVATE)


def mount(source: str, target: str, kind: str = "", flags: int = _NO_SUID | _NO_DEV, options: str = "") -> None:
    """As mount(2)."""
    arguments = (source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), os.fsencode(options))
    _call("mount", *arguments)


def bind(source: str, target: str) -> None:
    """Have what is at `source` at `target` too."""
    mount(source, target, flags=_BIND | _RECURSIVE)


def main() -> None:
    """Watch over the first process of the room. Told to end (SIGTERM), it returns when all in the room have ended."""
    _call("prctl", _DIE_WITH_PARENT, signal.SIGKILL)
    room = Room(**json.load(sys.stdin))
    if os.getppid() != room.supervisor:  # it died before it could take us with it
        return
    signals = {signal.SIGTERM, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    _call("unshare", _MOUNTS | _UTS | _IPC | _PIDS | (0 if room.has_network else _NETWORK))
    first = os.fork()
    if first == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        os.write(1, _answer(room).encode())
        os._exit(0)
    while signal.sigwait(signals) == signal.SIGTERM:
        os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)


def _answer(room: Room) -> str:
    _call("prctl", _DIE_WITH_PARENT, signal.SIGKILL)
    try:
        streams = [os.open(path, os.O_WRONLY) for path in room.unnamed]
        _enter(room)
    except OSError as error:
        return f"The room of the executor cannot be made: {error}."
    return str(_run(room, *streams))


def _enter(room: Room) -> None:
    """Make the root all there is. From the pivot on, paths are followed inside it only."""
    if not room.has_network:
        _raise_loopback()
    devices = {f"/dev/{name}": os.open(f"/dev/{name}", os.O_PATH) for name in _DEVICES}
    os.umask(0)
    os.chdir(room.root)
    # The old root lies over the new one until the end: devices of it can be bound only while it is there.
    _call("syscall", _PIVOT_ROOT[os.uname().machine], b".", b".")
    _mount_system()
    for place, fd in devices.items():
        os.close(os.open(place, os.O_CREAT))
        bind(f"/proc/self/fd/{fd}", place)
        os.close(fd)
    _call("umount2", b".", _DETACH)
    os.makedirs(room.workdir, exist_ok=True)
    os.umask(0o022)
    for capability in range(64):
        if capability not in _KEPT_CAPABILITIES:
            _libc.prctl(_DROP_CAPABILITY, capability, 0, 0, 0)  # fails beyond the last one that this kernel knows
    _call("prctl", _NO_NEW_PRIVILEGES, 1, 0, 0, 0)


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SET_INTERFACE_FLAGS, struct.pack("16sH22x", b"lo", 1))  # struct ifreq, IFF_UP


def _mount_system() -> None:
    for kind, place in (("proc", "/proc"), ("tmpfs", "/dev")):
        os.makedirs(place, exist_ok=True)
        mount(kind, place, kind, _NO_SUID | _NO_EXEC)
    os.makedirs("/dev/shm", 0o1777)
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        os.symlink(f"/proc/self/fd{target}", f"/dev/{name}")
    _limit_pids()
    for name in _KERNEL:
        with contextlib.suppress(FileNotFoundError):
            bind(f"/proc/{name}", f"/proc/{name}")
            mount("", f"/proc/{name}", flags=_BIND | _REMOUNT | _READ_ONLY | _NO_SUID | _NO_EXEC)


def _limit_pids() -> None:
    major, minor = os.uname().release.split(".")[:2]
    if (int(major), int(minor)) >= (6, 14) and os.getpid() == 1:  # before, this was the limit of the whole machine
        with open("/proc/sys/kernel/pid_max", "w") as file:
            file.write(str(_MOST_PIDS))


def _run(room: Room, stdout: int, stderr: int) -> int:
    """The exit code of the command, as shells have it: 128 and more for a signal, 126 and 127 if it does not start."""
    writing = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    try:
        if room.stderr:
            stderr = os.open(room.stderr, writing, 0o666)
        if room.stdout:
            stdout = stderr if room.stdout == room.stderr else os.open(room.stdout, writing, 0o666)
        program = subprocess.Popen(
            room.command,
            env={"PATH": PATH, **room.env},
            cwd=room.workdir,
            stdin=os.open(room.stdin or "/dev/null", os.O_RDONLY),
            stdout=stdout,
            stderr=stderr,
            preexec_fn=lambda: _limit_data(room.data_bytes),
        )
    except OSError as error:
        os.write(stderr, f"tesgw: {error.filename}: {error.strerror}\n".encode())
        return 127 if error.errno == errno.ENOENT and error.filename == room.command[0] else 126
    while True:  # the first process of a namespace is the parent of all orphans in it
        pid, status = os.wait()
        if pid == program.pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _limit_data(limit: int | None) -> None:
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _call(function: str, *arguments: object) -> None:
    if getattr(_libc, function)(*arguments) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}", str(arguments[1] if len(arguments) > 1 else ""))


if __name__ == "__main__":
    main()
