"""Finding a file by an absolute path as executors see it, in directories that hostile programs write at the same time.

A path is taken one component at a time, and symbolic links are followed here, never by the kernel: what was looked at is
held by a descriptor, so exchanging it afterwards changes nothing. Nothing is opened for real until its kind is known.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

MAX_LINKS = 40  # as in Linux, path_resolution(7)

# O_PATH opens anything, links too, without side effects: a FIFO does not block, a device does not notice.
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC

Parts = tuple[str, ...]


class Outside(PermissionError):
    """A path, or a link on it, leads out of what the namespace holds."""


class NotRegular(OSError):
    """Neither a regular file nor a directory: a FIFO, a socket, a device."""


class TooManyLinks(OSError):
    """Links that lead to links, without end as it seems."""


# What raises one of these cannot be reached; other errors (EACCES, EIO, EMFILE) mean that we do not know.
UNREACHABLE = (FileNotFoundError, NotADirectoryError, Outside, TooManyLinks)


def split(path: str) -> Parts:
    """The components of a path; empty ones and `.` mean nothing."""
    return tuple(part for part in path.split("/") if part not in ("", "."))


def join(parts: Parts) -> str:
    return "/" + "/".join(parts)


class Found:
    """What stands at a path: its O_PATH descriptor (closed at the end of `with`), status, and path free of links."""

    def __init__(self, fd: int, parts: Parts) -> None:
        self.fd = fd
        self.status = os.fstat(fd)
        self.path = join(parts)

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.status.st_mode)

    @property
    def handle(self) -> str:
        """A path that names just this, whatever was renamed since; O_PATH descriptors take no chmod or read themselves."""
        return f"/proc/self/fd/{self.fd}"

    def __enter__(self) -> Found:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self.fd)


def find(mounts: Mapping[Parts, Path], path: str, *, follow: bool = True, make: int | None = None) -> Found:
    """What is at `path`; the caller closes it. With `make`, missing components become directories of that mode.

    Raises `Outside`, FileNotFoundError, or another OSError.
    """
    if "\0" in path:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    resolution = _Resolution(mounts, path, make)
    try:
        resolution.run(follow)
        return resolution.result()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG and make is None:  # nothing can have such a name
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None
        error.filename = path  # relative to a descriptor so far, which says nothing
        raise
    finally:
        resolution.close()


class _Resolution:
    """One walk along a path. `fd` holds where it stands, `parts`; None outside the mounts, where nothing exists."""

    def __init__(self, mounts: Mapping[Parts, Path], path: str, make: int | None) -> None:
        self.mounts = mounts
        self.path = path
        self.make = make
        self.links = 0
        self.todo = deque(split(path))
        self.parts: Parts = ()
        self.fd: int | None = None

    def run(self, follow: bool) -> None:
        self._advance((), self._look(()))
        while self.todo:
            name = self.todo.popleft()
            if name == "..":
                self._restart(self.parts[:-1])
            else:
                self._step((*self.parts, name), follow)

    def result(self) -> Found:
        if self.fd is None:
            raise Outside(errno.EACCES, "Not in any directory that may be used", self.path)
        found, self.fd = Found(self.fd, self.parts), None
        return found

    def close(self) -> None:
        self._advance((), None)

    def _step(self, parts: Parts, follow: bool) -> None:
        fd = self._look(parts)
        if fd is None or not stat.S_ISLNK(os.fstat(fd).st_mode) or not (self.todo or follow):
            self._advance(parts, fd)
            return
        try:
            self._follow(os.readlink("", dir_fd=fd))
        finally:
            os.close(fd)

    def _look(self, parts: Parts) -> int | None:
        if parts in self.mounts:
            return os.open(self.mounts[parts], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        if self.fd is not None and parts:
            return self._look_below(parts[-1], self.fd)
        return None

    def _look_below(self, name: str, directory: int) -> int:
        try:
            return os.open(name, _LOOK, dir_fd=directory)
        except FileNotFoundError:
            if self.make is None:
                raise
        try:
            os.mkdir(name, 0o700, dir_fd=directory)
        except FileExistsError:  # made by somebody else just now
            return os.open(name, _LOOK, dir_fd=directory)
        fd = os.open(name, _LOOK | os.O_DIRECTORY, dir_fd=directory)
        os.chmod(f"/proc/self/fd/{fd}", self.make)  # whatever the umask
        return fd

    def _follow(self, target: str) -> None:
        self.links += 1
        if self.links > MAX_LINKS:
            raise TooManyLinks(errno.ELOOP, os.strerror(errno.ELOOP), self.path)
        self.todo.extendleft(reversed(split(target)))
        if target.startswith("/"):
            self._restart(())

    def _restart(self, parts: Parts) -> None:
        """Go on at `parts`, from the root: its links are looked at again, since they may have changed."""
        self.todo.extendleft(reversed(parts))
        self._advance((), self._look(()))

    def _advance(self, parts: Parts, fd: int | None) -> None:
        if self.fd is not None:
            os.close(self.fd)
        self.parts, self.fd = parts, fd
