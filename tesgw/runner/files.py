"""The files of a task by the paths its executors see, opened so that nothing an executor does leads anywhere else."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import posixpath
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType

from tesgw.runner import pattern
from tesgw.runner.resolve import UNREACHABLE, Found, NotRegular, Outside, TooManyLinks, find, split

__all__ = ["Draft", "Entry", "Namespace", "NotRegular", "Outside", "TooManyLinks"]

_PATH_MAX = 4096  # limits.h: no program can name a longer path at once
_MAX_LINKED_DIRECTORIES = 10_000  # ten links to a directory of ten links to ... would otherwise never end


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or directory below a walked one, with its path from there. A link counts as what it points to."""

    path: str
    is_directory: bool
    size: int
    mode: int


@dataclass(frozen=True, slots=True)
class _Branch:
    """A directory still to be walked: its path from the start, where it really is, and the branch it was met in."""

    path: str
    at: str
    above: _Branch | None

    @property
    def is_loop(self) -> bool:
        branch = self.above
        while branch and branch.at != self.at:
            branch = branch.above
        return branch is not None


class Namespace:
    """Absolute paths as executors see them, over host directories: `{"/": tree, "/tes-wd/shared-global": shared}`.

    Longer prefixes win. Without `/` there is nothing but the mounts: any path or link that leads elsewhere raises `Outside`.
    Names that are not UTF-8 are kept as Python keeps them (surrogateescape).
    """

    def __init__(self, mounts: Mapping[str, Path]) -> None:
        self.mounts = {split(prefix): directory for prefix, directory in mounts.items()}

    def open(self, path: str, flags: int = os.O_RDONLY) -> int:
        """A descriptor of the regular file at `path`. A FIFO, socket or device raises `NotRegular` and is not touched."""
        with self._find(path) as found:
            if found.is_directory:
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            if not found.is_file:
                raise NotRegular(errno.EINVAL, "Not a regular file", path)
            return os.open(found.handle, flags | os.O_CLOEXEC)

    def stat(self, path: str) -> os.stat_result:
        """The status of what `path` leads to, links followed."""
        with self._find(path) as found:
            return found.status

    def lstat(self, path: str) -> os.stat_result:
        """The status of what is at `path`, if only a link."""
        with find(self.mounts, path, follow=False) as found:
            return found.status

    def make_dirs(self, path: str, mode: int = 0o1777, *, keep_existing: bool = False) -> None:
        """Make the directory and those above it that are missing, with just this mode; links are followed inside only.

        The named directory gets the mode also when it was there, unless `keep_existing`.
        """
        with find(self.mounts, path, make=mode) as found:
            if not found.is_directory:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            if not keep_existing and stat.S_IMODE(found.status.st_mode) != mode:
                os.chmod(found.handle, mode)

    def create(self, path: str, mode: int = 0o666, *, tag: str = "") -> Draft:
        """Begin a file at `path`, in a directory that exists. What stands there, be it a link, is replaced at the commit.

        A draft that a crash left behind is replaced by the next one for the same path with the same `tag`.
        """
        parent, name = posixpath.split(path.rstrip("/"))
        if name in ("", ".", ".."):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        return Draft(self._find(parent or "/"), name, mode, tag)

    def walk(self, path: str) -> Iterator[Entry]:
        """Everything below the directory, parents first. What is neither file nor directory is left out, and so are links
        that lead outside, nowhere, or back to where the walk already is, and other mounts.

        Files may change meanwhile. Raises OSError where paths get longer than any program can use.
        """
        links = 0
        pending = [_Branch("", self._real_directory(path), None)]
        while pending:
            branch = pending.pop()
            for child, status in self._children(branch):
                if stat.S_ISDIR(status.st_mode):
                    links += child.at != posixpath.join(branch.at, posixpath.basename(child.path))
                    pending.append(child)
                yield Entry(child.path, stat.S_ISDIR(status.st_mode), status.st_size, stat.S_IMODE(status.st_mode))
            if links > _MAX_LINKED_DIRECTORIES:
                raise TooManyLinks(errno.ELOOP, "Too many links to directories", path)

    def glob(self, path: str) -> list[str]:
        """The files and directories that match `path` with the wildcards of POSIX 2.13.3 (shell, C locale order), sorted."""
        matches = ["/"]
        components = split(path)
        for depth, component in enumerate(components, 1):
            if pattern.has_wildcards(component):
                # A pattern may lead through mounts, but does not select them: `/tes-wd/*` is not all that tasks share.
                names = partial(self._matching, component=component, with_mounts=depth < len(components))
                matches = [posixpath.join(at, name) for at in matches for name in names(at)]
            else:
                matches = [posixpath.join(at, component) for at in matches]
        return sorted(match for match in matches if self._is_usable(match))

    def _find(self, path: str) -> Found:
        return find(self.mounts, path)

    def _real_directory(self, path: str) -> str:
        with self._find(path) as found:
            if not found.is_directory:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            return found.path

    @contextlib.contextmanager
    def _listing(self, path: str, with_mounts: bool = False) -> Iterator[tuple[int, list[str]]]:
        """A directory's descriptor and names, as a rule but for those of mounts; no names if it is gone by now."""
        with contextlib.ExitStack() as stack:
            try:
                found = stack.enter_context(self._find(path))
                fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=found.fd)
            except UNREACHABLE:
                yield -1, []
                return
            stack.callback(os.close, fd)
            here = split(found.path)
            yield fd, sorted(name for name in os.listdir(fd) if with_mounts or (*here, name) not in self.mounts)

    def _children(self, branch: _Branch) -> Iterator[tuple[_Branch, os.stat_result]]:
        with self._listing(branch.at) as (fd, names):
            for name in names:
                path = posixpath.join(branch.path, name)
                if len(os.fsencode(path)) > _PATH_MAX:
                    raise OSError(errno.ENAMETOOLONG, "Directories are nested too deeply", branch.path[:80] + "…")
                try:
                    at, status = self._look(posixpath.join(branch.at, name), name, fd)
                except UNREACHABLE:
                    continue
                child = _Branch(path, at, branch)
                if stat.S_ISREG(status.st_mode) or (stat.S_ISDIR(status.st_mode) and not child.is_loop):
                    yield child, status

    def _look(self, path: str, name: str, directory: int) -> tuple[str, os.stat_result]:
        """Where `path`, which is `name` in this directory, really is, and what."""
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            return path, status
        with self._find(path) as found:
            return found.path, found.status

    def _matching(self, path: str, component: str, with_mounts: bool) -> list[str]:
        with self._listing(path, with_mounts) as (_, names):
            return [name for name in names if pattern.matches(name, component)]

    def _is_usable(self, path: str) -> bool:
        try:
            mode = self.stat(path).st_mode
        except UNREACHABLE:
            return False
        return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


class Draft:
    """A file being written under another name beside its own. `commit` puts it in place, whole; `discard` drops it.

    As a context manager it commits, or discards when an exception passes.
    """

    def __init__(self, directory: Found, name: str, mode: int, tag: str) -> None:
        self._directory = directory
        self._name = name
        self._temporary = ".tesgw-" + hashlib.sha256(os.fsencode(f"{name}\n{tag}")).hexdigest()[:24]
        self._mode = mode
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._temporary, dir_fd=directory.fd)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self.fd = os.open(self._temporary, flags, 0o600, dir_fd=directory.fd)
        except BaseException:
            os.close(directory.fd)
            raise

    def commit(self) -> None:
        try:
            os.fchmod(self.fd, self._mode)
            os.rename(self._temporary, self._name, src_dir_fd=self._directory.fd, dst_dir_fd=self._directory.fd)
        except BaseException:
            self.discard()
            raise
        self._close()

    def discard(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._temporary, dir_fd=self._directory.fd)
        self._close()

    def _close(self) -> None:
        os.close(self.fd)
        os.close(self._directory.fd)

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind:
            self.discard()
        else:
            self.commit()
