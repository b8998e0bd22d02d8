"""What the tests run through a zygote."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

IMPORTED_IN = os.getpid()
print("An import that prints.")


def main(argv: Sequence[str]) -> int:
    return globals()[argv[0]](*argv[1:]) or 0


def end(code: str) -> int:
    return int(code)


def leave(code: str) -> None:
    sys.exit(code if code.isalpha() else int(code))


def fail() -> None:
    print("printed", end="")
    raise ValueError("wrong")


def show() -> None:
    descriptors = {name: os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")[:-1]}
    stat = {number.name: str(signal.getsignal(number)) for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)}
    shown = {
        "argv": sys.argv[1:],
        "directory": os.getcwd(),
        "environment": dict(os.environ),
        "of_shell": subprocess.run(["env"], capture_output=True, text=True, check=True).stdout,
        "descriptors": descriptors,
        "signals": stat,
        "is_leader": os.getsid(0) == os.getpid(),
        "is_fork": os.getppid() == IMPORTED_IN,
        "random": random.random(),
        "wakeup": signal.set_wakeup_fd(-1),
        "threads": threading.active_count(),
        "pid": os.getpid(),
    }
    print(json.dumps(shown))


def loop() -> None:
    """An event loop, its signal handlers, a child of it and a connection."""

    async def inner() -> None:
        terminated = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminated.set)
        child = await asyncio.create_subprocess_exec("sh", "-c", "kill -TERM $PPID")
        await asyncio.gather(child.wait(), terminated.wait())
        left, right = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=left)
        right.sendall(b"through\n")
        print((await reader.readline()).decode(), end="")
        writer.close()
        right.close()

    asyncio.run(inner())


def wait() -> None:
    child = subprocess.Popen(["sleep", "600"])
    _write("child", child.pid)
    _write("own", os.getpid())
    time.sleep(600)


def _write(name: str, pid: int) -> None:
    with open(name, "w") as file:
        file.write(f"{pid}\n")
