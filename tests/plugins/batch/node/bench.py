"""Attempts to be run as on a node: orders in blob storage, and directories as Azure Batch makes them."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob.aio import BlobClient, ContainerClient
from tesgw_batch import claims
from tesgw_batch.documents import ORDERS, SECRETS, STATUS, Order, Report, Secrets, encode
from tesgw_batch.node.main import main, run
from tesgw_batch.node.node import Node

from tesgw import Job, Observation
from tests.plugins.batch.blobs import Blobs
from tests.runner.conftest import docker

LEASE_SECONDS = 15
PATIENCE_SECONDS = 120  # for machines that are slow or busy
POOL = "pool"
WAIT = "until [ -e /tes-wd/go ]; do sleep 0.05; done"


# Importing the runner takes seconds of CPU: once is enough.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tesgw_batch.node.main", __name__])


class Process:
    """A runner in a process of its own, and what it said."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        self._process = _FORKS.Process(target=_become, args=(dict(environment), log), daemon=True)
        self._process.start()

    def send(self, number: signal.Signals) -> None:
        assert self._process.pid
        if self._process.is_alive():
            os.kill(self._process.pid, number)

    async def ended(self) -> tuple[int | None, str]:
        """Exit code, and stderr."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self._process.is_alive():  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        return self._process.exitcode, self._log.read_text()


def _become(environment: dict[str, str], log: Path) -> NoReturn:
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os.environ.clear()
    os.environ.update(environment)
    sys.exit(main(["run"]))


class Proxy:
    """The way to the storage, which can be cut; `before` is awaited before anything is sent there."""

    def __init__(self, blobs: Blobs) -> None:
        self.blobs = blobs
        self._target = urlsplit(blobs.url)
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_cut = False
        self.before: Callable[[bytes], Awaitable[None]] | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.blobs = replace(self.blobs, url=f"http://127.0.0.1:{port}{self._target.path}")

    async def stop(self) -> None:
        self._server.close()
        await self.cut()

    async def cut(self) -> None:
        self._is_cut = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def mend(self) -> None:
        self._is_cut = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            if not self._is_cut:
                await self._relay(reader, writer)
        except (asyncio.CancelledError, OSError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(reader, there_writer, self.before))
                group.create_task(self._copy(there_reader, writer, None))
        finally:
            there_writer.close()

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, before: Callable[[bytes], Awaitable[None]] | None
    ) -> None:
        while data := await reader.read(1 << 16):
            if before:
                await before(data)
            writer.write(data)
            await writer.drain()
        writer.close()


@dataclass
class Bench:
    """One gateway's container, without the gateway."""

    blobs: Blobs
    container: ContainerClient
    root: Path
    lease_seconds: int = LEASE_SECONDS
    started: list[Process] = field(default_factory=list)
    running: list[asyncio.Task[None]] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)

    def environment(self, job_id: str, node: str = "node1") -> dict[str, str]:
        """Of a runner on a node, whose directories are made."""
        root = self.root / node
        task = root / "workitems" / job_id / "wd"
        for directory in (task, root / "shared" / "tesgw" / "heartbeats", root / "fsmounts"):
            directory.mkdir(parents=True, exist_ok=True)
        (root / "shared" / "tesgw" / "ready").touch()
        return {
            "AZ_BATCH_TASK_WORKING_DIR": str(task),
            "AZ_BATCH_NODE_ID": node,
            "AZ_BATCH_POOL_ID": POOL,
            "AZ_BATCH_NODE_SHARED_DIR": str(root / "shared"),
            "AZ_BATCH_NODE_MOUNTS_DIR": str(root / "fsmounts"),
        }

    def heartbeat(self, job_id: str, node: str = "node1") -> Path:
        return self.root / node / "shared" / "tesgw" / "heartbeats" / job_id

    def url(self, name: str, permissions: str = "racwdl") -> str:
        return self.blobs.signed(self.container.container_name, permissions, name)

    @contextlib.asynccontextmanager
    async def through_proxy(self) -> AsyncIterator[Proxy]:
        """From now on, orders name the storage by a proxy's address."""
        proxy = Proxy(self.blobs)
        await proxy.start()
        direct, self.blobs = self.blobs, proxy.blobs
        try:
            yield proxy
        finally:
            self.blobs = direct
            await proxy.stop()

    def node(self, job: Job, node: str = "node1") -> Node:
        return Node.of(self.environment(job.id, node))

    def go(self, job: Job, node: str = "node1") -> None:
        """Let executors go on that wait for it: see `WAIT`."""
        (self.node(job, node).work_dir / "jobs" / job.id / "tree" / "tes-wd" / "go").touch()

    async def order(self, job: Job, *, secrets: Secrets | None = None, **changes: Any) -> str:
        """The URL of the order for a job, with what its URLs are signed for; written again if there is one."""
        values: dict[str, Any] = {
            "job": job,
            "order_url": self.url(ORDERS + job.id),
            "status_url": self.url(STATUS + job.id),
            "secrets_url": self.url(SECRETS + job.id) if secrets else "",
            "signed": self.signed(job),
            "network": "none",
            "lease_seconds": self.lease_seconds,
        }
        if secrets:
            await self.put(SECRETS + job.id, encode(secrets))
        await self.put(ORDERS + job.id, encode(Order(**{**values, **changes})))
        self.jobs.append(job.id)
        return self.url(ORDERS + job.id)

    def signed(self, job: Job, permissions: str = "racwdl") -> Mapping[str, str]:
        urls = [*(item.url for item in job.inputs), *(item.url for item in job.outputs)]
        return {url: self.url(url.removeprefix("az://data/"), permissions) for url in urls if url}

    async def put(self, name: str, data: bytes) -> None:
        await self.container.upload_blob(name, data, overwrite=True)

    async def get(self, name: str) -> bytes:
        return await (await self.container.download_blob(name)).readall()

    def status(self, job: Job) -> BlobClient:
        return self.container.get_blob_client(STATUS + job.id)

    async def report(self, job: Job) -> Report:
        return await claims.read(self.status(job))

    async def observe(self, job: Job) -> Observation:
        return (await self.report(job)).observation

    async def until(self, job: Job, is_so: Callable[[Observation], object]) -> Observation:
        """How the job is as soon as that is so."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                with contextlib.suppress(ResourceNotFoundError):
                    observation = await self.observe(job)
                    if is_so(observation):
                        return observation
                await asyncio.sleep(0.05)

    def begin(self, job: Job, url: str, node: str = "node1") -> asyncio.Task[None]:
        """A runner in this process, which is quicker."""
        self.running.append(asyncio.create_task(run(self.node(job, node), url)))
        return self.running[-1]

    async def start(self, job: Job, url: str, node: str = "node1") -> Process:
        """A runner as Azure Batch starts it."""
        environment = {**self.environment(job.id, node), "TESGW_ORDER_URL": url}
        log = self.root / node / f"{job.id}-{len(self.started)}.stderr"
        self.started.append(await asyncio.to_thread(Process, environment, log))
        return self.started[-1]

    def clean(self) -> None:
        for process in self.started:
            process.send(signal.SIGKILL)
        for shared in self.root.glob("*/shared"):  # which ends the guard
            shutil.rmtree(shared)
        for job_id in self.jobs:
            if found := containers(job_id):
                docker("rm", "--force", "--volumes", *found)


async def until_not(is_so: Callable[[], object]) -> None:
    """Wait for the end of something that takes a thread to find out."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await asyncio.to_thread(is_so):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.1)


def containers(job_id: str) -> list[str]:
    """The ids of a job's containers."""
    return docker("ps", "--all", "--quiet", "--filter", f"label=tesgw.job={job_id}").split()


@contextlib.asynccontextmanager
async def open_bench(blobs: Blobs, container: ContainerClient, root: Path) -> AsyncIterator[Bench]:
    bench = Bench(blobs, container, root)
    try:
        yield bench
    finally:
        for task in bench.running:
            task.cancel()
        await asyncio.gather(*bench.running, return_exceptions=True)
        await asyncio.to_thread(bench.clean)
        await asyncio.gather(*(process.ended() for process in bench.started))
