"""A job's observation as it grows, and the record of it that survives the gateway."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

from tesgw.model import ExecutorLog, Observation
from tesgw.runner.world import JobDir, Status
from tesgw.states import TERMINAL, State


class Progress:
    """Starts from what an earlier runner of the job kept. Everyone who observes is told by `changed`."""

    def __init__(self, directory: JobDir, changed: Callable[[], None]) -> None:
        self.status = _as_seen(directory.load())
        self._directory = directory
        self._changed = changed

    @property
    def observation(self) -> Observation:
        return self.status.observation

    def show(self, **changes: Any) -> None:
        """Let observers see changed fields; nobody is told if nothing changed."""
        observation = dataclasses.replace(self.observation, **changes)
        if observation != self.observation:
            self.status = dataclasses.replace(self.status, observation=observation)
            self._changed()

    def say(self, *sentences: str) -> None:
        """Add to the system logs, each sentence once."""
        logs = self.observation.system_logs
        self.show(system_logs=(*logs, *(sentence for sentence in dict.fromkeys(sentences) if sentence not in logs)))

    def executor(self, index: int) -> ExecutorLog:
        """What is known of an executor that started, or is about to."""
        known = self.observation.executors
        return known[index] if index < len(known) else ExecutorLog()

    def show_executor(self, index: int, **changes: Any) -> None:
        """Let observers see changed fields of the log of an executor, which has started."""
        log = dataclasses.replace(self.executor(index), **changes)
        self.show(state=State.RUNNING, reason="", executors=(*self.observation.executors[:index], log))

    async def keep(self, **changes: Any) -> None:
        """Record how far the job is."""
        self.status = dataclasses.replace(self.status, **changes)
        await asyncio.to_thread(self._directory.save, self.status)

    async def finish(self, **changes: Any) -> None:
        """Show the end once it is on the disk: observers may rely on it."""
        observation = dataclasses.replace(self.observation, **changes)
        status = dataclasses.replace(self.status, observation=observation)
        try:
            await asyncio.to_thread(self._directory.save, status, to_disk=True)
        finally:
            self.status = status
            self._changed()


def _as_seen(status: Status) -> Status:
    """What was kept just before an executor started is, by now, of a job that runs."""
    if not status.created or status.observation.state in TERMINAL:
        return status
    return dataclasses.replace(status, observation=dataclasses.replace(status.observation, state=State.RUNNING))
