"""The gateway's documents in storage."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from uuid import uuid4

import msgspec
import pytest
import pytest_asyncio
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob.aio import BlobLeaseClient, ContainerClient
from tesgw_batch import archive as module
from tesgw_batch.archive import Archive, Label
from tesgw_batch.documents import Order, Report, Secrets, decode, encode
from tesgw_batch.mapping import Need

from tesgw import BackendUnavailable, Handle, Observation, State
from tests.plugins.batch.blobs import ACCOUNT, KEY, Blobs
from tests.plugins.batch.gateway import DEDICATED, job

LABEL = Label(DEDICATED, "Name · w1 ☃", 1.5)


@pytest_asyncio.fixture
async def archive(azurite: Blobs) -> AsyncIterator[Archive]:
    archive = made(azurite.url)
    await archive.open()
    yield archive
    await archive.close()


def made(url: str, key: str = KEY, container: str = "") -> Archive:
    credential = AzureNamedKeyCredential(ACCOUNT, key)
    return Archive(ContainerClient(url, container or f"test{uuid4().hex}", credential, retry_total=0))


def order(job_id: str = "task-1") -> Order:
    return Order(job=job(job_id), order_url="o", status_url="s", network="none", lease_seconds=60)


def report(job_id: str = "task-1") -> Report:
    return Report(observation=Observation(handle=Handle(job_id), state=State.RUNNING))


@pytest.mark.parametrize(
    "label",
    [LABEL, Label(Need(pool_id="theirs"), "", 0.0), Label(DEDICATED, 'a"\\\r\n%&', 1e9), Label(DEDICATED, "x" * 256, 2.0)],
)
async def test_a_list_of_orders_tells_what_is_written_on_them(archive: Archive, label: Label) -> None:
    await archive.put(order(), label)
    assert await archive.orders() == {"task-1": label}
    document = await archive.order("task-1")
    assert document
    assert decode(document, Order) == order()


async def test_what_is_no_order_of_ours_is_none(archive: Archive, azurite: Blobs) -> None:
    async with azurite.container(archive.container) as container:
        await container.upload_blob("orders/a", b"")
        await container.upload_blob("orders/b", b"", metadata={"label": "x"})
        await container.upload_blob("orders/c", b"", metadata={"label": "%7B%22need%22%3A1%7D"})
        await container.upload_blob("status/d", b"{")

    assert await archive.orders() == {}
    assert list(await archive.etags()) == ["d"]
    with pytest.raises(msgspec.DecodeError):
        await archive.report("d")


async def test_a_container_may_be_there_already(archive: Archive) -> None:
    await archive.open()


async def test_an_etag_changes_with_its_document(archive: Archive) -> None:
    blob = archive.status("task-1")
    assert (await archive.etags(), await archive.report("task-1")) == ({}, None)
    await blob.upload_blob(encode(report()))
    first = await archive.etags()
    assert await archive.report("task-1") == report()
    assert await archive.etags() == first

    await blob.upload_blob(encode(report()), overwrite=True)
    assert (await archive.etags())["task-1"] != first["task-1"]


async def test_all_documents_of_a_job_are_deleted_and_no_others(archive: Archive) -> None:
    for job_id in ("task-1", "task-11"):
        await archive.put(order(job_id), LABEL)
        await archive.put_secrets(job_id, Secrets(registry_password="x"))
        await archive.status(job_id).upload_blob(encode(report(job_id)))
    for _ in range(2):
        await archive.delete("task-1")

    assert (list(await archive.orders()), list(await archive.etags())) == (["task-11"], ["task-11"])
    assert await archive.order("task-1") is None


async def test_a_document_whose_runner_is_about_to_let_go_of_it_is_deleted(archive: Archive) -> None:
    blob = archive.status("task-1")
    await blob.upload_blob(encode(report()))
    await BlobLeaseClient(blob).acquire(lease_duration=60)
    await archive.delete("task-1")
    assert await archive.etags() == {}


async def test_storage_that_refuses_the_key_is_a_matter_of_the_operator(azurite: Blobs) -> None:
    archive = made(azurite.url, "d3Jvbmc=")
    with pytest.raises(BackendUnavailable, match="STORAGE_ACCOUNT_KEY") as caught:
        await archive.open()
    await archive.close()
    assert "127.0.0.1" not in str(caught.value)


async def test_a_container_that_is_gone_is_unavailable(azurite: Blobs) -> None:
    archive = made(azurite.url)
    with pytest.raises(BackendUnavailable, match="404 ContainerNotFound"):
        await archive.put(order(), LABEL)
    with pytest.raises(BackendUnavailable, match="404 ContainerNotFound"):
        await archive.orders()
    await archive.close()


async def test_storage_that_is_not_there_or_does_not_answer_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/{ACCOUNT}"
        archive = made(url)
        for call in (archive.open(), archive.put(order(), LABEL), archive.order("a"), archive.report("a")):
            with pytest.raises(BackendUnavailable, match="TimeoutError"):
                await call
        await archive.close()
    archive = made(url)
    with pytest.raises(BackendUnavailable, match="cannot be reached: ServiceRequestError"):
        await archive.open()
    await archive.close()
