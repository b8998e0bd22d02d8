"""What all parts of the double share: the account's name, its limits, its time, its directory, what runs beside."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tesgw_batch.fake_batch.clock import Clock
from tesgw_batch.fake_batch.execution import Program

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """Of a new account: https://learn.microsoft.com/azure/batch/batch-quota-limit."""

    pools: int = 100
    active_jobs: int = 300
    dedicated_cores: int = 1000
    family_cores: Mapping[str, int] = field(default_factory=dict)
    """By VM family; families that are not named have as many as there are in all."""
    spot_cores: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long Azure takes, by the double's clock."""

    allocation_seconds: float = 0.0
    boot_seconds: float = 0.0
    replacement_seconds: float = 0.0
    sample_seconds: float = 0.0
    """After which a new pool has samples for its formula."""


@dataclass(slots=True, kw_only=True)
class World:
    account: str
    directory: Path
    mounts: Path
    """Where the file shares are: directories of their names."""
    programs: Mapping[str, Program]
    variables: Mapping[str, str]
    """What nodes have in their environment beside what Batch defines."""
    clock: Clock
    quotas: Quotas
    pace: Pace
    url: str = ""
    """Of the service, without a slash at its end; known once it listens."""
    start_task_failure: str | None = None
    """What start tasks write to stderr before they fail; None: they run."""
    resize_failure: tuple[str, str] | None = None
    """The code and message with which nodes cannot be had; None: they can."""
    _running: set[asyncio.Task[Any]] = field(default_factory=set)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do it beside; a failure is logged. It is cancelled when the double stops."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    async def close(self) -> None:
        """Cancel what runs beside, and wait until it has ended."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("the double failed", exc_info=error)
