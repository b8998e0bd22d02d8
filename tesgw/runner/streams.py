"""What an executor prints, read where it is being written."""

from __future__ import annotations

import os

from tesgw.model import Executor
from tesgw.runner import archive
from tesgw.runner.engine import Engine
from tesgw.runner.files import Namespace
from tesgw.runner.logs import punch, tail
from tesgw.runner.mounts import Plan
from tesgw.runner.world import JobDir

_UNNAMED_BYTES = 2**20


class Streams:
    """The two output streams of an executor: in files that it names, else in files of the job's that are kept small."""

    def __init__(self, directory: JobDir, index: int, executor: Executor, plan: Plan) -> None:
        self._directory = directory
        self._index = index
        self._plan = plan
        self._named = {"stdout": executor.stdout, "stderr": executor.stderr}

    def mounts(self) -> dict[str, str]:
        """The files to be mounted for streams without a name: container path to stream."""
        return {f"/.tesgw/{name}": name for name, path in self._named.items() if not path}

    def tails(self, limit: int) -> dict[str, str]:
        """The last `limit` bytes of each as far as the host has it, as text."""
        return {name: self._tail(name, limit).decode("utf-8", "replace") for name in self._named}

    def shorten(self) -> bool:
        """Give back the disk that unnamed streams take beyond their tail. True if that was needed."""
        return any([self._shorten(name) for name, path in self._named.items() if not path])

    async def last(self, limit: int, engine: Engine, container_id: str) -> dict[str, str]:
        """The tails of streams that were written to the image's own directories, out of the stopped container."""
        inside = {name: path for name, path in self._named.items() if path and not self._plan.covers(path)}
        return {
            name: (await archive.tail(engine, container_id, path, limit)).decode("utf-8", "replace")
            for name, path in inside.items()
        }

    def _tail(self, name: str, limit: int) -> bytes:
        try:
            fd = self._open(name)
        except OSError:
            return b""  # not there yet, or nothing to be read
        try:
            return tail(fd, limit)
        finally:
            os.close(fd)

    def _open(self, name: str) -> int:
        path = self._named[name]
        if path:
            return Namespace(self._plan.view(self._directory.tree)).open(self._plan.follow(path))
        return self._open_unnamed(name, os.O_RDONLY)

    def _open_unnamed(self, name: str, flags: int) -> int:
        # Mounted as a single file, so nothing else can be put in its place from inside.
        return os.open(self._directory.stream(self._index, name), flags | os.O_CLOEXEC)

    def _shorten(self, name: str) -> bool:
        fd = self._open_unnamed(name, os.O_RDWR)
        try:
            return self._punch(fd)
        finally:
            os.close(fd)

    def _punch(self, fd: int) -> bool:
        if os.fstat(fd).st_blocks * 512 <= _UNNAMED_BYTES:
            return False
        punch(fd, _UNNAMED_BYTES // 2)
        return True
