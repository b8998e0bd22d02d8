"""The process behind a `Zygote`: imports once, then forks for each request, in one thread.

It is run by its path, apart from its package, so that it holds what it was asked to import and nothing else.
Requests come as lines on standard input, answers go as lines to standard output; it ends with its input.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

Main = Callable[[Sequence[str]], int]


def serve(main: Main, answers: int) -> None:
    """Fork for each request and tell of each end, until the input ends."""
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler, for without one nothing is written:
    signal.set_wakeup_fd(waker)
    ready = selectors.DefaultSelector()
    ready.register(0, selectors.EVENT_READ)
    ready.register(woken, selectors.EVENT_READ)
    children: dict[int, int] = {}
    pending = b""
    while True:
        sources = [key.fd for key, _ in ready.select()]
        if woken in sources:
            os.read(woken, 1 << 16)
        if 0 in sources:
            if not (read := os.read(0, 1 << 16)):
                return
            *lines, pending = (pending + read).split(b"\n")
            for line in lines:
                request = json.loads(line)
                pid = os.fork() or become(main, request)
                children[pid] = request["id"]
                tell(answers, id=request["id"], pid=pid)
        for pid, code in ended(children):
            tell(answers, id=children.pop(pid), code=code)


def ended(children: dict[int, int]) -> list[tuple[int, int]]:
    """The children that have ended since, with their exit codes as a shell counts them."""
    found = [(pid, os.waitpid(pid, os.WNOHANG)) for pid in children]
    codes = [(pid, os.waitstatus_to_exitcode(status)) for pid, (is_ended, status) in found if is_ended]
    return [(pid, code if code >= 0 else 128 - code) for pid, code in codes]


def tell(answers: int, **answer: object) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(answers, json.dumps(answer).encode() + b"\n")


def become(main: Main, request: dict[str, Any]) -> NoReturn:
    """In the child: be as if started anew with these arguments, this environment and these files."""
    code = 1
    try:
        os.setsid()
        as_started(request)
        code = result(main, request["argv"])
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(code)


def as_started(request: dict[str, Any]) -> None:
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGINT}:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    for stream, path in enumerate(request["streams"]):
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC if stream else os.O_RDONLY
        os.dup2(os.open(path, flags, 0o666), stream)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    tempfile.tempdir = None


def result(main: Main, argv: Sequence[str]) -> int:
    sys.argv[1:] = argv
    try:
        return main(argv)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1


def run(module: str, *preloaded: str) -> None:
    # What an import prints must not be taken for an answer.
    answers = os.dup(1)
    os.dup2(2, 1)
    try:
        for each in preloaded:
            importlib.import_module(each)
        main = importlib.import_module(module).main
        if threading.active_count() > 1:
            raise RuntimeError(f"An import has started threads, which a fork would lose: {threading.enumerate()}")
    except Exception:
        tell(answers, error=traceback.format_exc())
        return
    sys.stdout.flush()  # what a fork finds in the buffer it would write as well
    gc.collect()
    gc.freeze()  # what is shared stays shared
    tell(answers, ready=True)
    serve(main, answers)


if __name__ == "__main__":
    run(*sys.argv[1:])
