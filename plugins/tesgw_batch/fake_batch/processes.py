"""Processes of this machine that a node started, found in /proc, and their end."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
LOOK_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Process:
    """One that runs. Those that have ended and wait for their parent's question do not count."""

    pid: int
    parent: int
    session: int
    has_terminal: bool


def end_tree(pid: int) -> None:
    """Kill a process, its descendants, and all that are in its session. What left both goes on."""
    tree: set[int] = set()
    while new := _tree(pid, tree) - tree:
        # Those that are stopped start no others while we look for the rest.
        _signal(new, signal.SIGSTOP)
        tree |= new
    _signal(tree, signal.SIGKILL)


def end_node(root: Path) -> None:
    """Kill all that was started for the node with this root, and return when nothing of it runs."""
    while found := _of_node(root.resolve()):
        _signal(found, signal.SIGKILL)
        time.sleep(LOOK_SECONDS)


def _tree(pid: int, known: set[int]) -> set[int]:
    found = list(_running())
    tree = known | {each.pid for each in found if pid in (each.pid, each.session)}
    while more := {each.pid for each in found if each.parent in tree} - tree:
        tree |= more
    return tree


def _of_node(root: Path) -> set[int]:
    """By environment, by working directory, or by a session whose leader is one of these."""
    found = {each.pid: each for each in _running()}
    own = {pid for pid, each in found.items() if _belongs(each, root)}
    own |= {pid for pid, each in found.items() if each.session in own}
    return own - set(_ancestors(found))


def _belongs(process: Process, root: Path) -> bool:
    directory = PROC / str(process.pid)
    with contextlib.suppress(OSError):
        environment = (directory / "environ").read_bytes().split(b"\0")
        roots = [item.partition(b"=")[2] for item in environment if item.startswith(b"AZ_BATCH_NODE_ROOT_DIR=")]
        if root in [Path(os.fsdecode(each)).resolve() for each in roots]:
            return True
        # Who has a terminal there is somebody who looks around.
        return not process.has_terminal and (directory / "cwd").readlink().is_relative_to(root)
    return False


def _ancestors(found: dict[int, Process]) -> Iterator[int]:
    pid = os.getpid()
    while pid in found:
        yield pid
        pid = found[pid].parent


def _running() -> Iterator[Process]:
    for directory in PROC.iterdir():
        if directory.name.isdecimal():
            with contextlib.suppress(OSError):
                # The name before it is in brackets and may hold anything (man 5 proc_pid_stat).
                fields = (directory / "stat").read_text(errors="replace").rpartition(")")[2].split()
                if fields[0] not in "ZX":
                    yield Process(int(directory.name), int(fields[1]), int(fields[3]), fields[4] != "0")


def _signal(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
