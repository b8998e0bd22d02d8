"""`http://` and `https://`: GET for inputs, PUT for outputs."""

from __future__ import annotations

import asyncio
import os
import re
import threading
import time
from collections.abc import Awaitable, Callable, Container
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import aiohttp
import yarl

from tesgw.errors import StageError
from tesgw.model import FileType, OutputFile
from tesgw.runner.files import Namespace
from tesgw.runner.transfer.copying import in_thread
from tesgw.runner.transfer.scheme import Scheme, a_few_at_a_time, drafted, files_of, printable, problem, shown

_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
_BUFFER = 1 << 20
_WRITERS = 4
_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 10.0

# RFC 3986: such a URL is sent as it is, since its signature may not survive rewriting.
_IS_ENCODED = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*")
_PERMANENT = (aiohttp.InvalidURL, aiohttp.RedirectClientError, aiohttp.TooManyRedirects, aiohttp.ClientSSLError)


_CAUSES = (
    (TimeoutError, "the server did not answer in time"),
    (aiohttp.ClientPayloadError, "the connection broke"),
    ((aiohttp.InvalidURL, aiohttp.RedirectClientError), "it, or what it redirects to, is not a valid http URL"),
    (aiohttp.TooManyRedirects, "too many redirects"),
    (aiohttp.ClientResponseError, "the server does not speak HTTP"),  # its own text holds the URL
)


class _Transient(Exception):
    """Trying again may help."""


class _Refused(Exception):
    """Trying again will not help."""


class Web(Scheme):
    """Plain web servers. After what may pass (no connection, 429, 5xx) tries go on while something moves now and then."""

    names = ("http", "https")

    def __init__(self, session: Callable[[], aiohttp.ClientSession], patience_seconds: float) -> None:
        self._session = session
        self._patience_seconds = patience_seconds
        self._pool = ThreadPoolExecutor(_WRITERS, thread_name_prefix="tesgw-write")

    async def fetch(self, url: str, type: FileType, to: Namespace, path: str) -> None:
        if type is FileType.DIRECTORY:
            raise StageError(f"{shown(url)} cannot be fetched as a DIRECTORY: a web server has files only.")
        address = _address(url)
        try:
            async with drafted(to, path, url) as draft:
                download = _Download(draft.fd)
                await self._persist(url, "fetched", lambda: self._get(address, download), lambda: download.furthest)
        except OSError as error:
            raise problem("write", path, error) from error

    async def deliver(self, source: Namespace, path: str, url: str) -> list[OutputFile]:
        async def upload(item: tuple[str, str]) -> OutputFile:
            return await self._upload(source, *item)

        try:
            return await a_few_at_a_time(upload, await asyncio.to_thread(files_of, source, path, url))
        except OSError as error:
            raise problem("read", path, error) from error

    async def _upload(self, source: Namespace, path: str, url: str) -> OutputFile:
        address = _address(url)
        size = 0

        async def put() -> None:
            nonlocal size
            with os.fdopen(source.open(path), "rb") as file:
                size = os.fstat(file.fileno()).st_size
                # A redirect would come when the file is sent, and find nothing left to send.
                async with self._session().put(address, data=file, timeout=_TIMEOUT, allow_redirects=False) as response:
                    _check(response, range(200, 300))

        await self._persist(url, "delivered", put, lambda: 0)
        return OutputFile(path=printable(path), url=url, size_bytes=size)

    async def _get(self, address: yarl.URL, download: _Download) -> None:
        async with self._session().get(
            address,
            headers=download.headers,
            timeout=_TIMEOUT,
            auto_decompress=False,  # stored as sent: some servers say "gzip" of a .tar.gz, which is not to be unpacked
            read_bufsize=_BUFFER,
        ) as response:
            await in_thread(self._pool, lambda _: download.begin(response))
            async for chunk in response.content.iter_any():
                await in_thread(self._pool, partial(download.write, chunk))

    async def _persist(
        self, url: str, done: str, attempt: Callable[[], Awaitable[None]], progress: Callable[[], int]
    ) -> None:
        """Attempt until it succeeds, cannot succeed, or has not got further than before for too long."""
        patience = _Patience(self._patience_seconds)
        while True:
            try:
                return await attempt()
            except (_Refused, *_PERMANENT) as error:
                cause = _cause(error)
            except (_Transient, aiohttp.ClientError, TimeoutError, ConnectionError) as error:
                if await patience.pause(progress()):
                    continue
                cause = f"{_cause(error)}, and tries in {self._patience_seconds:g} s did not help"
            # Not chained: the texts of aiohttp's errors hold the URL with its secrets.
            raise StageError(f"{shown(url)} could not be {done}: {cause}.") from None


class _Patience:
    """Growing pauses, for as long as the last progress is not too long ago."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._best = 0
        self._pause = _FIRST_PAUSE_SECONDS
        self._deadline = time.monotonic() + seconds

    async def pause(self, progress: int) -> bool:
        """Wait a while; False if there is no point."""
        if progress > self._best:
            self._best = progress
            self._pause = _FIRST_PAUSE_SECONDS
            self._deadline = time.monotonic() + self._seconds
        if time.monotonic() + self._pause > self._deadline:
            return False
        await asyncio.sleep(self._pause)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
        return True


class _Download:
    """A file as far as it has come; goes on where it broke off if the server can tell that it still has the same."""

    def __init__(self, fd: int) -> None:
        self.furthest = 0
        self._fd = fd
        self._offset = 0
        self._validator = ""

    @property
    def headers(self) -> dict[str, str]:
        plain = {"Accept-Encoding": "identity"}
        if not (self._offset and self._validator):
            return plain
        return plain | {"Range": f"bytes={self._offset}-", "If-Range": self._validator}

    def begin(self, response: aiohttp.ClientResponse) -> None:
        if response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {self._offset}-"):
            return
        if response.status in (206, 416):
            self._validator = ""  # from the beginning, then
            raise _Transient("the server did not send the part asked for")
        _check(response, (200,))
        self._offset = 0
        os.ftruncate(self._fd, 0)
        etag = response.headers.get("ETag", "")
        # RFC 9110 13.1.5: If-Range takes no weak tag.
        self._validator = response.headers.get("Last-Modified", "") if etag.startswith("W/") or not etag else etag

    def write(self, chunk: bytes, _: threading.Event) -> None:
        rest = memoryview(chunk)
        while rest:
            count = os.pwrite(self._fd, rest, self._offset)
            self._offset += count
            rest = rest[count:]
        self.furthest = max(self.furthest, self._offset)


def _address(url: str) -> yarl.URL:
    try:
        address = yarl.URL(url, encoded=bool(_IS_ENCODED.fullmatch(url)))
        if address.host:
            return address
    except ValueError:
        pass
    raise StageError(f"{shown(url)} is not a valid URL.")


def _check(response: aiohttp.ClientResponse, expected: Container[int]) -> None:
    if response.status in expected:
        return
    answer = f"the server answered {response.status} {response.reason}"
    raise _Transient(answer) if response.status in (408, 429) or response.status >= 500 else _Refused(answer)


def _cause(error: Exception) -> str:
    """What went wrong, without the URL, which may hold secrets."""
    return next((text for kind, text in _CAUSES if isinstance(error, kind)), str(error) or type(error).__name__)
