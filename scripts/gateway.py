"""A gateway in a process of its own, for what drives one from outside: the first task, benchmarks, tests of examples."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

# Loopback addresses are no business of http_proxy.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
START_SECONDS = 60
STOP_SECONDS = 30
SERVE = ("-c", "import sys; from tesgw.cli import main; sys.exit(main())", "serve")


class NoGateway(Exception):
    """The gateway did not start; it has said why on standard error."""


@dataclass(frozen=True)
class Gateway:
    """A gateway that answers at `url`, such as `http://127.0.0.1:8000`."""

    url: str
    process: subprocess.Popen[str]


@contextmanager
def serving(
    port: int, settings: Mapping[str, str], command: Sequence[str] = SERVE, log: IO[str] | None = None
) -> Iterator[Gateway]:
    """A gateway with these settings, stopped in order at the end. Port 0 takes a free one.

    `command` is another Python program that takes `--port` and prints its URL when it serves. Without `log`, the
    gateway's own log goes to the caller's standard error.
    """
    # A session of its own: Ctrl-C in a terminal reaches the caller alone, which then stops the gateway once.
    process = subprocess.Popen(
        [sys.executable, *command, "--port", str(port)],
        env={**os.environ, **{f"APP_{name}": value for name, value in settings.items()}},
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        start_new_session=True,
    )
    try:
        yield Gateway(_url(process), process)
    finally:
        _stop(process)


def _url(process: subprocess.Popen[str]) -> str:
    """What the gateway prints once it listens. Asking the port instead could be answered by another gateway on it."""
    assert process.stdout is not None
    is_ready = select.select([process.stdout], [], [], START_SECONDS)[0]
    found = re.search(r"http://[^/\s]+", process.stdout.readline() if is_ready else "")
    if found is None:
        raise NoGateway("The gateway did not start; it says why in its log.")
    return found.group()


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):  # a second Ctrl-C means now
        process.kill()
    finally:
        if process.stdout is not None:
            process.stdout.close()
