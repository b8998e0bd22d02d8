"""The conformance suite's test world of the local backend: this machine's Docker engine, behind a door with faults."""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import aiodocker

from tesgw.conformance import Fault, Harness
from tesgw.runner.engine import JOB_LABEL
from tesgw_local import machine
from tesgw_local.door import Door

CONTAINER_PREFIX = "tesgw-"
OTHER_IMAGES: Mapping[str, str] = {
    "user": "FROM {image}\nUSER 1000\n",
    "entrypoint": 'FROM {image}\nENTRYPOINT ["/bin/false"]\n',
    "filled": "FROM {image}\nRUN mkdir -p /opt/app && echo tool > /opt/app/tool\n",
    "bare": "FROM {image} AS full\nFROM scratch\nCOPY --from=full /bin/busybox /echo\n",
}


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
        self._door = Door(Path(self._directory.name) / "docker.sock", there)
        await self._door.open()
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
        return len(await self._containers(name=f"^/{CONTAINER_PREFIX}{job_id}-", status="running"))

    async def left(self, directory: Path, job_id: str) -> Sequence[str]:
        containers = await self._containers(label=f"{JOB_LABEL}={job_id}")  # those of the runner's helpers, too
        job_directory = directory / "jobs" / job_id
        return [*containers, *([str(job_directory)] if job_directory.exists() else [])]

    @asynccontextmanager
    async def fault(self, fault: Fault) -> AsyncIterator[None]:
        await self._door.stand(fault)
        try:
            yield
        finally:
            await self._door.stand(None)

    async def other_image(self, kind: str) -> str:
        name = f"tesgw-conformance:{kind}"
        context = io.BytesIO()
        with tarfile.open(fileobj=context, mode="w") as archive:
            content = OTHER_IMAGES[kind].format(image=self.image).encode()
            member = tarfile.TarInfo("Dockerfile")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        context.seek(0)
        async for line in self._docker.images.build(fileobj=context, encoding="identity", tag=name, stream=True, rm=True):
            if "error" in line:
                raise RuntimeError(f"The image {name} cannot be built: {line['error']}")
        return name

    def impossible(self) -> Mapping[str, Any]:
        return {**super().impossible(), "disk_gb": 1_000_000_000.0}

    async def _containers(self, **filters: str) -> list[str]:
        chosen = {key: [value] for key, value in filters.items()}
        return [each.id for each in await self._docker.containers.list(all=True, filters=chosen)]
