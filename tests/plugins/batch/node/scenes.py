"""Attempts that are disturbed. Much of this is waiting for leases to end, so all scenes run side by side."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shlex
import signal
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from azure.core.exceptions import ResourceExistsError
from azure.storage.blob.aio import BlobLeaseClient
from tesgw_batch import claims
from tesgw_batch.node.start_task import start_task_command

from tesgw import Job, Observation
from tests.plugins.batch.node.bench import LEASE_SECONDS, POOL, Bench, containers, until_not
from tests.runner.conftest import docker, make_job, sh

# Each start of an executor leaves a line; SIGTERM ends it at once, as `sleep` alone would not.
STEPS = "echo started >> /tes-wd/shared-global/starts; echo so far; trap 'exit 9' TERM; sleep 1000 & wait"


@dataclasses.dataclass
class Seen:
    """What came of a scene."""

    last: Observation
    starts: int
    left: list[str]
    """Containers."""
    seconds: float = 0.0
    """How long what had to happen took."""
    said: str = ""
    before: Observation | None = None
    extra: Any = None


class Scene:
    """A job that runs until it is stopped, on a node with a file share."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.job: Job = make_job(sh(STEPS))

    def share(self, node: str) -> Path:
        share = self.bench.node(self.job, node).file_share
        share.mkdir(exist_ok=True)
        return share

    async def started(self, begin: Callable[..., Awaitable[Any]], node: str) -> Any:
        """A runner whose executor has said something that is reported."""
        self.share(node)
        runner = await begin(self.job, await self.bench.order(self.job), node)
        await self.bench.until(self.job, lambda seen: seen.executors and seen.executors[0].stdout)
        return runner

    async def seen(self, *nodes: str, **fields: Any) -> Seen:
        starts = sum((self.share(node) / "starts").read_text().count("\n") for node in nodes)
        left = await asyncio.to_thread(containers, self.job.id)
        return Seen(await self.bench.observe(self.job), starts, left, **fields)


async def a_second_run_while_the_first_lives(bench: Bench) -> Seen:
    scene = Scene(bench)
    first = await scene.started(bench.start, "twice1")
    second = await bench.start(scene.job, bench.url(f"orders/{scene.job.id}"), "twice2")
    codes = [(await runner.ended())[0] for runner in (first, second)]
    return await scene.seen("twice1", extra=codes)


async def a_second_run_after_the_first_was_killed(bench: Bench) -> Seen:
    scene = Scene(bench)
    first = await scene.started(bench.start, "killed")
    first.send(signal.SIGKILL)
    await first.ended()
    began = time.monotonic()
    second = await bench.start(scene.job, bench.url(f"orders/{scene.job.id}"), "killed")
    await second.ended()
    return await scene.seen("killed", seconds=time.monotonic() - began)


async def a_cancel(bench: Bench) -> Seen:
    scene = Scene(bench)
    runner = await scene.started(bench.start, "cancel")
    began = time.monotonic()
    claim = await claims.take(bench.status(scene.job), LEASE_SECONDS)
    seconds = time.monotonic() - began
    seen = await scene.seen("cancel", seconds=seconds)
    await runner.ended()
    await claim.release()
    return seen


async def a_terminated_runner(bench: Bench) -> Seen:
    scene = Scene(bench)
    runner = await scene.started(bench.start, "term")
    runner.send(signal.SIGTERM)
    code, said = await runner.ended()
    return await scene.seen("term", said=said, extra=code)


async def a_node_without_storage(bench: Bench) -> Seen:
    """The storage is cut off until the containers are gone; somebody else tries to take the lease all the while."""
    scene = Scene(bench)
    async with dataclasses.replace(bench).through_proxy() as proxy:
        scene.bench = dataclasses.replace(bench, blobs=proxy.blobs)
        runner = await scene.started(scene.bench.start, "cut")
        await proxy.cut()
        began = time.monotonic()
        await until_not(partial(containers, scene.job.id))
        seconds = time.monotonic() - began
        is_free = await _is_free(bench, scene.job)
        proxy.mend()
        await runner.ended()
    scene.bench = bench
    return await scene.seen("cut", seconds=seconds, extra=is_free)


async def _is_free(bench: Bench, job: Job) -> bool:
    with contextlib.suppress(ResourceExistsError):
        await BlobLeaseClient(bench.status(job)).acquire(LEASE_SECONDS)
        return True
    return False


async def a_runner_that_hangs(bench: Bench) -> Seen:
    """With the guard on its node. Going on, the runner must not say that the task failed."""
    scene = Scene(bench)
    runner = await scene.started(bench.start, "hang")
    await start_guard(bench, scene.job, "hang")
    runner.send(signal.SIGSTOP)
    began = time.monotonic()
    await until_not(partial(containers, scene.job.id))
    seconds = time.monotonic() - began
    claim = await claims.take(bench.status(scene.job), LEASE_SECONDS)
    runner.send(signal.SIGCONT)
    await runner.ended()
    seen = await scene.seen("hang", seconds=seconds)
    await claim.release()
    return seen


async def a_guarded_node(bench: Bench) -> Seen:
    """Two runners on it, one of which is killed; and a container of the same job that another gateway made."""
    scene, other = Scene(bench), Scene(bench)
    dead, alive = await asyncio.gather(*(each.started(bench.start, "guard") for each in (scene, other)))
    foreign = await asyncio.to_thread(_foreign_container, scene.job.id)
    await start_guard(bench, scene.job, "guard")
    dead.send(signal.SIGKILL)
    await until_not(bench.heartbeat(scene.job.id, "guard").exists)
    left = await asyncio.to_thread(containers, scene.job.id)
    spared = await asyncio.to_thread(containers, other.job.id)
    alive.send(signal.SIGTERM)
    await alive.ended()
    return await scene.seen("guard", extra=(left == [foreign], len(spared)))


def _foreign_container(job_id: str) -> str:
    labels = ("--label", f"tesgw.job={job_id}", "--label", f"tesgw.instance={POOL}/other")
    return docker("create", *labels, "busybox", "true")[:12]


async def start_guard(bench: Bench, job: Job, node: str) -> None:
    """What the pool's start task does on a node, but for its firewall."""
    command = start_task_command(LEASE_SECONDS)
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TESGW_SHIELD": "off", **bench.environment(job.id, node)}
    assert await run_command(command, environment) == 0


async def run_command(command: str, environment: dict[str, str]) -> int:

    process = await asyncio.create_subprocess_exec(*shlex.split(command), env=environment)
    return await process.wait()


SCENES = (
    a_second_run_while_the_first_lives,
    a_second_run_after_the_first_was_killed,
    a_cancel,
    a_terminated_runner,
    a_node_without_storage,
    a_runner_that_hangs,
    a_guarded_node,
)
