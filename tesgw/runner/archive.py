"""Files out of containers that do not run, through the engine: streamed, never held in memory or trusted with a path."""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeVar

import aiodocker
import aiohttp

from tesgw.errors import StageError
from tesgw.runner import pattern
from tesgw.runner.engine import Engine, Look
from tesgw.runner.mounts import Plan, in_tree
from tesgw.runner.resolve import split

T = TypeVar("T")

_MAX_LINKS = 40  # as the kernel, path_resolution(7)
_MAX_CAPTURES = 1000
_CHUNK = 2**20


async def look(engine: Engine, container_id: str, path: str) -> Look:
    """What the container has at a path. StageError for links that lead in circles."""

    def first_members(tar: tarfile.TarFile) -> Look:
        first = tar.next()
        if first and first.issym():
            return Look(is_filled=True, link=first.linkname)
        return Look(is_filled=bool(first and (not first.isdir() or tar.next())))

    try:
        return await _read(engine, container_id, path, first_members)
    except FileNotFoundError:
        return Look(is_filled=False)
    except aiodocker.DockerError as error:
        if "too many links" in error.message:  # moby, pkg/symlink/fs.go
            raise StageError(f"In the task's image, {path} is a link that leads in circles. Use another path.") from error
        return Look(is_filled=True)  # "not a directory": 500 of engine 20.10, 400 of later ones


async def tail(engine: Engine, container_id: str, path: str, limit: int) -> bytes:
    """The last `limit` bytes of a file, links followed; nothing if it is none."""
    for _ in range(_MAX_LINKS):
        try:
            link, data = await _read(engine, container_id, path, lambda tar: _link_or_tail(tar, limit))
        except FileNotFoundError:
            return b""
        if not link:
            return data
        path = _target(path, link)
    return b""


class Captures:
    """What was taken from one stopped container into `root`, by container path; what the plan covers is left where it is.

    `root` is nobody else's. It holds no links until `finish`, so no member of an archive can be written through one.
    """

    def __init__(self, engine: Engine, container_id: str, plan: Plan, root: Path) -> None:
        self._engine = engine
        self._container_id = container_id
        self._plan = plan
        self._root = root
        self._taken: set[str] = set()
        self._links = dict(plan.links)

    async def take(self, path: str, glob: str = "") -> None:
        """Take a file or directory, if it is there, and what links in it lead to. `glob` narrows it to what may match."""
        path, glob = self._plan.follow(path), self._plan.follow(glob)
        if self._plan.covers(path) or (path == "/" and not glob):
            return
        try:
            links = await self._take(path, glob)
        except aiodocker.DockerError as error:  # its text names directories of the host
            raise StageError(f"The Docker engine cannot read {path} out of the container.") from error
        for link in links.items():
            await self.take_linked(_target(*link))

    async def take_linked(self, path: str) -> None:
        """Take what a link leads to and so on; a link that leads nowhere is not followed, whatever the engine says of it."""
        pending = [path]
        while pending:
            path = self._plan.follow(pending.pop())
            if path in self._taken or self._plan.covers(path) or path == "/":
                continue
            if len(self._taken) == _MAX_CAPTURES:
                raise StageError(f"Outputs hold links to more than {_MAX_CAPTURES} places of the image.")
            with contextlib.suppress(aiodocker.DockerError):  # of a loop, a file taken for a directory, an endless name
                pending += [_target(*link) for link in (await self._take(path, "")).items()]

    def finish(self) -> None:
        """Put the links in their places."""
        for path, target in self._links.items():
            place = in_tree(self._root, path)
            place.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                place.symlink_to(target)

    async def _take(self, path: str, glob: str) -> dict[str, str]:
        self._taken.add(path)
        try:
            links = await _read(
                self._engine, self._container_id, path, lambda tar: _extract(tar, posixpath.dirname(path), glob, self._root)
            )
        except FileNotFoundError:
            return {}
        self._links |= links
        return links


def _extract(tar: tarfile.TarFile, base: str, glob: str, root: Path) -> dict[str, str]:
    """Write files and directories below `root`, without owners and special modes; return the links, path to target."""
    links = {}
    for member in tar:
        path = posixpath.normpath(posixpath.join("/", base, member.name.lstrip("/")))
        if glob and not _may_match(path, glob):
            continue
        place = in_tree(root, path)
        place.parent.mkdir(parents=True, exist_ok=True)
        if member.issym():
            links[path] = member.linkname
        elif member.isdir():
            place.mkdir(exist_ok=True)
        elif member.islnk():
            first = posixpath.normpath(posixpath.join("/", base, member.linkname.lstrip("/")))
            with contextlib.suppress(FileNotFoundError):  # the first name may not match the pattern
                shutil.copy2(in_tree(root, first), place)
        elif member.isreg() and (data := tar.extractfile(member)):
            _write(place, data, member.mode)
    return links


def _write(place: Path, data: IO[bytes], mode: int) -> None:
    with place.open("wb") as file:
        shutil.copyfileobj(data, file, _CHUNK)
    place.chmod(mode & 0o777 | 0o600)


def _may_match(path: str, glob: str) -> bool:
    """Whether the path matches as far as it goes; what lies below a match belongs to it."""
    return all(pattern.matches(name, wanted) for name, wanted in zip(split(path), split(glob), strict=False))


def _link_or_tail(tar: tarfile.TarFile, limit: int) -> tuple[str, bytes]:
    member = tar.next()
    if member is None or member.issym():
        return (member.linkname if member else ""), b""
    data, kept = tar.extractfile(member), b""
    while data and (chunk := data.read(_CHUNK)):
        kept = (kept + chunk)[-limit:]
    return "", kept


def _target(path: str, link: str) -> str:
    """Where a link at `path` leads. By name only: a `..` after a link to a directory is taken for that of its name."""
    return posixpath.normpath("/" + posixpath.join(posixpath.dirname(path), link).lstrip("/"))


async def _read(engine: Engine, container_id: str, path: str, read: Callable[[tarfile.TarFile], T]) -> T:
    """What `read`, in a thread, makes of the archive of a path; it has to bear repetition."""

    async def attempt() -> T:
        async with engine.archive(container_id, path) as stream:
            return await asyncio.to_thread(_open_and_read, _Blocking(stream, asyncio.get_running_loop()), read)

    return await engine.patiently("files were being read from a container", attempt)


def _open_and_read(stream: _Blocking, read: Callable[[tarfile.TarFile], T]) -> T:
    with tarfile.open(fileobj=stream, mode="r|") as tar:  # type: ignore[call-overload]  # it wants no more than `read`
        return read(tar)


class _Blocking:
    """A stream of the event loop as a file for a thread. Ends with the connection: a cancelled reader's thread ends too."""

    def __init__(self, stream: aiohttp.StreamReader, loop: asyncio.AbstractEventLoop) -> None:
        self._stream = stream
        self._loop = loop

    def read(self, size: int) -> bytes:
        return asyncio.run_coroutine_threadsafe(self._stream.read(size), self._loop).result()
