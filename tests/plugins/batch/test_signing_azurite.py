from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from azure.core.exceptions import HttpResponseError
from azure.storage.blob.aio import BlobClient, ContainerClient
from tesgw_batch.azurite import running
from tesgw_batch.fake_batch.certificates import make_certificates
from tesgw_batch.signing import Signer

from tesgw import BackendUnavailable, FileType, Input, Layout, Output, Task
from tesgw.staging import plan
from tests.plugins.batch.blobs import ACCOUNT, KEY, Blobs
from tests.plugins.batch.identity import Identity


@pytest.fixture
def signer(azurite: Blobs) -> Signer:
    return Signer(azurite.url, ACCOUNT, KEY, reserved="batchtmp")


async def test_a_task_can_do_what_it_declares_and_nothing_else(signer: Signer, container: ContainerClient) -> None:
    name = container.container_name
    await container.upload_blob("in put.txt", b"in")
    await container.upload_blob("dir/a", b"a")
    inputs = (
        Input(path="/in", url=f"az://{name}/in%20put.txt"),
        Input(path="/dir", url=f"/{ACCOUNT}/{name}/dir", type=FileType.DIRECTORY),
    )
    outputs = (Output(path="/out", url=f"{container.url}/out"), Output(path="/*.txt", url=f"az://{name}/many"))
    table = await signer.signed(plan(Task(id="t", executors=(), inputs=inputs, outputs=outputs), Layout()))
    read, listed, written, below = table.values()

    assert await content(read) == b"in"
    assert await names(listed, "dir") == ["dir/a"]
    assert await content(at(listed, "dir/a")) == b"a"
    await put(written, b"first")
    await put(written, b"second")
    await put(at(written, "out/x"), b"what is declared as a FILE may be a directory")
    await put(at(below, "many/x.txt"), b"x")
    assert await stored(container, "out") == b"second"
    assert await stored(container, "many/x.txt") == b"x"
    for denied in (
        put(read, b"no"),
        put(at(listed, "dir/a"), b"no"),
        content(written),
        content(at(below, "many/x.txt")),
        names(below, "many"),
        delete(written),
        content(at(read, "dir/a")),
    ):
        assert await status(denied) == 403


async def test_what_is_input_and_output_can_be_read_and_replaced(signer: Signer, container: ContainerClient) -> None:
    await container.upload_blob("both", b"old")
    url = f"{container.url}/both"
    task = Task(id="t", executors=(), inputs=(Input(path="/a", url=url),), outputs=(Output(path="/b", url=url),))
    table = await signer.signed(plan(task, Layout()))

    assert await content(table[url]) == b"old"
    await put(table[url], b"new")
    assert await stored(container, "both") == b"new"


@pytest.mark.parametrize("blob", ["a b/c+d&e=f.txt", "100%25.txt", "é/ü#?.txt", "a//b", "/a", "d/", "~!'()*;:@$,"])
async def test_any_name_can_be_signed(signer: Signer, container: ContainerClient, blob: str) -> None:
    signed = await signer.sign(container.container_name, blob, "rcwd")
    await put(signed, b"x")

    assert await content(signed) == b"x"
    assert [name async for name in container.list_blob_names()] == [blob]


async def test_a_key_signs_for_a_month_and_for_clocks_that_are_behind(azurite: Blobs, container: ContainerClient) -> None:
    await container.upload_blob("b", b"x")
    now = dt.datetime.now(dt.UTC)
    clocks = {dt.timedelta(days=-29): 200, dt.timedelta(days=-31): 403, dt.timedelta(minutes=10): 200}
    for off, expected in clocks.items():
        signer = Signer(azurite.url, ACCOUNT, KEY, reserved="batchtmp", now=lambda off=off: now + off)  # type: ignore[misc]

        assert await status(content(await signer.sign(container.container_name, "b", "r"))) == expected
    assert signer.lifetime_seconds == 30 * 86400


@dataclass(frozen=True, slots=True)
class Secure:
    """An Azurite that is reached by https and knows of identities."""

    url: str
    ca: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def secure(tmp_path_factory: pytest.TempPathFactory, azurite: Blobs) -> AsyncIterator[Secure]:
    """Asks for `azurite` so that it skips where that does."""
    directory = tmp_path_factory.mktemp("secure")
    certificate, key = make_certificates(directory)
    options = ("--oauth", "basic", "--cert", str(certificate), "--key", str(key))
    async with running(directory / "azurite", ACCOUNT, KEY, options=options) as url:
        yield Secure(url, str(directory / "ca.pem"))


async def test_an_identity_signs_with_a_delegation_key(secure: Secure) -> None:
    signer = Signer(secure.url, ACCOUNT, Identity(), reserved="tmp", connection_verify=secure.ca)
    async with ContainerClient(secure.url, "c1c", KEY, connection_verify=secure.ca) as container:
        await container.create_container()
        await container.upload_blob("a b", b"x")
    signed, listed = await signer.sign("c1c", "a b", "r"), await signer.sign_directory("c1c", "")

    assert await content(signed, connection_verify=secure.ca) == b"x"
    assert await names(listed, "", connection_verify=secure.ca) == ["a b"]
    assert await status(put(signed, b"no", connection_verify=secure.ca)) == 403


async def test_a_delegation_key_is_asked_for_once_and_used_for_half_its_life(secure: Secure) -> None:
    identity, now = Identity(), dt.datetime.now(dt.UTC)
    signer = Signer(secure.url, ACCOUNT, identity, reserved="tmp", connection_verify=secure.ca, now=lambda: now)
    first, *others = await asyncio.gather(*(signer.sign("c1c", "b", "r") for _ in range(20)))
    assert identity.asked == 1
    assert {expires(url) for url in others} == {expires(first)}
    assert dt.timedelta(days=6) < expires(first) - now < dt.timedelta(days=7)

    now += dt.timedelta(days=3)
    again = await signer.sign("c1c", "b", "r")
    assert expires(again) == expires(first)
    assert expires(again) - now >= dt.timedelta(seconds=signer.lifetime_seconds)

    now += dt.timedelta(days=1)
    fresh, *_ = await asyncio.gather(*(signer.sign("c1c", "b", "r") for _ in range(20)))
    assert identity.asked == 2
    assert expires(fresh) - now > dt.timedelta(days=6)


async def test_an_account_that_gives_no_delegation_key_makes_the_backend_unavailable(secure: Secure) -> None:
    stranger = secure.url.replace(ACCOUNT, "stranger")
    signer = Signer(stranger, "stranger", Identity(), reserved="tmp", connection_verify=secure.ca)

    with pytest.raises(BackendUnavailable, match="Storage Blob Delegator"):
        await signer.sign("c1c", "b", "r")


def expires(signed: str) -> dt.datetime:
    fields = dict(field.split("=") for field in signed.partition("?")[2].split("&"))
    return dt.datetime.fromisoformat(fields["se"].replace("%3A", ":"))


def at(signed: str, name: str) -> str:
    """The URL of that blob with a container's signature, or with one that is not meant for it."""
    url, _, query = signed.partition("?")
    base = url[: url.index(f"/{ACCOUNT}/") + len(ACCOUNT) + 2]
    return f"{base}{url.removeprefix(base).partition('/')[0]}/{name}?{query}"


async def content(url: str, **options: Any) -> bytes:
    async with BlobClient.from_blob_url(url, **options) as blob:
        return bytes(await (await blob.download_blob()).readall())


async def put(url: str, data: bytes, **options: Any) -> None:
    async with BlobClient.from_blob_url(url, **options) as blob:
        await blob.upload_blob(data, overwrite=True)


async def delete(url: str) -> None:
    async with BlobClient.from_blob_url(url) as blob:
        await blob.delete_blob()


async def names(url: str, prefix: str, **options: Any) -> list[str]:
    plain, _, query = at(url, "").partition("?")
    async with ContainerClient.from_container_url(f"{plain.rstrip('/')}?{query}", **options) as container:
        return [name async for name in container.list_blob_names(name_starts_with=prefix)]


async def stored(container: ContainerClient, name: str) -> bytes:
    return bytes(await (await container.download_blob(name)).readall())


async def status(request: Any) -> int:
    try:
        await request
    except HttpResponseError as error:
        return error.status_code or 0
    return 200
