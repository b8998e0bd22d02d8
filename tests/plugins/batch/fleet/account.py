"""Accounts that outlive gateways; the runner is a coroutine that writes status documents."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob.aio import BlobClient, ContainerClient
from tesgw_batch import BatchBackend, claims
from tesgw_batch.archive import Label
from tesgw_batch.documents import Order, Report, decode
from tesgw_batch.fake_batch import FakeBatch
from tesgw_batch.fake_batch.execution import Command
from tesgw_batch.settings import SETTINGS

from tesgw import Handle, Observation, State
from tesgw.backends import Context
from tests.plugins.batch.blobs import Blobs
from tests.plugins.batch.fake_batch.double import KEY as BATCH_KEY
from tests.plugins.batch.fake_batch.double import Double, until
from tests.plugins.batch.gateway import job

ADD = "POST /jobs/{jobId}/addtaskcollection"
REGISTRY = {"URL": "example.azurecr.io", "USERNAME": "puller", "PASSWORD": "registry-password"}
Part = Callable[["Play"], Awaitable[int]]


class Play:
    """What a runner has."""

    def __init__(self, order: Order, status: BlobClient, command: Command) -> None:
        self.order = order
        self.status = status
        self.command = command

    def report(self, state: State) -> Report:
        node = self.command.environment["AZ_BATCH_NODE_ID"]
        return Report(node=node, observation=Observation(handle=Handle(self.order.job.id), state=state))


async def complete(play: Play) -> int:
    await claims.create(play.status, play.report(State.COMPLETE))
    return 0


async def silent(play: Play) -> int:
    (play.command.directory / "stderr.txt").write_text("Something is missing here.")
    return 3


async def garbage(play: Play) -> int:
    await play.status.upload_blob(b"{")
    await asyncio.Event().wait()
    return 0


async def run(play: Play) -> int:
    """Until somebody takes the claim away."""
    if not await claims.create(play.status, play.report(State.RUNNING)):
        return 0
    claim = await claims.acquire(play.status, 15)
    while True:
        try:
            await claim.renew()
        except claims.Lost:
            await claim.release()
            return 0
        await asyncio.sleep(0.1)


class Runners:
    """The program of the runner's image: plays `parts` by job id. `started` are the job ids of all runs."""

    def __init__(self) -> None:
        self.parts: dict[str, Part] = {}
        self.started: list[str] = []

    async def __call__(self, command: Command, argv: list[str]) -> int:
        self.started.append(command.environment["AZ_BATCH_TASK_ID"])
        async with BlobClient.from_blob_url(command.environment["TESGW_ORDER_URL"]) as blob:
            try:
                order = decode(await (await blob.download_blob()).readall(), Order)
            except ResourceNotFoundError:
                return 0
        async with BlobClient.from_blob_url(order.status_url) as status:
            return await self.parts.get(order.job.id, complete)(Play(order, status, command))


class Gateway:
    """A backend whose loops are quick."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.backend = BatchBackend()
        self.changed: list[str] = []
        self.context = Context("batch", settings, lambda handle: self.changed.append(handle.job_id))

    async def submit(self, job_id: str, **fields: Any) -> Handle:
        return await self.backend.submit(ctx=self.context, job=job(job_id, **fields))

    async def observe(self, job_id: str) -> Observation:
        (seen,) = await self.backend.poll(ctx=self.context, handles=[Handle(job_id)])
        return seen

    async def cancel(self, job_id: str) -> None:
        await self.backend.cancel(ctx=self.context, handle=Handle(job_id))

    async def until(self, job_id: str, *states: State) -> Observation:
        async def is_so() -> bool:
            return (await self.observe(job_id)).state in states

        await until(is_so)
        return await self.observe(job_id)


class Account:
    """What outlives gateways."""

    def __init__(self, double: Double, runners: Runners, blobs: Blobs, container: ContainerClient) -> None:
        self.double = double
        self.batch: FakeBatch = double.batch
        self.runners = runners
        self.container = container
        self._gateways: list[Gateway] = []
        self._settings = {
            **{each.name: each.default for each in SETTINGS},
            **{f"PRIVATE_DOCKER_REGISTRY_{part}": "" for part in REGISTRY},
            "BATCH_ACCOUNT_NAME": self.batch.account,
            "BATCH_ACCOUNT_KEY": BATCH_KEY,
            "BATCH_ACCOUNT_URL": self.batch.url,
            "BATCH_OVERRIDE_POOL_ID": "theirs",
            "STORAGE_ACCOUNT_NAME": blobs.account,
            "STORAGE_ACCOUNT_KEY": blobs.key,
            "STORAGE_ACCOUNT_URL": blobs.url,
            "BATCH_STORAGE_TMP_CONTAINER_NAME": container.container_name,
            "FILETRANSFER_CONTAINER_IMAGE": "runner",
        }

    def gateway(self, **settings: Any) -> Gateway:
        self._gateways.append(gateway := Gateway({**self._settings, **settings}))
        return gateway

    async def restarted(self, gateway: Gateway, **settings: Any) -> Gateway:
        await gateway.context.close()
        return self.gateway(**settings)

    async def close(self) -> None:
        for gateway in self._gateways:
            await gateway.context.close()

    async def blobs(self) -> list[str]:
        return [name async for name in self.container.list_blob_names()]

    async def until_left(self, *blobs: str) -> None:
        async def is_so() -> bool:
            return await self.blobs() == sorted(blobs)

        await until(is_so)

    async def tasks(self) -> list[str]:
        jobs = [each.id async for each in self.double.client.list_jobs() if each.state == "active"]
        return sorted([each.id or "" for each_job in jobs async for each in self.double.client.list_tasks(each_job)])

    async def age(self, job_id: str) -> Label:
        """Have an order's signatures expire soon."""
        blob = self.container.get_blob_client(f"orders/{job_id}")
        label = await self.label(job_id)
        old = Label(label.need, label.shown, label.signed_at - 16 * 86_400)
        await blob.set_blob_metadata(old.as_metadata())
        return old

    async def label(self, job_id: str) -> Label:
        properties = await self.container.get_blob_client(f"orders/{job_id}").get_blob_properties()
        label = Label.of_metadata(properties.metadata)
        assert label
        return label

    async def read(self, name: str) -> bytes:
        return bytes(await (await self.container.download_blob(name)).readall())


def said(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(each.getMessage() for each in caplog.records)
