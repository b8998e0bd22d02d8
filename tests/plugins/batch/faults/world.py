"""A gateway in a process of its own, which can be killed, with a Batch account and a storage container for it alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiodocker
import aiohttp
from azure.batch.aio import BatchClient
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob.aio import ContainerClient
from tesgw_batch.fake_batch import FakeBatch
from tesgw_batch.fake_batch.execution import Command
from tesgw_batch.fake_batch.world import Quotas
from tesgw_batch.fake_batch.zygote import Zygote

from tests.e2e.client import TERMINAL
from tests.plugins.batch.blobs import ACCOUNT, KEY, Blobs
from tests.plugins.batch.faults.gate import Gate

RUNNER = "tesgw-runner:test"
SHARE = "share"
PATIENCE_SECONDS = 180.0  # for machines that are slow or busy
LOOK_SECONDS = 0.5


@dataclass
class Grounds:
    """What all worlds share: processes that have imported the gateway and the runner, the blob storage, the engine."""

    gateways: Zygote
    runners: Zygote
    blobs: Blobs
    docker: aiodocker.Docker
    http: aiohttp.ClientSession
    directory: Path

    @classmethod
    @contextlib.asynccontextmanager
    async def ready(cls, blobs: Blobs, directory: Path) -> AsyncIterator[Grounds]:
        gateways, runners = Zygote("tesgw.cli", ["tesgw.app", "tesgw_batch.world"]), Zygote("tesgw_batch.node.main")
        await asyncio.gather(gateways.start(), runners.start())
        async with aiodocker.Docker() as docker, aiohttp.ClientSession() as http:
            yield cls(gateways, runners, blobs, docker, http, directory)
        await asyncio.gather(gateways.stop(), runners.stop())


@dataclass
class World:
    grounds: Grounds
    home: Path
    batch: FakeBatch
    service: Gate
    """The way to Batch."""
    storage: Gate
    """The way to the storage, also of nodes."""
    blobs: ContainerClient
    account: BatchClient
    """For people who look into the account, or do something there."""
    settings: dict[str, str] = field(default_factory=dict)
    url: str = ""
    _starts: int = 0
    _process: asyncio.Task[int] | None = None

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, grounds: Grounds, **quotas: int) -> AsyncIterator[World]:
        """Nothing is started yet."""
        name = f"faults{uuid4().hex[:12]}"
        home = grounds.directory / name
        home.mkdir()
        programs = {RUNNER: grounds.runners}
        limits = Quotas(**quotas)  # type: ignore[arg-type]  # none of them by family
        batch = FakeBatch(
            home / "batch",
            account=ACCOUNT,
            key=KEY,
            programs=programs,
            variables={"TESGW_SHIELD": "off"},
            mounts=home / "shares",
            quotas=limits,
        )
        async with AsyncExitStack() as opened:
            await batch.start()
            opened.push_async_callback(batch.stop)
            gates = Gate(batch.url), Gate(grounds.blobs.url)
            for gate in gates:
                await gate.open()
                opened.push_async_callback(gate.close)
            blobs = await opened.enter_async_context(grounds.blobs.container(name))
            account = await opened.enter_async_context(BatchClient(batch.url, AzureNamedKeyCredential(ACCOUNT, KEY)))
            world = cls(grounds, home, batch, *gates, blobs, account)
            opened.push_async_callback(world.kill)
            yield world

    # The gateway

    async def start(self, **settings: object) -> None:
        """These settings stay, also for later starts."""
        self.settings |= {name: str(value) for name, value in settings.items()}
        self._starts += 1
        directory = self.home / f"start-{self._starts}"
        (directory / "wd").mkdir(parents=True)
        environment = {f"APP_{name}": value for name, value in {**self._defaults(), **self.settings}.items()}
        command = Command(command_line="", environment=environment, directory=directory, node_root=self.home, container=None)
        self._process = asyncio.create_task(self.grounds.gateways(command, ["serve", "--port", "0"]))
        said = directory / "stdout.txt"
        await self.until(lambda: said.exists() and "\n" in said.read_text())
        self.url = next(word for word in said.read_text().split() if word.startswith("http")).removesuffix("/ga4gh/tes/v1")

    async def kill(self) -> None:
        """As `kill -9` does."""
        if self._process:
            self._process.cancel()
            await asyncio.wait([self._process])
            self._process = None

    async def restart(self, **settings: object) -> None:
        await self.kill()
        await self.start(**settings)

    def log(self) -> str:
        """What the gateway has said since its first start."""
        return "".join(path.read_text() for path in sorted(self.home.glob("start-*/stderr.txt")))

    # Tasks

    async def submit(self, command: str = "true", **fields: Any) -> str:
        """Post a task that leaves a line each time it runs, then does this; its id."""
        step = {"image": "busybox", "command": ["sh", "-c", f"echo ran >> /tes-wd/shared-global/$HOME; {command}"]}
        name = fields.setdefault("name", "task")
        executors = [{**step, "env": {"HOME": name}}]
        return str((await self._ask("POST", "/ga4gh/tes/v1/tasks", {"executors": executors, **fields}))["id"])

    async def task(self, task_id: str, base: str = "/ga4gh/tes/v1") -> dict[str, Any]:
        return await self._ask("GET", f"{base}/tasks/{task_id}?view=FULL")

    async def cancel(self, task_id: str) -> None:
        await self._ask("POST", f"/ga4gh/tes/v1/tasks/{task_id}:cancel")

    async def ended(self, task_id: str, *states: str) -> dict[str, Any]:
        """The task once it has ended, or is in one of these states."""
        found: dict[str, Any] = {}

        async def has_ended() -> bool:
            found.update(await self.task(task_id))
            return found["state"] in TERMINAL | {*states}

        await self.until(has_ended)
        return found

    async def says(self, task_id: str, *words: str) -> dict[str, Any]:
        """The task once its system logs have all of these words in them."""
        found: dict[str, Any] = {}

        async def is_said() -> bool:
            found.update(await self.task(task_id))
            return all(word in system_logs(found) for word in words)

        await self.until(is_said, lambda: f"{words} not in {found}")
        return found

    def ran(self, name: str = "task") -> int:
        """How often the task of this name has begun to run."""
        path = self.shared / name
        return path.read_text().count("ran\n") if path.exists() else 0

    @property
    def shared(self) -> Path:
        """What tasks see as `/tes-wd/shared-global`."""
        return self.home / "shares" / SHARE

    # What is there

    async def left(self, task_id: str) -> list[str]:
        """All that there is of a task: documents, containers, its executors' files, and Batch tasks that have not ended."""
        found = [name async for name in self.blobs.list_blob_names() if task_id in name] if await self.blobs.exists() else []
        found += await self.containers(task_id)
        found += [str(path) for path in self.home.glob(f"batch/nodes/*/workitems/*/*/{task_id}-*/wd/tesgw/jobs/*")]
        async for job in self.account.list_jobs():
            tasks = self.account.list_tasks(job.id)
            found += [task.id async for task in tasks if task_id in task.id and task.state != "completed"]
        return found

    async def containers(self, task_id: str) -> list[str]:
        chosen = json.dumps({"name": [f"^/tesgw-{task_id}-"]})
        listed: list[Any] = await self.grounds.docker.containers.list(all=True, filters=chosen)
        return [str(each["Names"]) for each in listed]

    async def leaves_nothing(self, task_id: str) -> None:
        async def is_clean() -> bool:
            left[:] = await self.left(task_id)
            return not left

        left: list[str] = []
        await self.until(is_clean, lambda: f"left: {left}")

    async def pools(self) -> list[str]:
        return [pool.id async for pool in self.account.list_pools() if pool.state == "active"]

    async def jobs(self) -> list[str]:
        return [job.id async for job in self.account.list_jobs() if job.state == "active"]

    async def until(
        self,
        condition: Callable[[], bool | Awaitable[bool]],
        problem: Callable[[], str] = lambda: "It did not come to this.",
    ) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            answer = condition()
            if answer if isinstance(answer, bool) else await answer:
                return
            if self._process and self._process.done():
                raise AssertionError(f"The gateway has ended.\n{self.log()[-5000:]}")
            if time.monotonic() > end:
                raise AssertionError(f"{problem()}\n{self.log()[-5000:]}")
            await asyncio.sleep(LOOK_SECONDS)

    def _defaults(self) -> dict[str, str]:
        return {
            "COMPUTE_BACKEND": "batch",
            "LOCAL_WORK_DIR": str(self.home / "work"),
            "BATCH_ACCOUNT_NAME": ACCOUNT,
            "BATCH_ACCOUNT_KEY": KEY,
            "BATCH_ACCOUNT_URL": self.service.url,
            "STORAGE_ACCOUNT_NAME": ACCOUNT,
            "STORAGE_ACCOUNT_KEY": KEY,
            "STORAGE_ACCOUNT_URL": self.storage.url,
            "BATCH_STORAGE_TMP_CONTAINER_NAME": str(self.blobs.container_name),
            "BATCH_STORAGE_FILESHARE_NAME": SHARE,
            "FILETRANSFER_CONTAINER_IMAGE": RUNNER,
            "BATCH_POOL_MIN_NODES": "2",
            "BATCH_NETWORK": "none",
            "BATCH_LEASE_SECONDS": "30",
        }

    async def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        async with self.grounds.http.request(method, f"{self.url}{path}", json=body) as answer:
            assert answer.status == 200, await answer.text()
            document: dict[str, Any] = await answer.json()
            return document


def system_logs(task: dict[str, Any]) -> str:
    """Of its last attempt."""
    return "\n".join(task["logs"][-1].get("system_logs") or []) if task.get("logs") else ""
