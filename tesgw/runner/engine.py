"""A Docker engine, as far as running jobs needs one."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import aiodocker
import aiohttp

from tesgw.errors import StageError
from tesgw.runner.events import Container, Exits
from tesgw.runner.faults import EngineGone, is_down, is_status
from tesgw.runner.hostpaths import HostPaths, own_container_ids
from tesgw.runner.images import Images, Registry

log = logging.getLogger(__name__)
T = TypeVar("T")

ENGINE_GRACE_SECONDS = 60.0
STOP_GRACE_SECONDS = 5
INSTANCE_LABEL = "tesgw.instance"
JOB_LABEL = "tesgw.job"

_LONGEST_PAUSE_SECONDS = 5.0
_ANSWER_SECONDS = 300.0  # far beyond what a loaded engine takes; without it a stuck one would hold a task for ever


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What the engine's machine has."""

    cpus: int
    memory_bytes: int
    architecture: str


@dataclass(frozen=True, slots=True)
class Look:
    """What an image has at a path."""

    is_filled: bool
    """Whether there is anything but an empty directory."""
    link: str = ""
    """If there is a symbolic link: its text."""


class NameTaken(Exception):
    """There is a container of this name already."""


class ImageMissing(StageError):
    """The engine lacks the image."""

    def __init__(self, image: str) -> None:
        super().__init__(f"The Docker engine has no image {image}.")


class Engine:
    """A connection to a Docker engine, open until `close`.

    Calls outlast a restart of the engine: they are repeated for `grace_seconds` and raise `EngineGone` then. Containers
    made here carry the label of this instance, whose random name is kept in the work directory.
    """

    info: EngineInfo
    exits: Exits
    host_path: HostPaths

    def __init__(self, docker: aiodocker.Docker, instance: str, registry: Registry | None, grace_seconds: float) -> None:
        self.instance = instance
        self.images = Images(docker, registry)
        self._docker = docker
        self._grace_seconds = grace_seconds
        self.looks: dict[tuple[str, str], Look] = {}
        """By image id and path: what the image has there."""
        self._listening: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        work_dir: Path,
        *,
        registry: Registry | None = None,
        url: str | None = None,
        grace_seconds: float = ENGINE_GRACE_SECONDS,
    ) -> Self:
        """Connect to the engine at `url`, or where Docker's own tool would. `EngineGone` at once if none answers."""
        try:
            docker = aiodocker.Docker(url, timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS))
        except (AssertionError, ValueError) as error:  # no socket in any of the usual places (0.27)
            raise EngineGone("the gateway looked for one; there is none at DOCKER_HOST or /var/run/docker.sock") from error
        engine = cls(docker, _instance(work_dir), registry, grace_seconds)
        try:
            await engine._connect(work_dir)
        except BaseException:
            await engine.close()
            raise
        return engine

    async def close(self) -> None:
        """Stop listening and disconnect. Containers go on."""
        if self._listening:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        await self.images.close()
        await self._docker.close()

    async def create(self, name: str | None, job_id: str, config: Mapping[str, Any]) -> str:
        """Make a container and return its id; without a name it is a helper of the job's.

        Raises `NameTaken`, `ImageMissing`, or StageError with the engine's reason.
        """
        labels = {INSTANCE_LABEL: self.instance, JOB_LABEL: job_id}
        body = {**config, "Labels": labels}

        async def attempt() -> str:
            return (await self._docker.containers.create(body, name=name)).id

        try:
            return await self.patiently("a container was being created", attempt)
        except aiodocker.DockerError as error:
            if is_status(error, 409):
                raise NameTaken(name or "") from error
            if is_status(error, 404):
                raise ImageMissing(config["Image"]) from error
            image = config["Image"]
            raise StageError(f"The Docker engine refused to make a container of image {image!r}: {error.message}") from error

    async def start(self, container_id: str, *, is_new: bool) -> None:
        """Start a container that never was started; one that was stays as it is. StageError with the engine's reason.

        `is_new` promises that nobody tried before, and saves a question.
        """
        is_first = is_new

        async def attempt() -> None:
            nonlocal is_first
            # A start whose answer was lost may have succeeded, and the program may have ended since: look before starting.
            # The engine's inspection waits for a start under way (both hold the container's lock: moby, daemon/start.go).
            container = None if is_first else await self._inspect(container_id)
            is_first = False
            if container is None or not container.was_started:
                await self._docker.containers.container(container_id).start()

        try:
            await self.patiently("a container was being started", attempt)
        except aiodocker.DockerError as error:
            raise StageError(f"The Docker engine could not start a container: {error.message}") from error

    async def find(self, name: str) -> Container | None:
        """The container of this name or id."""
        return await self.patiently("a container was being looked for", lambda: self._inspect(name))

    async def image_id(self, image: str) -> str | None:
        """The id of the image, or None if it is missing."""
        return await self.patiently("an image was being looked for", lambda: self.images.find(image))

    async def pull(self, image: str) -> None:
        """Fetch an image; StageError with the registry's answer."""
        await self.patiently(f"the image {image} was being pulled", lambda: self.images.pull(image))

    async def containers(self, job_id: str | None = None) -> list[tuple[str, str]]:
        """Id and job id of the containers of this instance, or of one job, whatever they do."""
        labels = [f"{INSTANCE_LABEL}={self.instance}", *([f"{JOB_LABEL}={job_id}"] if job_id else [])]
        filters = json.dumps({"label": labels})

        async def attempt() -> list[Any]:
            return await self._docker.containers.list(all=True, filters=filters)

        found = await self.patiently("containers were being listed", attempt)
        return [(container.id, container["Labels"].get(JOB_LABEL, "")) for container in found]

    async def remove(self, container_id: str) -> None:
        """End a container (SIGTERM, and SIGKILL after 5 s) and remove it with its anonymous volumes; again: nothing."""
        container = self._docker.containers.container(container_id)

        async def attempt() -> None:
            await container.stop(t=STOP_GRACE_SECONDS)
            await container.delete(force=True, v=True)

        try:
            await self.patiently("a container was being removed", attempt)
        except aiodocker.DockerError as error:
            if is_status(error, 409):  # somebody else removes it just now
                with contextlib.suppress(aiodocker.DockerError):
                    await container.wait(condition="removed")
            elif not is_status(error, 404):
                raise

    @contextlib.asynccontextmanager
    async def archive(self, container_id: str, path: str) -> AsyncIterator[aiohttp.StreamReader]:
        """The tar archive of a path in a container, as a stream. FileNotFoundError if there is nothing."""
        # aiodocker's `get_archive` reads the whole archive into memory (0.27), hence its inner method here.
        forever = aiohttp.ClientTimeout()
        try:
            query = self._docker._query(f"containers/{container_id}/archive", params={"path": path}, timeout=forever)
            async with query as response:
                try:
                    yield response.content
                finally:
                    response.close()  # else the rest would be read
        except aiodocker.DockerError as error:
            if is_status(error, 404):
                raise FileNotFoundError(path) from error
            raise

    async def patiently(self, meanwhile: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """What `attempt` returns, repeated while the engine is away; it has to bear repetition."""
        clock = asyncio.get_running_loop().time
        deadline, pause = clock() + self._grace_seconds, 0.1
        while True:
            try:
                return await attempt()
            except Exception as error:
                if not is_down(error):
                    raise
                if clock() + pause > deadline:
                    raise EngineGone(meanwhile) from error
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _connect(self, work_dir: Path) -> None:
        try:
            found = await self._docker.system.info()
            self.host_path = await self._host_paths()
        except Exception as error:
            if is_down(error):
                raise EngineGone(f"the gateway connected to it ({error})") from error
            raise
        self.info = EngineInfo(found["NCPU"], found["MemTotal"], found["Architecture"])
        self.host_path(work_dir)
        label = f"{INSTANCE_LABEL}={self.instance}"
        self.exits = Exits(self._docker, label, self._inspect, self._grace_seconds)
        self.exits.containers_outlive_engine = bool(found.get("LiveRestoreEnabled"))
        self._listening = asyncio.create_task(self.exits.run(), name="engine events")

    async def _host_paths(self) -> HostPaths:
        for candidate in own_container_ids():
            try:
                shown = await self._docker.containers.container(candidate).show()
            except aiodocker.DockerError as error:
                if is_down(error):
                    raise
                continue
            return HostPaths.of_container(shown["Mounts"])
        return HostPaths()

    async def _inspect(self, name: str) -> Container | None:
        try:
            shown = await self._docker.containers.container(name).show()
        except aiodocker.DockerError as error:
            if is_status(error, 404):
                return None
            raise
        return _container(shown)


def _container(shown: Mapping[str, Any]) -> Container:
    state = shown["State"]
    started_at = dt.datetime.fromisoformat(state["StartedAt"])
    return Container(
        id=shown["Id"],
        name=shown["Name"].removeprefix("/"),
        instance=(shown["Config"]["Labels"] or {}).get(INSTANCE_LABEL, ""),
        is_running=state["Running"],
        was_started=started_at.year > 1,  # the engine shows "0001-01-01T00:00:00Z" for never
        exit_code=state["ExitCode"],
        started_at=started_at,
        finished_at=dt.datetime.fromisoformat(state["FinishedAt"]),
        is_out_of_memory=state["OOMKilled"],
    )


def _instance(work_dir: Path) -> str:
    path = work_dir / "instance"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        work_dir.mkdir(parents=True, exist_ok=True)
        path.write_text(secrets.token_hex(8))
        return path.read_text()
