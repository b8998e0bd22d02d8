"""Loops that can stop: periodic ticks, a queue that does one thing per key at a time, and growing pauses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)


class Backoff:
    """Pauses that double from `first` to `most` seconds until `reset`."""

    def __init__(self, first: float, most: float) -> None:
        self._first, self._most, self._next = first, most, first

    def pause(self) -> float:
        pause, self._next = self._next, min(self._next * 2, self._most)
        return pause

    def reset(self) -> None:
        self._next = self._first


async def every(seconds: float, tick: Callable[[], Awaitable[None]], *, wake: asyncio.Event | None = None) -> None:
    """Await `tick` for ever, `seconds` apart, or sooner when `wake` is set. A failing tick is logged and tried again."""
    while True:
        if wake:
            wake.clear()
        try:
            await tick()
        except Exception:
            log.exception("tick failed", extra={"loop": getattr(tick, "__qualname__", repr(tick))})
        try:
            async with asyncio.timeout(seconds):
                await (wake.wait() if wake else asyncio.Event().wait())
        except TimeoutError:
            pass


class WorkQueue:
    """Runs `work(key)` for each key put in, first come first served, on `workers` tasks; never twice at once for one key.

    A key put in while it waits counts once; put in while it is worked on, it is worked on again. A failure is logged.
    """

    def __init__(self, work: Callable[[str], Awaitable[None]], *, workers: int) -> None:
        self._work = work
        self._workers = workers
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._waiting: set[str] = set()
        self._running: set[str] = set()
        self._again: set[str] = set()

    def put(self, key: str) -> None:
        """Have the key worked on."""
        if key in self._running:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._queue.put_nowait(key)

    async def idle(self) -> None:
        """Return when nothing waits and nothing is worked on."""
        await self._queue.join()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._drain())

    async def _drain(self) -> None:
        while True:
            key = await self._queue.get()
            self._waiting.discard(key)
            self._running.add(key)
            try:
                await self._work(key)
            except Exception:
                log.exception("work failed", extra={"key": key})
            finally:
                self._running.discard(key)
                if key in self._again:
                    self._again.discard(key)
                    self.put(key)
                self._queue.task_done()
