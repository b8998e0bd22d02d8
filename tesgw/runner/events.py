"""How containers end: one subscription to the engine's events, one future for each container that somebody waits for."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiodocker
import aiohttp

from tesgw.runner.faults import EngineGone

log = logging.getLogger(__name__)

# What a program dies of when its engine goes away: SIGKILL, SIGTERM, and the code of one whose end nobody saw.
_KILLED = frozenset({137, 143, 255})
_RECHECK_SECONDS = 30.0
_LONGEST_PAUSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Container:
    """A container as the engine shows it. `was_started` is true for good once its start succeeded."""

    id: str
    name: str
    instance: str
    """Which gateway made it."""
    is_running: bool
    was_started: bool
    exit_code: int
    started_at: dt.datetime
    finished_at: dt.datetime
    is_out_of_memory: bool


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container ended. `is_interrupted`: not by itself; the engine went down, or somebody stopped or removed it."""

    code: int
    at: dt.datetime
    is_interrupted: bool = False


Inspect = Callable[[str], Awaitable[Container | None]]


class Exits:
    """Who waits for which container. `run` has to run; it survives restarts of the engine.

    A container that the engine killed on its way down must not look like a program that failed. The engine reports `die`
    for every end it sees, after `kill` if it was told to stop the container (`docker stop`, its own shutdown), and keeps
    its last 256 events until it is restarted (moby 20.10, daemon/events). So an end is the program's own if its `die` is
    known and no `kill` came before. Where no `die` is known, the engine was restarted since: a container somebody was
    waiting for was then stopped with it, unless containers outlive this engine (live restore); for others the code decides.
    """

    def __init__(self, docker: aiodocker.Docker, label: str, inspect: Inspect, grace_seconds: float) -> None:
        self._docker = docker
        self._label = label
        self._inspect = inspect
        self._grace_seconds = grace_seconds
        self._waiting: dict[str, asyncio.Future[Exit]] = {}
        self._killed: set[str] = set()
        self.containers_outlive_engine = False

    def expect(self, container_id: str) -> asyncio.Future[Exit]:
        """The end of this container. Ask before it is started: no end is missed then. Fails with `EngineGone`."""
        future = self._waiting.get(container_id)
        if future is None or future.done():
            future = self._waiting[container_id] = asyncio.get_running_loop().create_future()
            future.add_done_callback(lambda done: self._forget(container_id, done))
        return future

    async def of(self, container: Container, *, was_awaited: bool = False) -> Exit:
        """How a container that does not run any more ended."""
        actions = await self._history(container)
        if "die" in actions:
            return Exit(container.exit_code, container.finished_at, "kill" in actions)
        lost = was_awaited and not self.containers_outlive_engine
        return Exit(container.exit_code, container.finished_at, lost or container.exit_code in _KILLED)

    async def run(self) -> None:
        """Listen for ever, connecting again with growing pauses; waiters fail when the engine stays away too long."""
        listener = self._docker.events.subscribe(create_task=False)  # type: ignore[no-untyped-call]  # aiodocker leaves it so
        async with asyncio.TaskGroup() as group:
            group.create_task(self._take(listener))
            group.create_task(self._recheck_now_and_then())
            group.create_task(self._connect())

    async def _connect(self) -> None:
        lost_at, pause = None, 0.1
        while True:
            # Before the question, and a little more for clocks that differ: what ends in between is told twice, not never.
            since = time.time() - 5
            try:
                await self._recheck()
                lost_at, pause = None, 0.1
                await self._docker.events.run(filters=self._filters(), since=f"{since:.3f}")
            # ValueError: a line too long for aiohttp, from an image with enormous labels.
            except (aiodocker.DockerError, aiohttp.ClientError, OSError, ValueError) as error:
                log.warning("engine events interrupted", extra={"error": str(error)})
            lost_at = lost_at or time.monotonic()
            if time.monotonic() - lost_at > self._grace_seconds:
                self._give_up()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _take(self, listener: Any) -> None:
        while True:
            event = await listener.get()
            if event is None:  # the stream ended
                continue
            container_id, action = event["Actor"]["ID"], event["Action"]
            if action == "kill" and container_id in self._waiting:
                self._killed.add(container_id)
            elif action == "die":
                at = dt.datetime.fromtimestamp(event["timeNano"] / 1e9, dt.UTC)
                code = int(event["Actor"]["Attributes"]["exitCode"])
                self._resolve(container_id, Exit(code, at, container_id in self._killed))

    async def _recheck_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(_RECHECK_SECONDS)
            with contextlib.suppress(aiodocker.DockerError, aiohttp.ClientError, OSError):
                await self._recheck()

    async def _recheck(self) -> None:
        """Look at what is waited for. Raises if the engine does not answer."""
        await self._docker.version()
        for container_id in list(self._waiting):
            container = await self._inspect(container_id)
            if container is None:
                self._resolve(container_id, Exit(255, dt.datetime.now(dt.UTC), is_interrupted=True))
            elif container.was_started and not container.is_running:
                self._resolve(container_id, await self.of(container, was_awaited=True))

    async def _history(self, container: Container) -> set[str]:
        """What the engine remembers to have happened to a container since it was started."""
        filters = json.dumps({"container": [container.id], "event": ["die", "kill"]})
        params = {"filters": filters, "since": f"{container.started_at.timestamp() - 5:.3f}", "until": f"{time.time():.3f}"}
        # aiodocker's own `events.run` cannot run twice at a time (0.27).
        async with self._docker._query("events", params=params) as response:
            lines = (await response.read()).splitlines()
        return {json.loads(line)["Action"] for line in lines if line}

    def _filters(self) -> str:
        return json.dumps({"type": ["container"], "event": ["die", "kill"], "label": [self._label]})

    def _resolve(self, container_id: str, ended: Exit) -> None:
        future = self._waiting.get(container_id)
        if future and not future.done():
            future.set_result(ended)

    def _give_up(self) -> None:
        for future in list(self._waiting.values()):
            if not future.done():
                future.set_exception(EngineGone("a container ran"))

    def _forget(self, container_id: str, future: asyncio.Future[Exit]) -> None:
        if self._waiting.get(container_id) is future:
            del self._waiting[container_id]
            self._killed.discard(container_id)
