"""`file://` URLs and bare absolute paths."""

from __future__ import annotations

import os
import posixpath
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, unquote

from tesgw.errors import StageError
from tesgw.model import FileType, OutputFile
from tesgw.runner.files import Namespace
from tesgw.runner.resolve import UNREACHABLE
from tesgw.runner.transfer.copying import Copier, in_thread
from tesgw.runner.transfer.scheme import Scheme, printable, problem

_COPIES_AT_ONCE = 8


class LocalFiles(Scheme):
    """Files in the directories that the gateway's operator allows."""

    names = ("file",)

    def __init__(self, files: Namespace) -> None:
        self._files = files
        # Not the loop's own pool: long copies there would keep everybody's name lookups waiting.
        self._pool = ThreadPoolExecutor(_COPIES_AT_ONCE, thread_name_prefix="tesgw-copy")

    async def fetch(self, url: str, type: FileType, to: Namespace, path: str) -> None:
        await in_thread(self._pool, lambda stop: self._fetch(url, type, to, path, stop))

    async def deliver(self, source: Namespace, path: str, url: str) -> list[OutputFile]:
        return await in_thread(self._pool, lambda stop: self._deliver(source, path, url, stop))

    def _fetch(self, url: str, type: FileType, to: Namespace, path: str, stop: threading.Event) -> None:
        try:
            source, is_directory = self._source(url)
            if is_directory != (type is FileType.DIRECTORY):
                raise StageError(f"{url} was declared as a {type}, but it is a {'directory' if is_directory else 'file'}.")
            copier = Copier(self._files, to, _writable, lambda mode: 0o777, url, stop)
            if is_directory:
                copier.tree(source, path)
            else:
                copier.file(source, path)
        except OSError as error:
            raise problem("read", url, error) from error

    def _deliver(self, source: Namespace, path: str, url: str, stop: threading.Event) -> list[OutputFile]:
        try:
            target = self._target(url)
            copier = Copier(source, self._files, _delivered, lambda mode: _delivered(mode) | 0o700, url, stop)
            if not stat.S_ISDIR(source.stat(path).st_mode):
                return [self._deliver_file(copier, path, target, url)]
            return [
                OutputFile(path=printable(posixpath.join(path, name)), url=_below(url, name), size_bytes=size)
                for name, size in copier.tree(path, target)
            ]
        except OSError as error:
            raise problem("write", url, error) from error

    def _deliver_file(self, copier: Copier, path: str, target: str, url: str) -> OutputFile:
        if url.endswith("/"):
            name = posixpath.basename(path)
            target, url = posixpath.join(target, name), _below(url, name)
        self._files.make_dirs(posixpath.dirname(target.rstrip("/")), 0o755, keep_existing=True)
        return OutputFile(path=printable(path), url=url, size_bytes=copier.file(path, target))

    def _source(self, url: str) -> tuple[str, bool]:
        """The path that an input's URL means, and whether it is a directory."""
        decoded, raw = _paths(url)
        try:
            return decoded, stat.S_ISDIR(self._files.stat(decoded).st_mode)
        except UNREACHABLE:
            if raw == decoded:
                raise
            return raw, stat.S_ISDIR(self._files.stat(raw).st_mode)

    def _target(self, url: str) -> str:
        """The path that an output's URL means: the raw one only where that alone has a directory to hold it."""
        decoded, raw = _paths(url)
        return raw if not self._has_parent(decoded) and self._has_parent(raw) else decoded

    def _has_parent(self, path: str) -> bool:
        try:
            return stat.S_ISDIR(self._files.stat(posixpath.dirname(path.rstrip("/"))).st_mode)
        except UNREACHABLE:
            return False


def _paths(url: str) -> tuple[str, str]:
    """The percent-decoded path of a URL, and the raw one: clients write both kinds. A bare path is what it is."""
    if url.startswith("/"):
        return url, url
    rest = url.partition(":")[2]
    host, slash, path = rest[2:].partition("/") if rest.startswith("//") else ("", "/", rest.removeprefix("/"))
    if host.lower() not in ("", "localhost") or not slash:
        raise StageError(f"{url} does not name a file of this machine: write file:///absolute/path.")
    return "/" + unquote(path, errors="surrogateescape"), "/" + path


def _below(url: str, path: str) -> str:
    """The URL of a file below a directory's: encoded as URLs are, unless it is a bare path."""
    return f"{url.rstrip('/')}/{printable(path) if url.startswith('/') else quote(os.fsencode(path))}"


def _writable(mode: int) -> int:
    """An input's mode: whoever the image's user is may change it; a program stays one."""
    return 0o666 | mode & 0o111


def _delivered(mode: int) -> int:
    """An output's mode. Inputs and directories are made writable for anyone; delivered, they are as fresh ones."""
    return mode & (0o755 if mode & 0o002 else 0o777)
