"""Blobs of Azure Storage, by signed URLs. Files move in ranges, so that memory does not grow with them."""

from __future__ import annotations

import asyncio
import io
import os
import posixpath
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import aiohttp

from tesgw.errors import StageError
from tesgw.model import FileType, OutputFile
from tesgw.runner.files import Namespace
from tesgw.runner.settle import together
from tesgw.runner.transfer.copying import in_thread
from tesgw.runner.transfer.scheme import Special, a_few_at_a_time, drafted, files_of, printable, problem, shown

if TYPE_CHECKING:  # a second of CPU, which nobody needs who has no blobs
    from azure.core.exceptions import AzureError
    from azure.storage.blob import BlobProperties
    from azure.storage.blob.aio import BlobClient, ContainerClient

RANGE_BYTES = 4 << 20
SMALL_BYTES = 1 << 20  # what aiohttp sends as one piece
MOST_BLOCKS = 50_000  # of one blob: https://learn.microsoft.com/rest/api/storageservices/put-block-list
_RANGES_AT_ONCE = 8
_RANGES_OF_A_FILE = 4
_THREADS = 4
_RETRIES = 5  # after 1, 3, 5, 9 and 17 seconds
_BLOB_RESOURCES = frozenset({"b", "bs", "bv", "c", "d"})  # as `sr` of a signature names them; others are file shares'

_CAUSES = {
    401: "the storage account wants a signature: it is not one that the gateway signs for",
    403: "the storage account forbids it ({answer}): check the URL, and what the gateway's account or the URL's own "
    "signature may do there",
    404: "it does not exist",
    409: "the storage account refused ({answer})",
    412: "it changed meanwhile ({answer})",
}


@dataclass(frozen=True, slots=True)
class Place:
    """What a signed URL names."""

    account: str
    container: str
    name: str
    signature: str

    @classmethod
    def of(cls, url: str) -> Place:
        """StageError if the URL names nothing in a container."""
        parts = urlsplit(url)
        path = parts.path.removeprefix("/")
        account = f"{parts.scheme}://{parts.netloc}"
        if _is_path_style(parts.hostname or ""):
            name, _, path = path.partition("/")
            account += f"/{name}"
        container, _, blob = path.partition("/")
        if not container:
            raise StageError(f"{shown(url)} does not name a blob: it lacks the container.")
        return cls(account, unquote(container), unquote(blob), parts.query)

    @property
    def prefix(self) -> str:
        """What the names of all blobs below this one begin with."""
        return f"{self.name.rstrip('/')}/" if self.name.strip("/") else ""

    def below(self, path: str) -> Place:
        return replace(self, name=f"{self.prefix}{path}") if path else self


class AzureBlobs(Special):
    """Blobs at URLs that `covers` knows, which `sign` turns into signed ones, or that are signed themselves."""

    names = ()

    def __init__(
        self,
        session: Callable[[], aiohttp.ClientSession],
        *,
        covers: Callable[[str], bool],
        sign: Callable[[str], Awaitable[str]],
        retries: int = _RETRIES,
    ) -> None:
        self._session = session
        self._covers = covers
        self._sign = sign
        self._retries = retries
        self._slots = asyncio.Semaphore(_RANGES_AT_ONCE)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="tesgw-blob")

    def claims(self, url: str) -> bool:
        """Whether the URL is one of a blob that can be reached."""
        return self._covers(url) or is_signed(url)

    async def fetch(self, url: str, type: FileType, to: Namespace, path: str) -> None:
        from azure.core.exceptions import AzureError

        place = Place.of(await self._sign(url))
        try:
            if type is FileType.DIRECTORY:
                await self._fetch_directory(place, url, to, path)
            else:
                await self._fetch_file(place, url, to, path)
        except AzureError as error:
            raise _failure("fetched", url, error) from None  # not chained: it may hold the signature
        except OSError as error:
            raise problem("write", path, error) from error

    async def deliver(self, source: Namespace, path: str, url: str) -> list[OutputFile]:
        from azure.core.exceptions import AzureError

        place = Place.of(await self._sign(url))

        async def upload(item: tuple[str, str]) -> OutputFile:
            file, file_url = item
            rest = printable(file[len(path.rstrip("/")) :]) if file != path else ""
            size = await self._upload(source, file, place.below(rest.lstrip("/")))
            named = f"{url.rstrip('/')}{rest}" if url.startswith("/") else file_url
            return OutputFile(path=printable(file), url=named, size_bytes=size)

        try:
            return await a_few_at_a_time(upload, await asyncio.to_thread(files_of, source, path, url))
        except AzureError as error:
            raise _failure("delivered", url, error) from None
        except OSError as error:
            raise problem("read", path, error) from error

    async def _fetch_file(self, place: Place, tag: str, to: Namespace, path: str) -> None:
        async with drafted(to, path, tag) as draft:
            await self._download(self._blob(place), draft.fd)

    async def _fetch_directory(self, place: Place, url: str, to: Namespace, path: str) -> None:
        is_empty = True

        async def take(found: BlobProperties) -> None:
            target = posixpath.join(path, relative_path(found.name, place.prefix, url))
            directory = target if _is_directory(found) else posixpath.dirname(target)
            await asyncio.to_thread(partial(to.make_dirs, directory, 0o777, keep_existing=True))
            if not _is_directory(found):
                await self._fetch_file(replace(place, name=found.name), url, to, target)

        async for page in self._pages(place):
            is_empty = is_empty and not page
            await a_few_at_a_time(take, page)
        if is_empty and not (place.name and _is_directory(await self._blob(place).get_blob_properties())):
            raise StageError(f"{shown(url)} was declared as a DIRECTORY, but there are no blobs below it.")
        await asyncio.to_thread(partial(to.make_dirs, path, 0o777, keep_existing=True))

    async def _pages(self, place: Place) -> AsyncIterator[list[BlobProperties]]:
        blobs = self._container(place).list_blobs(name_starts_with=place.prefix or None, include=["metadata"])
        async for page in blobs.by_page():
            yield [found async for found in page]

    async def _download(self, blob: BlobClient, fd: int) -> None:
        from azure.core import MatchConditions
        from azure.core.exceptions import HttpResponseError

        async with self._slots:
            try:
                first = await blob.download_blob(0, RANGE_BYTES)
            except HttpResponseError as error:
                if error.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # it is empty
                    return
                raise
            size, etag = _whole_size(first.properties, first.size), first.properties.etag
            await self._write(fd, await first.readall(), 0)
        offsets = iter(range(RANGE_BYTES, size, RANGE_BYTES))

        async def work() -> None:
            for offset in offsets:
                async with self._slots:
                    condition: Any = {"etag": etag, "match_condition": MatchConditions.IfNotModified}
                    part = await blob.download_blob(offset, min(RANGE_BYTES, size - offset), **condition)
                    await self._write(fd, await part.readall(), offset)

        await together(*(work() for _ in range(_RANGES_OF_A_FILE)))
        if os.fstat(fd).st_size != size:
            raise OSError(f"{size} bytes were announced, {os.fstat(fd).st_size} came")

    async def _write(self, fd: int, data: bytes, offset: int) -> None:
        def write(_: object) -> None:
            rest, at = memoryview(data), offset
            while rest:
                count = os.pwrite(fd, rest, at)
                rest, at = rest[count:], at + count

        await in_thread(self._pool, write)

    async def _upload(self, source: Namespace, path: str, place: Place) -> int:
        fd = await asyncio.to_thread(source.open, path)
        try:
            size, blob = os.fstat(fd).st_size, self._blob(place)
            if size > SMALL_BYTES:
                await self._upload_blocks(blob, fd, size)
            else:
                async with self._slots:
                    data = await self._read(fd, size, 0)
                    await blob.upload_blob(data, length=len(data), overwrite=True)
            return size
        finally:
            os.close(fd)

    async def _upload_blocks(self, blob: BlobClient, fd: int, size: int) -> None:
        from azure.storage.blob import BlobBlock

        blocks = list(blocks_of(size))
        pending = iter(blocks)

        async def work() -> None:
            for block, offset, length in pending:
                async with self._slots:
                    data = io.BytesIO(await self._read(fd, length, offset))
                    await blob.stage_block(block, data, length=length)

        # Not the SDK's own way to upload in parallel: cancelled, that would go on (12.31).
        await together(*(work() for _ in range(_RANGES_OF_A_FILE)))
        await blob.commit_block_list([BlobBlock(block_id=block) for block, _, _ in blocks])

    async def _read(self, fd: int, length: int, offset: int) -> bytes:
        data = await in_thread(self._pool, lambda _: os.pread(fd, length, offset))
        if len(data) != length:
            raise OSError("it became shorter while it was being read")
        return data

    def _blob(self, place: Place) -> BlobClient:
        from azure.storage.blob.aio import BlobClient

        return BlobClient(f"{place.account}?{place.signature}", place.container, place.name, **self._options())

    def _container(self, place: Place) -> ContainerClient:
        from azure.storage.blob.aio import ContainerClient

        return ContainerClient(f"{place.account}?{place.signature}", place.container, **self._options())

    def _options(self) -> dict[str, Any]:
        from azure.core.pipeline.transport import AioHttpTransport
        from azure.storage.blob.aio import ExponentialRetry

        transport = AioHttpTransport(session=self._session(), session_owner=False)
        retry = ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=self._retries, random_jitter_range=1)
        return {"transport": transport, "retry_policy": retry, "connection_timeout": 10, "read_timeout": 30}


def is_signed(url: str) -> bool:
    """Whether the URL carries a signature of its own for blobs.

    https://learn.microsoft.com/rest/api/storageservices/create-service-sas
    """
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    of_service = _BLOB_RESOURCES.issuperset(query.get("sr", ["-"]))
    of_account = "b" in query.get("ss", [""])[0]
    return parts.scheme.lower() in ("http", "https") and {"sig", "sv"} <= query.keys() and (of_service or of_account)


def blocks_of(size: int) -> Iterator[tuple[str, int, int]]:
    """Id, offset and length of the blocks of a blob of this size."""
    length = max(RANGE_BYTES, -(-size // MOST_BLOCKS))
    for number, offset in enumerate(range(0, size, length)):
        yield f"{number:05d}", offset, min(length, size - offset)


def _is_path_style(host: str) -> bool:
    """Whether the account's name is in the path: of emulators, which have no name in a domain."""
    return "." not in host or host.replace(".", "").isdigit()


def _is_directory(found: BlobProperties) -> bool:
    """Whether the blob only stands for a directory."""
    metadata = {name.lower(): value for name, value in (found.metadata or {}).items()}
    return found.name.endswith("/") or metadata.get("hdi_isfolder") == "true"


def relative_path(name: str, prefix: str, url: str) -> str:
    """The path of a blob below a directory; StageError for a name that no file can have there."""
    path = name.removeprefix(prefix).removesuffix("/")
    if path and not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise StageError(f"{shown(url)} cannot be fetched: its blob {name!r} has a name that no file can have.")
    return path


def _whole_size(properties: BlobProperties, received: int) -> int:
    _, slash, size = (properties.content_range or "").rpartition("/")
    return int(size) if slash else received


def _failure(done: str, url: str, error: AzureError) -> StageError:
    """The sentence, without the SDK's text, which may hold what nobody should see."""
    status = getattr(error, "status_code", None)
    code = getattr(error, "error_code", None) or ""
    answer = f"{status} {getattr(code, 'value', code)}".strip()
    if status is None:
        cause = "the storage account cannot be reached, and trying again for half a minute did not help"
    else:
        cause = _CAUSES.get(status, "the storage account answered {answer}").format(answer=answer)
    return StageError(f"{shown(url)} could not be {done}: {cause}.")
