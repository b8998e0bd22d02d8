"""The double with Microsoft's SDK as its client, a clock that is turned, and programs instead of images."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from azure.batch import models
from azure.batch.aio import BatchClient
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import HttpResponseError
from tesgw_batch.fake_batch import FakeBatch
from tesgw_batch.fake_batch.execution import Command

ACCOUNT = "testaccount"
KEY = base64.b64encode(b"a key that is no secret").decode()
VM = {
    "imageReference": {"publisher": "microsoft-dsvm", "offer": "ubuntu-hpc", "sku": "2404", "version": "latest"},
    "nodeAgentSKUId": "batch.node.ubuntu 24.04",
    "containerConfiguration": {"type": "dockerCompatible"},
}
FORMULA = "$TargetDedicatedNodes = max($PendingTasks.GetSample(TimeInterval_Second * 90));"
SIZE = "standard_d4ads_v5"  # 4 cores


class Double:
    """`started` holds the task and node of each run of a program. Programs: `quick` is done at once, `endless` never is,
    `gated` when `gate` is set, `failing` fails, `stubborn` takes until then to end when it is killed."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.started: list[tuple[str, str]] = []
        self.gate = asyncio.Event()
        programs = {
            "quick": self._quick,
            "endless": self._endless,
            "gated": self._gated,
            "failing": self._failing,
            "stubborn": self._stubborn,
        }
        self.mounts = directory / "shares"
        self.batch = FakeBatch(
            directory / "batch", account=ACCOUNT, key=KEY, mounts=self.mounts, programs=programs, **options
        )
        self.clock = self.batch.clock
        self.client: BatchClient

    @classmethod
    @asynccontextmanager
    async def running(cls, directory: Path, **options: Any) -> AsyncIterator[Double]:
        double = cls(directory, **options)
        await double.batch.start()
        try:
            async with BatchClient(double.batch.url, AzureNamedKeyCredential(ACCOUNT, KEY), retry_total=0) as double.client:
                yield double
        finally:
            double.gate.set()
            await double.batch.stop()

    async def pool(self, pool_id: str = "pool", **fields: Any) -> None:
        """With a node, unless it says otherwise."""
        size = {} if fields.get("enableAutoScale") else {"targetDedicatedNodes": 1}
        await self.client.create_pool(pool(pool_id, **{**size, **fields}))  # type: ignore[arg-type]  # a wire form

    async def job(self, job_id: str = "job", pool_id: str = "pool", **fields: Any) -> None:
        await self.client.create_job({"id": job_id, "poolInfo": {"poolId": pool_id}, **fields})  # type: ignore[arg-type]  # a wire form

    async def add(self, *tasks: dict[str, Any], job_id: str = "job") -> None:
        for task in tasks:
            await self.client.create_task(job_id, task)  # type: ignore[arg-type]  # a wire form

    async def task(self, task_id: str = "task", job_id: str = "job") -> models.BatchTask:
        return await self.client.get_task(job_id, task_id)

    async def nodes(self, pool_id: str = "pool") -> list[models.BatchNode]:
        return [node async for node in self.client.list_nodes(pool_id)]

    async def states(self, job_id: str = "job") -> dict[str, str]:
        return {task.id: _word(task.state) async for task in self.client.list_tasks(job_id)}

    async def until_task(self, state: str, task_id: str = "task", job_id: str = "job") -> models.BatchTask:
        async def look() -> bool:
            return (await self.task(task_id, job_id)).state == state

        await until(look)
        return await self.task(task_id, job_id)

    async def until_nodes(self, *states: str, pool_id: str = "pool") -> list[models.BatchNode]:
        """Exactly such nodes, and the pool is steady."""

        async def look() -> bool:
            steady = (await self.client.get_pool(pool_id)).allocation_state == "steady"
            return steady and sorted(_word(node.state) for node in await self.nodes(pool_id)) == sorted(states)

        await until(look)
        return await self.nodes(pool_id)

    async def _quick(self, command: Command, argv: Sequence[str]) -> int:
        self._note(command)
        return 0

    async def _failing(self, command: Command, argv: Sequence[str]) -> int:
        self._note(command)
        return 7

    async def _endless(self, command: Command, argv: Sequence[str]) -> int:
        self._note(command)
        await asyncio.Event().wait()
        return 0

    async def _gated(self, command: Command, argv: Sequence[str]) -> int:
        self._note(command)
        await self.gate.wait()
        return 0

    async def _stubborn(self, command: Command, argv: Sequence[str]) -> int:
        try:
            return await self._endless(command, argv)
        finally:
            await self.gate.wait()

    def _note(self, command: Command) -> None:
        self.started.append((command.environment["AZ_BATCH_TASK_ID"], command.environment["AZ_BATCH_NODE_ID"]))


def _word(state: Any) -> str:
    """Of an enum, which the SDK gives back as such."""
    return str(getattr(state, "value", state))


def pool(pool_id: str = "pool", **fields: Any) -> dict[str, Any]:
    return {"id": pool_id, "vmSize": SIZE, "virtualMachineConfiguration": VM, **fields}


def scaling(formula: str = FORMULA, minutes: float = 5) -> dict[str, Any]:
    return {
        "enableAutoScale": True,
        "autoScaleFormula": formula,
        "autoScaleEvaluationInterval": f"PT{timedelta(minutes=minutes).total_seconds():.0f}S",
    }


def task(task_id: str = "task", program: str = "quick", **fields: Any) -> dict[str, Any]:
    return {"id": task_id, "commandLine": "run", "containerSettings": {"imageName": program}, **fields}


def code(error: HttpResponseError) -> str:
    """Azure's word for what is wrong."""
    model: Any = error.model
    return str(model.code)


def details(error: HttpResponseError) -> dict[str, str]:
    model: Any = error.model
    return {each.key: each.value for each in model.error_values}


async def until(look: Callable[[], Awaitable[object]], seconds: float = 30) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(seconds):
        while not await look():  # noqa: ASYNC110 - the state of a service is asked for
            await asyncio.sleep(0.01)


def holds(directory: Path, *names: str) -> Callable[[], Awaitable[bool]]:
    """Whether these are the files of it."""

    async def look() -> bool:
        return set(os.listdir(directory)) == set(names)

    return look
