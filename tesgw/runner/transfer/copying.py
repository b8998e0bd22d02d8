"""Copies from one namespace to another, in threads that can be stopped."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import posixpath
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

from tesgw.runner.files import Namespace

T = TypeVar("T")

_STEP = 16 << 20  # between two looks at the stop flag


class Stopped(Exception):
    """A copy ended early because nobody waits for it any more."""


async def in_thread(pool: Executor, work: Callable[[threading.Event], T]) -> T:
    """Run `work`. Cancelled, it sets the event and returns only when `work` has ended, so that nothing writes on."""
    stop = threading.Event()
    job = pool.submit(work, stop)
    result = asyncio.wrap_future(job)
    try:
        return await asyncio.shield(result)
    except asyncio.CancelledError:
        stop.set()
        job.cancel()  # if it has not begun
        while not result.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait((result,))
        if not result.cancelled():
            result.exception()  # nobody is left to hear of it
        raise


@dataclass(frozen=True)
class Copier:
    """Copies files and trees; `file_mode` and `directory_mode` make the new modes of the old.

    Files appear whole, replacing what was there; directories are merged. A file copied onto itself is left alone.
    """

    source: Namespace
    target: Namespace
    file_mode: Callable[[int], int]
    directory_mode: Callable[[int], int]
    tag: str
    stop: threading.Event

    def file(self, source: str, target: str) -> int:
        """Copy one file, return its size."""
        fd = self.source.open(source)
        try:
            status = os.fstat(fd)
            if not self._is_same(status, target):
                tag = f"{self.tag} {status.st_dev} {status.st_ino}"
                with self.target.create(target, self.file_mode(status.st_mode), tag=tag) as draft:
                    copy_data(fd, draft.fd, status.st_size, self.stop)
            return status.st_size
        finally:
            os.close(fd)

    def tree(self, source: str, target: str) -> list[tuple[str, int]]:
        """Copy all below a directory; return the files' paths from there, and sizes."""
        entries = list(self.source.walk(source))  # all of it first: the target may lie inside the source
        self.target.make_dirs(target, self.directory_mode(0o755), keep_existing=True)
        copied = []
        for entry in entries:
            there = posixpath.join(target, entry.path)
            if entry.is_directory:
                self.target.make_dirs(there, self.directory_mode(entry.mode), keep_existing=True)
            else:
                copied.append((entry.path, self.file(posixpath.join(source, entry.path), there)))
        return copied

    def _is_same(self, status: os.stat_result, target: str) -> bool:
        try:
            return os.path.samestat(status, self.target.stat(target))
        except OSError:
            return False


def copy_data(source: int, target: int, size: int, stop: threading.Event) -> None:
    """Copy the first `size` bytes to a new file: shared blocks where the file system has them, holes stay holes."""
    for start, end in _data(source, size):
        os.lseek(target, start, os.SEEK_SET)
        _copy_range(source, target, start, end, stop)
    os.ftruncate(target, size)


def _data(fd: int, size: int) -> Iterator[tuple[int, int]]:
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        yield start, end


def _copy_range(source: int, target: int, start: int, end: int, stop: threading.Event) -> None:
    copy = _copy_in_kernel
    while start < end:
        if stop.is_set():
            raise Stopped
        try:
            count = copy(source, target, start, min(_STEP, end - start))
        except OSError as error:
            # Between file systems, or on one that cannot: copy_file_range(2).
            if copy is _sendfile or error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            copy = _sendfile
            continue
        if count == 0:  # truncated meanwhile
            return
        start += count


def _copy_in_kernel(source: int, target: int, start: int, count: int) -> int:
    return os.copy_file_range(source, target, count, offset_src=start)


def _sendfile(source: int, target: int, start: int, count: int) -> int:
    return os.sendfile(target, source, start, count)
