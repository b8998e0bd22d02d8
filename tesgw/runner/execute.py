"""Running one executor: a container made once, started once, watched, and its end recorded."""

from __future__ import annotations

import asyncio
import datetime as dt
import signal
from collections.abc import Awaitable, Callable

from tesgw.errors import StageError
from tesgw.model import Job
from tesgw.runner import mounts
from tesgw.runner.container import executor_config
from tesgw.runner.engine import ImageMissing, NameTaken
from tesgw.runner.events import Container, Exit
from tesgw.runner.progress import Progress
from tesgw.runner.settle import settled
from tesgw.runner.streams import Streams
from tesgw.runner.world import JobDir, World, launcher

TAIL_SECONDS = 2.0
RUNNING_TAIL_BYTES = 4 * 1024
FINAL_TAIL_BYTES = 64 * 1024
KILLED = 128 + signal.SIGKILL
_GUSH_SECONDS = 0.2  # how soon to look again at an executor that prints a lot into a file of ours


def container_name(job_id: str, index: int) -> str:
    """By this name any runner finds the container of an executor again; the engine takes it for an id."""
    return f"tesgw-{job_id}-{index}"


class Execution:
    """One executor of a job. What an earlier runner made or started is taken over, whatever has become of it since."""

    def __init__(self, job: Job, index: int, world: World, plan: mounts.Plan, progress: Progress) -> None:
        self._job = job
        self._index = index
        self._world = world
        self._engine = world.engine
        self._plan = plan
        self._progress = progress
        self._name = container_name(job.id, index)
        self._dir = JobDir.of(world.work_dir, job.id)
        self._streams = Streams(self._dir, index, job.executors[index], plan)

    async def run(self, pull: Callable[[str], Awaitable[None]]) -> int:
        """The exit code, recorded. StageError if the container could not be run, or did not end by itself."""
        container_id, is_new = await self._claim(pull)
        ending = self._engine.exits.expect(container_id)
        try:
            ended = await self._start(container_id, is_new) or await self._watch(ending)
        finally:
            ending.cancel()
        return await self._record(container_id, ended)

    async def _claim(self, pull: Callable[[str], Awaitable[None]]) -> tuple[str, bool]:
        """The id of the executor's container, and whether it is new."""
        if self._index < self._progress.status.created:
            return (await self._find()).id, False
        try:
            container_id, is_new = await self._create_or_pull(pull), True
        except NameTaken:  # made by an earlier runner that could not record it
            container_id, is_new = (await self._find()).id, False
        await self._progress.keep(created=self._index + 1)
        return container_id, is_new

    async def _create_or_pull(self, pull: Callable[[str], Awaitable[None]]) -> str:
        try:
            return await settled(self._create())
        except ImageMissing:
            await pull(self._job.executors[self._index].image)
            return await settled(self._create())

    async def _create(self) -> str:
        mounts.check(self._plan, self._dir.tree)
        sources = {target: source for source, target in self._plan.sources(self._dir.tree)}
        sources |= {target: self._dir.stream(self._index, name) for target, name in self._streams.mounts().items()}
        binds = {target: self._engine.host_path(source) for target, source in sources.items()}
        launch = self._engine.host_path(launcher(self._world.work_dir, self._engine.info.architecture))
        config = executor_config(self._job, self._index, binds, launch, self._world.network)
        return await self._engine.create(self._name, self._job.id, config)

    async def _start(self, container_id: str, is_new: bool) -> Exit | None:
        """See that the container was started, once; how it ended if it has already."""
        now = dt.datetime.now(dt.UTC)
        container = None if is_new else await self._find()
        if container is None or not container.was_started:
            await settled(self._engine.start(container_id, is_new=is_new))
            container = None
        self._progress.show_executor(self._index, start_time=container.started_at if container else now)
        if container is None or container.is_running:
            return None
        return await self._engine.exits.of(container)

    async def _find(self) -> Container:
        container = await self._engine.find(self._name)
        if container is None:
            raise StageError(f"Somebody removed the container of executor {self._index}. Submit the task again.")
        if container.instance != self._engine.instance:
            raise StageError(
                f"The container {self._name} belongs to another gateway: remove it, then submit the task again."
            )
        return container

    async def _watch(self, ending: asyncio.Future[Exit]) -> Exit:
        follower = asyncio.create_task(self._follow(), name=f"tails of {self._name}")
        try:
            return await ending
        finally:
            follower.cancel()
            await asyncio.wait([follower])

    async def _follow(self) -> None:
        """Keep the tails of the running executor fresh, and its unnamed streams small on the disk."""
        clock = asyncio.get_running_loop().time
        shown_at, pause = clock(), _GUSH_SECONDS
        while True:
            await asyncio.sleep(pause)
            pause = _GUSH_SECONDS if await asyncio.to_thread(self._streams.shorten) else TAIL_SECONDS
            if clock() - shown_at >= TAIL_SECONDS:
                self._progress.show_executor(self._index, **await asyncio.to_thread(self._streams.tails, RUNNING_TAIL_BYTES))
                shown_at = clock()

    async def _record(self, container_id: str, ended: Exit) -> int:
        tails = await asyncio.to_thread(self._streams.tails, FINAL_TAIL_BYTES)
        tails |= await self._streams.last(FINAL_TAIL_BYTES, self._engine, container_id)
        if ended.is_interrupted:
            self._progress.show_executor(self._index, end_time=ended.at, **tails)
            raise StageError(
                f"Executor {self._index} was stopped from outside: the Docker engine went down, or somebody stopped "
                "or removed its container. Submit the task again."
            )
        if ended.code or self._job.resources.ram_gb:  # a child may have been killed although its parent ended well
            await self._say_if_out_of_memory(container_id, was_killed=ended.code == KILLED)
        self._progress.show_executor(self._index, exit_code=ended.code, end_time=ended.at, **tails)
        await self._progress.keep()
        return ended.code

    async def _say_if_out_of_memory(self, container_id: str, *, was_killed: bool) -> None:
        # The engine hears of memory that ran out from another source than of the end, which can be the sooner one.
        for pause in (0.0, 0.1, 0.4) if was_killed else (0.0,):
            await asyncio.sleep(pause)
            container = await self._engine.find(container_id)
            if container and container.is_out_of_memory:
                break
        else:
            return
        limit = self._job.resources.ram_gb
        why = f"it used more memory than ram_gb={limit:g}" if limit else "the machine ran out of memory; ask for ram_gb"
        self._progress.say(f"Executor {self._index}, or a program it started, was killed because {why}.")
