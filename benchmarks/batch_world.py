"""A Batch account whose nodes run nothing: each task is told of as it would be if its executors did nothing at once."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from typing import Any

from azure.batch.aio import BatchClient
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob.aio import ContainerClient
from tesgw_batch import claims
from tesgw_batch.documents import STATUS, Report, encode
from tesgw_batch.fake_batch import FakeBatch
from tesgw_batch.fake_batch.execution import Command
from tesgw_batch.fake_batch.world import Quotas

from tesgw import ExecutorLog, Handle, Observation, State

ACCOUNT = "tesgwbench"
KEY = base64.b64encode(b"a key of no account anywhere").decode()
CONTAINER = "bench"
IMAGE = "tesgw-nothing"
POOL = "bench"
CORES, SLOTS = 64, 256
WRITES_AT_ONCE = 32


class Nothing:
    """The program in the runner's place. With `is_held`, tasks run until `let_go`; else they are complete at once."""

    def __init__(self, container: ContainerClient, *, is_held: bool) -> None:
        self.running: dict[str, asyncio.Event] = {}
        """By job id, of those that are held."""
        self.told_at: dict[str, float] = {}
        """When the last word on a job was written, by `time.monotonic`."""
        self._container = container
        self._is_held = is_held
        self._slots = asyncio.Semaphore(WRITES_AT_ONCE)

    async def __call__(self, command: Command, argv: Sequence[str]) -> int:
        job_id, node = command.environment["AZ_BATCH_TASK_ID"], command.environment["AZ_BATCH_NODE_ID"]
        blob = self._container.get_blob_client(STATUS + job_id)
        started = datetime.now(UTC)
        if self._is_held:
            async with self._slots:
                assert await claims.create(blob, _report(job_id, node, started, State.RUNNING))
            go = self.running[job_id] = asyncio.Event()
            await go.wait()
            del self.running[job_id]
        async with self._slots:
            last = encode(_report(job_id, node, started, State.COMPLETE))
            await blob.upload_blob(last, overwrite=self._is_held)
        self.told_at[job_id] = time.monotonic()
        return 0

    def let_go(self, *job_ids: str) -> None:
        for job_id in job_ids:
            self.running[job_id].set()


@asynccontextmanager
async def account(directory: Path, program: Nothing, tasks: int) -> AsyncIterator[FakeBatch]:
    """With a pool `POOL` that runs so many tasks at once."""
    nodes = ceil(tasks / SLOTS)
    quotas = Quotas(dedicated_cores=nodes * CORES)
    batch = FakeBatch(
        directory, account=ACCOUNT, key=KEY, programs={IMAGE: program}, mounts=directory / "shares", quotas=quotas
    )
    await batch.start()
    try:
        async with BatchClient(batch.url, AzureNamedKeyCredential(ACCOUNT, KEY)) as client:
            await client.create_pool(_pool(nodes))  # type: ignore[arg-type]  # the wire form will do
        batch.requests.clear()
        yield batch
    finally:
        await batch.stop()


def settings(batch: FakeBatch, storage_url: str) -> Mapping[str, str]:
    """Of a gateway whose tasks all go to that pool."""
    return {
        "BATCH_ACCOUNT_NAME": ACCOUNT,
        "BATCH_ACCOUNT_KEY": KEY,
        "BATCH_ACCOUNT_URL": batch.url,
        "BATCH_OVERRIDE_POOL_ID": POOL,
        "STORAGE_ACCOUNT_NAME": ACCOUNT,
        "STORAGE_ACCOUNT_KEY": KEY,
        "STORAGE_ACCOUNT_URL": storage_url,
        "BATCH_STORAGE_TMP_CONTAINER_NAME": CONTAINER,
        "FILETRANSFER_CONTAINER_IMAGE": IMAGE,
    }


def _pool(nodes: int) -> dict[str, Any]:
    image = {"publisher": "microsoft-dsvm", "offer": "ubuntu-hpc", "sku": "2404", "version": "latest"}
    machine = {
        "imageReference": image,
        "nodeAgentSKUId": "batch.node.ubuntu 24.04",
        "containerConfiguration": {"type": "dockerCompatible"},
    }
    sizes = {"vmSize": f"standard_d{CORES}ads_v5", "taskSlotsPerNode": SLOTS, "targetDedicatedNodes": nodes}
    return {"id": POOL, **sizes, "virtualMachineConfiguration": machine}


def _report(job_id: str, node: str, started: datetime, state: State) -> Report:
    ended, code = (datetime.now(UTC), 0) if state is State.COMPLETE else (None, None)
    log = ExecutorLog(start_time=started, end_time=ended, exit_code=code)
    seen = Observation(handle=Handle(job_id), state=state, start_time=started, end_time=ended, executors=(log,))
    return Report(node=node, observation=seen)
