"""The conformance suite's test world of the Batch backend: the offline double, and Azurite behind a door with faults."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import aiodocker
from azure.batch.aio import BatchClient
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob.aio import BlobServiceClient

from tesgw.conformance import Fault, Harness, engine
from tesgw.conformance.door import SLOW_SECONDS, Door
from tesgw.runner.engine import JOB_LABEL
from tesgw_batch import azurite
from tesgw_batch.fake_batch import FakeBatch
from tesgw_batch.fake_batch.zygote import Zygote

ACCOUNT = "tesgwtest"
KEY = base64.b64encode(b"a key of no account anywhere").decode()
IMAGE_VARIABLE = "TESGW_BATCH_RUNNER_IMAGE"
"""In the environment: the image that nodes start the runner from, as on Azure. Without it this installation stands in for
one, which spares each task the seconds that its imports take."""
RUNNER = "tesgw-runner:test"


class BatchHarness(Harness):
    """Gateways reach storage through the door, and so do the nodes; the harness itself goes straight to it."""

    image: ClassVar[str] = "busybox:latest"
    patience_seconds: ClassVar[float] = 180.0
    most_tasks: ClassVar[int] = 40
    zones: ClassVar[Sequence[str]] = ("westeurope",)
    provision_request: ClassVar[Mapping[str, Any]] = {"vm_size": "standard_d8ads_v5", "preemptible": False}

    def __init__(self) -> None:
        given = os.environ.get(IMAGE_VARIABLE, "")
        self._runner, self._nodes, self._lease_seconds = (given, 4, 20) if given else (RUNNER, 16, 30)

    async def start(self) -> None:
        async with AsyncExitStack() as opened:
            self.directory = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="tesgw-batch-")))
            self._docker = aiodocker.Docker()
            opened.push_async_callback(self._docker.close)
            await self._docker.version()
            url = await opened.enter_async_context(azurite.running(self.directory / "azurite", ACCOUNT, KEY))
            credential = {"account_name": ACCOUNT, "account_key": KEY}
            self._storage = await opened.enter_async_context(BlobServiceClient(url, credential=credential))
            where = urlsplit(url)
            self._door = Door(lambda: asyncio.open_connection(where.hostname, where.port))
            await self._door.open()
            opened.push_async_callback(self._door.close)
            await self._start_batch(opened)
            self._opened = opened.pop_all()

    async def _start_batch(self, opened: AsyncExitStack) -> None:
        runner = Zygote("tesgw_batch.node.main")
        await runner.start()
        opened.push_async_callback(runner.stop)
        self.batch = FakeBatch(
            self.directory / "batch",
            account=ACCOUNT,
            key=KEY,
            programs={RUNNER: runner},
            variables={"TESGW_SHIELD": "off"},  # this machine's firewall is no node's
            mounts=self.directory / "shares",
        )
        await self.batch.start()
        opened.push_async_callback(self.batch.stop)

    async def stop(self) -> None:
        await self._opened.aclose()

    def settings(self, directory: Path) -> Mapping[str, Any]:
        name = _name(directory)
        return {
            "LOCAL_WORK_DIR": directory,
            "BATCH_ACCOUNT_NAME": ACCOUNT,
            "BATCH_ACCOUNT_KEY": KEY,
            "BATCH_ACCOUNT_URL": self.batch.url,
            "BATCH_REGION": self.zones[0],
            "STORAGE_ACCOUNT_NAME": ACCOUNT,
            "STORAGE_ACCOUNT_KEY": KEY,
            "STORAGE_ACCOUNT_URL": f"{self._door.url}/{ACCOUNT}",
            "BATCH_STORAGE_TMP_CONTAINER_NAME": name,
            "BATCH_STORAGE_FILESHARE_NAME": name,
            "FILETRANSFER_CONTAINER_IMAGE": self._runner,
            "BATCH_POOL_DEDICATED_NODE_COUNT": self._nodes,
            "BATCH_POOL_LOW_PRIORITY_NODE_COUNT": 2,
            "BATCH_POOL_MIN_NODES": self._nodes,
            "BATCH_NETWORK": "none",
            "BATCH_LEASE_SECONDS": self._lease_seconds,
        }

    def shared_global(self, directory: Path) -> Path:
        return self.directory / "shares" / _name(directory)

    async def running(self, job_id: str) -> int:
        return await engine.running(self._docker, job_id)

    async def left(self, directory: Path, job_id: str) -> Sequence[str]:
        container = self._storage.get_container_client(_name(directory))
        blobs = [name async for name in container.list_blob_names() if name.endswith(f"/{job_id}")]
        files = [str(path) for path in (self.directory / "batch").glob(f"nodes/*/workitems/*/*/{job_id}/wd/tesgw/jobs/*")]
        return [*blobs, *files, *await engine.containers(self._docker, label=f"{JOB_LABEL}={job_id}")]

    @asynccontextmanager
    async def fault(self, fault: Fault) -> AsyncIterator[None]:
        if fault is Fault.NODE_LOST:
            await self.batch.faults.lose_nodes()
            yield
        elif fault is Fault.PREEMPTED:
            await self._take_spot_nodes_away()
            yield
        else:
            async with self._service_fault(fault):
                yield

    @asynccontextmanager
    async def _service_fault(self, fault: Fault) -> AsyncIterator[None]:
        await self._door.stand(fault)
        faults = self.batch.faults
        begin: Mapping[Fault, Callable[[], None]] = {
            Fault.SLOW: partial(faults.slow, times=None, seconds=SLOW_SECONDS),
            Fault.THROTTLED: partial(faults.throttled, times=None),
            Fault.REFUSING: partial(faults.refusing, times=None),
            Fault.DOWN: faults.down,
        }
        begin[fault]()
        try:
            yield
        finally:
            faults.lift()
            await self._door.stand(None)

    async def _take_spot_nodes_away(self) -> None:
        async with BatchClient(self.batch.url, AzureNamedKeyCredential(ACCOUNT, KEY)) as client:
            async for pool in client.list_pools():
                async for node in client.list_nodes(pool.id):
                    if not node.is_dedicated:
                        await self.batch.faults.preempt(node.id)

    async def other_image(self, kind: str) -> str:
        return await engine.other_image(self._docker, self.image, kind)


def _name(directory: Path) -> str:
    """Of the container and the share of the gateway that keeps its files in this directory."""
    return f"tes{hashlib.sha256(str(directory).encode()).hexdigest()[:12]}"
