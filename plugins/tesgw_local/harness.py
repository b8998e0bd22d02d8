"""The conformance suite's test world of the local backend: this machine's Docker engine, behind a door with faults."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import aiodocker

from tesgw.conformance import Fault, Harness, engine
from tesgw.conformance.door import Door
from tesgw.runner.engine import JOB_LABEL
from tesgw_local import machine


class LocalHarness(Harness):
    """The gateways under test reach the engine through the door; the harness itself goes straight to it."""

    image: ClassVar[str] = machine.IMAGE
    patience_seconds: ClassVar[float] = 120.0
    provision_request: ClassVar[Mapping[str, Any]] = {"images": [machine.IMAGE]}

    async def start(self) -> None:
        await asyncio.to_thread(machine.ensure)
        self._host_before = os.environ.get("DOCKER_HOST")
        scheme, _, there = (self._host_before or f"unix://{machine.SOCKET}").partition("://")
        if scheme != "unix":
            raise machine.NoEngine(f"DOCKER_HOST={self._host_before}: the door of this harness leads to Unix sockets only.")
        self._docker = aiodocker.Docker()
        self._directory = tempfile.TemporaryDirectory(prefix="tesgw-")
        self._door = Door(lambda: asyncio.open_unix_connection(there))
        await self._door.open(Path(self._directory.name) / "docker.sock")
        os.environ["DOCKER_HOST"] = self._door.url

    async def stop(self) -> None:
        if self._host_before is None:
            del os.environ["DOCKER_HOST"]
        else:
            os.environ["DOCKER_HOST"] = self._host_before
        await self._door.close()
        await self._docker.close()
        self._directory.cleanup()

    def settings(self, directory: Path) -> Mapping[str, Any]:
        return {"LOCAL_WORK_DIR": directory, "LOCAL_NETWORK": "none", "LOCAL_MAX_TASKS": 16}

    def shared_global(self, directory: Path) -> Path:
        return directory / "shared-global"

    async def running(self, job_id: str) -> int:
        return await engine.running(self._docker, job_id)

    async def left(self, directory: Path, job_id: str) -> Sequence[str]:
        found = await engine.containers(self._docker, label=f"{JOB_LABEL}={job_id}")  # those of the runner's helpers, too
        job_directory = directory / "jobs" / job_id
        return [*found, *([str(job_directory)] if job_directory.exists() else [])]

    @asynccontextmanager
    async def fault(self, fault: Fault) -> AsyncIterator[None]:
        await self._door.stand(fault)
        try:
            yield
        finally:
            await self._door.stand(None)

    async def other_image(self, kind: str) -> str:
        return await engine.other_image(self._docker, self.image, kind)

    def impossible(self) -> Mapping[str, Any]:
        return {**super().impossible(), "disk_gb": 1_000_000_000.0}
