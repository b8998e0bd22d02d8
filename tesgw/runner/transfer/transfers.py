"""The table of storage schemes, and the one way in and out of a task's files."""

from __future__ import annotations

import asyncio
import os
import posixpath
import re
import stat
from collections.abc import Callable, Sequence

import aiohttp

from tesgw.errors import StageError
from tesgw.model import FileType, OutputFile
from tesgw.runner.files import Namespace
from tesgw.runner.transfer.local import LocalFiles
from tesgw.runner.transfer.scheme import Scheme, Special, problem
from tesgw.runner.transfer.web import Web

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")


class Transfers:
    """Fetches inputs and delivers outputs. `files` holds what `file://` URLs and bare paths may touch; storage that is
    `special` is asked first whether a URL is its own.

    Every method raises StageError with a sentence for the user; any of them may be cancelled, and repeated.
    """

    def __init__(
        self,
        *,
        http: Callable[[], aiohttp.ClientSession],
        files: Namespace,
        patience_seconds: float = 60.0,
        special: Sequence[Special] = (),
    ) -> None:
        self._special = special
        self._table: dict[str, Scheme] = {}
        for scheme in (LocalFiles(files), Web(http, patience_seconds)):
            self._table.update(dict.fromkeys(scheme.names, scheme))

    @property
    def schemes(self) -> Sequence[str]:
        return sorted(self._table)

    async def fetch(self, url: str, type: FileType, to: Namespace, path: str) -> None:
        """Put what `url` names at `path`: a copy that any user may write to, whole or not at all."""
        scheme = self._scheme(url)
        await asyncio.to_thread(_make_parent, to, path)
        await scheme.fetch(url, type, to, path)

    async def write(self, content: str, to: Namespace, path: str) -> None:
        """Put a file with this content at `path`, writable for any user."""
        await asyncio.to_thread(_write, content.encode(), to, path)

    async def deliver(self, source: Namespace, path: str, url: str, type: FileType) -> list[OutputFile]:
        """Store the file or directory at `path` as `url`, and say which files that made.

        A directory is delivered as one whatever `type` says: clients declare directories as FILE.
        """
        scheme = self._scheme(url)
        try:
            found = await asyncio.to_thread(source.stat, path)
        except OSError as error:
            raise problem("deliver", path, error) from error
        if type is FileType.DIRECTORY and not stat.S_ISDIR(found.st_mode):
            raise StageError(f"{path} was declared as a DIRECTORY, but it is a file.")
        return await scheme.deliver(source, path, url)

    def _scheme(self, url: str) -> Scheme:
        for special in self._special:
            if special.claims(url):
                return special
        match = _SCHEME.match(url)
        name = "file" if url.startswith("/") else match[1].lower() if match else ""
        if not name:
            raise StageError(f"{url!r} is neither a URL nor an absolute path.")
        if name not in self._table:
            raise StageError(f"{name}:// is not supported by this gateway; it reads and writes {', '.join(self.schemes)}.")
        return self._table[name]


def _make_parent(to: Namespace, path: str) -> None:
    try:
        to.make_dirs(posixpath.dirname(path.rstrip("/")), keep_existing=True)
    except OSError as error:
        raise problem("write", path, error) from error


def _write(content: bytes, to: Namespace, path: str) -> None:
    _make_parent(to, path)
    try:
        with to.create(path) as draft, os.fdopen(os.dup(draft.fd), "wb") as file:
            file.write(content)
    except OSError as error:
        raise problem("write", path, error) from error
