"""Blobs as inputs and outputs, against a real emulator."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from azure.storage.blob import BlobBlock
from azure.storage.blob.aio import ContainerClient

from tesgw.errors import StageError
from tesgw.model import FileType, OutputFile
from tesgw.runner.files import Namespace
from tesgw.runner.transfer import Transfers
from tesgw.runner.transfer.azure import (
    MOST_BLOCKS,
    RANGE_BYTES,
    SMALL_BYTES,
    AzureBlobs,
    Place,
    blocks_of,
    is_signed,
    relative_path,
)
from tests.plugins.batch.blobs import Blobs
from tests.plugins.batch.node.bench import Proxy

FILE, DIRECTORY = FileType.FILE, FileType.DIRECTORY
SIZES = [0, 1, SMALL_BYTES, SMALL_BYTES + 1, RANGE_BYTES, RANGE_BYTES + 1, 6 * RANGE_BYTES + 5]


@dataclasses.dataclass
class Store:
    """A container whose blobs the gateway signs as `az://data/…` or `/data/…`, and a directory for files."""

    blobs: Blobs
    container: ContainerClient
    disk: Path
    session: aiohttp.ClientSession
    permissions: str = "racwdl"
    retries: int = 0

    @property
    def files(self) -> Namespace:
        return Namespace({"/": self.disk})

    @property
    def transfers(self) -> Transfers:
        blobs = AzureBlobs(lambda: self.session, covers=self.covers, sign=self.sign, retries=self.retries)
        return Transfers(http=lambda: self.session, files=Namespace({}), special=[blobs], patience_seconds=0)

    def covers(self, url: str) -> bool:
        return url.startswith(("az://data", "/data"))

    async def sign(self, url: str) -> str:
        name = url.removeprefix("az:/").removeprefix("/data").lstrip("/")
        return self.blobs.signed(self.container.container_name, self.permissions, name) if self.covers(url) else url

    async def put(self, name: str, data: bytes = b"", **metadata: str) -> None:
        blob = self.container.get_blob_client(name)
        await blob.stage_block("block", io.BytesIO(data), length=len(data)) if data else None
        await blob.commit_block_list([BlobBlock("block")] if data else [], metadata=metadata)

    async def get(self, name: str) -> bytes:
        return await (await self.container.download_blob(name)).readall()

    def names(self) -> list[str]:
        return sorted(str(path.relative_to(self.disk)) for path in self.disk.rglob("*"))

    async def fetch(self, url: str, type: FileType = FILE) -> None:
        await self.transfers.fetch(url, type, self.files, "/in/it")

    async def deliver(self, url: str, type: FileType = FILE) -> list[OutputFile]:
        return await self.transfers.deliver(self.files, "/it", url, type)


@pytest.fixture
async def store(azurite: Blobs, container: ContainerClient, tmp_path: Path) -> AsyncIterator[Store]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield Store(azurite, container, tmp_path, session)


@pytest.fixture
async def proxy(store: Store) -> AsyncIterator[Proxy]:
    """From here on, the store is reached through it."""
    proxy = Proxy(store.blobs)
    await proxy.start()
    store.blobs = proxy.blobs
    yield proxy
    await proxy.stop()


@pytest.mark.parametrize("size", SIZES)
async def test_a_blob_arrives_as_it_is(store: Store, size: int) -> None:
    data = os.urandom(size)
    await store.put("it", data)
    await store.fetch("az://data/it")

    assert (store.disk / "in" / "it").read_bytes() == data
    assert (store.disk / "in" / "it").stat().st_mode & 0o777 == 0o666
    assert store.names() == ["in", "in/it"]


@pytest.mark.parametrize("size", SIZES)
async def test_a_file_is_delivered_as_it_is(store: Store, size: int) -> None:
    data = os.urandom(size)
    (store.disk / "it").write_bytes(data)

    assert await store.deliver("az://data/a/b") == [OutputFile(url="az://data/a/b", path="/it", size_bytes=size)]
    assert await store.get("a/b") == data


@pytest.mark.parametrize("url", ["az://data/out", "/data/out/"])
async def test_a_directory_is_delivered_as_blobs_below_its_url(store: Store, url: str) -> None:
    (store.disk / "it" / "a b").mkdir(parents=True)
    (store.disk / "it" / "a b" / "c").write_text("1")
    (store.disk / "it" / "d").write_text("2")
    delivered = await store.deliver(url, DIRECTORY)

    space = " " if url.startswith("/") else "%20"
    base = url.rstrip("/")
    assert {(file.url, file.path) for file in delivered} == {
        (f"{base}/a{space}b/c", "/it/a b/c"),
        (f"{base}/d", "/it/d"),
    }
    assert await store.get("out/a b/c") == b"1"
    assert await store.get("out/d") == b"2"


async def test_a_directory_is_fetched_with_what_only_stands_for_directories(store: Store) -> None:
    await store.put("tree/a b/c", b"1")
    await store.put("tree/empty/")
    await store.put("tree/folder", hdi_isfolder="true")
    await store.put("tree/folder/d", b"2")
    await store.put("trees", b"another")
    await store.fetch("az://data/tree", DIRECTORY)

    names = ["in", "in/it", "in/it/a b", "in/it/a b/c", "in/it/empty", "in/it/folder", "in/it/folder/d"]
    assert store.names() == names
    assert (store.disk / "in" / "it" / "a b" / "c").read_text() == "1"


async def test_a_whole_container_is_a_directory(store: Store) -> None:
    await store.put("a/b", b"1")
    await store.fetch("az://data", DIRECTORY)

    assert store.names() == ["in", "in/it", "in/it/a", "in/it/a/b"]


@pytest.mark.parametrize("marker", ["tree/", "tree"])
async def test_an_empty_directory_may_be_there(store: Store, marker: str) -> None:
    await store.put(marker, hdi_isfolder="true")
    await store.fetch("az://data/tree", DIRECTORY)

    assert store.names() == ["in", "in/it"]


async def test_a_blob_whose_name_no_file_can_have_is_refused(store: Store) -> None:
    await store.put("tree//x", b"1")

    with pytest.raises(StageError, match=r"^az://data/tree cannot be fetched: its blob 'tree//x' has a name"):
        await store.fetch("az://data/tree", DIRECTORY)


@pytest.mark.parametrize("path", ["..", "../x", "a/../../x", "./a", "/etc/passwd", "a//b"])
def test_paths_of_blobs_stay_below_the_directory(path: str) -> None:
    with pytest.raises(StageError):
        relative_path(f"tree/{path}", "tree/", "az://data/tree")


async def test_what_is_not_there_is_said_to_be_missing(store: Store) -> None:
    with pytest.raises(StageError, match=r"^az://data/x could not be fetched: it does not exist\.$"):
        await store.fetch("az://data/x")
    with pytest.raises(StageError, match=r"^az://data/x could not be fetched: it does not exist\.$"):
        await store.fetch("az://data/x", DIRECTORY)
    await store.put("x", b"a file")
    with pytest.raises(StageError, match="declared as a DIRECTORY, but there are no blobs below it"):
        await store.fetch("az://data/x", DIRECTORY)
    assert store.names() == ["in"]


async def test_what_the_signature_does_not_allow_is_said_at_once(store: Store) -> None:
    store.permissions, store.retries = "l", 5
    await store.put("it", b"1")
    (store.disk / "it").write_text("2")
    async with asyncio.timeout(5):
        with pytest.raises(StageError, match=r"forbids it .403 AuthorizationPermissionMismatch.: check the URL") as failure:
            await store.fetch("az://data/it")
        with pytest.raises(StageError, match=r"^az://data/it could not be delivered: the storage account forbids it"):
            await store.deliver("az://data/it")

    assert failure.value.__cause__ is None
    assert failure.value.__suppress_context__


async def test_a_storage_out_of_reach_is_said_so(store: Store, proxy: Proxy) -> None:
    await proxy.cut()

    with pytest.raises(StageError, match=r"^az://data/it could not be fetched: the storage account cannot be reached"):
        await store.fetch("az://data/it")


async def test_a_connection_that_breaks_is_made_again(store: Store, proxy: Proxy) -> None:
    data = os.urandom(3 * RANGE_BYTES)
    await store.put("it", data)
    store.retries = 5
    parts = 0

    async def break_two(_: bytes) -> None:  # two, for aiohttp itself tries once more
        nonlocal parts
        parts += 1
        if parts <= 2:
            raise ConnectionResetError

    proxy.before = break_two
    await store.fetch("az://data/it")

    assert (store.disk / "in" / "it").read_bytes() == data


async def test_a_blob_that_changes_meanwhile_is_not_mixed(store: Store, proxy: Proxy) -> None:
    await store.put("it", bytes(3 * RANGE_BYTES))
    requests = 0

    async def change(_: bytes) -> None:
        nonlocal requests
        requests += 1
        if requests == 2:
            await store.put("it", b"x" * (3 * RANGE_BYTES))

    proxy.before = change
    with pytest.raises(StageError, match="it changed meanwhile"):
        await store.fetch("az://data/it")

    assert store.names() == ["in"]


async def test_cancelling_leaves_no_drafts(store: Store, proxy: Proxy) -> None:
    await store.put("it", bytes(3 * RANGE_BYTES))
    requests, is_reached = 0, asyncio.Event()

    async def stall(_: bytes) -> None:
        nonlocal requests
        requests += 1
        if requests > 1:
            is_reached.set()
            await asyncio.Event().wait()

    proxy.before = stall
    fetching = asyncio.create_task(store.fetch("az://data/it"))
    await is_reached.wait()
    assert len(store.names()) == 2
    fetching.cancel()
    await asyncio.wait([fetching])

    assert fetching.cancelled()
    assert store.names() == ["in"]


async def test_urls_that_are_signed_by_the_user_work_and_keep_their_signature(store: Store) -> None:
    url = store.blobs.signed(store.container.container_name, "rcw", "dir/own")
    (store.disk / "it").write_text("mine")
    delivered = await store.deliver(url)
    await store.fetch(url)

    assert delivered == [OutputFile(url=url, path="/it", size_bytes=4)]
    assert (store.disk / "in" / "it").read_text() == "mine"


@pytest.mark.parametrize(
    ("url", "is_so"),
    [
        ("https://a.blob.core.windows.net/c/b?sv=2026&sr=b&sp=r&sig=x", True),
        ("https://a.blob.core.windows.net/c/b?sig=x&sr=c&sv=2026", True),
        ("https://a.blob.core.windows.net/c/b?sv=2026&ss=bf&srt=o&sig=x", True),
        ("http://127.0.0.1:10000/a/c/b?sv=2026&sr=d&sig=x", True),
        ("https://a.blob.core.windows.net/c/b", False),
        ("https://a.file.core.windows.net/s/f?sv=2026&sr=f&sig=x", False),
        ("https://a.file.core.windows.net/s/f?sv=2026&ss=f&srt=o&sig=x", False),
        ("https://example.org/x?sig=abc", False),
        ("ftp://a/c/b?sv=2026&sr=b&sig=x", False),
        ("/c/b?sv=2026&sr=b&sig=x", False),
    ],
)
def test_signed_urls_of_blobs_are_told_from_others(url: str, is_so: bool) -> None:
    assert is_signed(url) is is_so


@pytest.mark.parametrize(
    ("url", "account", "container", "name"),
    [
        ("https://a.blob.core.windows.net/c/d/e%20f?s", "https://a.blob.core.windows.net", "c", "d/e f"),
        ("https://blobs.example.org/c/b?s", "https://blobs.example.org", "c", "b"),
        ("http://127.0.0.1:10000/a/c/d/e?s", "http://127.0.0.1:10000/a", "c", "d/e"),
        ("http://azurite:10000/a/c?s", "http://azurite:10000/a", "c", ""),
    ],
)
def test_a_url_is_taken_apart(url: str, account: str, container: str, name: str) -> None:
    assert Place.of(url) == Place(account, container, name, "s")


@pytest.mark.parametrize("size", [0, 1, RANGE_BYTES * MOST_BLOCKS, RANGE_BYTES * MOST_BLOCKS + 1, 190 << 40])
def test_no_blob_has_too_many_blocks(size: int) -> None:
    blocks = list(blocks_of(size))

    assert len(blocks) <= MOST_BLOCKS
    assert sum(length for _, _, length in blocks) == size
    assert len({len(block) for block, _, _ in blocks}) <= 1
    assert len({block for block, _, _ in blocks}) == len(blocks)
