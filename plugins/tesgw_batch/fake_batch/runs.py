"""One run of a task on a node: from the moment it has slots there until it has given them back."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING, Any, Literal

from tesgw_batch.fake_batch.execution import Command, Ended, Execution
from tesgw_batch.fake_batch.tasks import TERMINATED, Task

if TYPE_CHECKING:
    from tesgw_batch.fake_batch.jobs import Job
    from tesgw_batch.fake_batch.nodes import Node

NO_CONTAINERS = Ended(
    exit_code=None,
    failure={
        "category": "usererror",
        "code": "ContainerPoolNotSupported",
        "message": "The pool does not support running tasks inside a container",
    },
)

Fate = Literal["end", "requeue", "drop"]
"""What becomes of a task that is stopped: it is over, it runs again, or it is deleted."""


class Run:
    """A run that is no longer its task's, since its node is gone, does nothing more to it."""

    def __init__(self, task: Task, job: Job, node: Node) -> None:
        self.task = task
        self._job = job
        self._node = node
        self._world = node.world
        self._fate: Fate | None = None
        self._execution: Execution | None = None
        self.directory = node.root / "workitems" / job.id / "job-1" / task.id
        task.assigned(self, self._world.clock.now())
        self._worker = self._world.spawn(self._go())

    def node_info(self) -> dict[str, Any]:
        return {
            "affinityId": self._node.id,
            "nodeUrl": self._node.wire["url"],
            "poolId": self._node.pool_id,
            "nodeId": self._node.id,
            "taskRootDirectory": str(self.directory.relative_to(self._node.root)),
            "taskRootDirectoryUrl": f"{self._node.wire['url']}/files/{self.directory.relative_to(self._node.root)}",
        }

    async def stop(self, fate: Fate) -> None:
        """End what it runs, and return when it has ended. The first to say what becomes of the task is right."""
        await self._kill(fate)
        await asyncio.wait([self._worker])
        if fate == "drop":
            await asyncio.to_thread(shutil.rmtree, self.directory, ignore_errors=True)

    def lost(self) -> None:
        """The service takes its node for gone."""
        now = self._world.clock.now()
        if self._fate == "end":
            self.task.run = None
            self.task.completed(TERMINATED, now)
        else:
            self.task.requeued(now)

    async def abandon(self) -> None:
        """Nobody minds it any more; its processes have ended already or are ended now."""
        self._worker.cancel()
        await asyncio.wait([self._worker])

    async def _kill(self, fate: Fate) -> None:
        self._fate = self._fate or fate
        if self._execution:
            await self._execution.kill()

    async def _go(self) -> None:
        clock = self._world.clock
        while True:
            self.task.started(clock.now())
            ended = await self._execute()
            if self.task.run is not self:
                return
            if self._fate or not self.task.may_retry(ended, self._job.most_retries):
                break
            self.task.retried(clock.now())
        self._node.release(self, succeeded=ended.failure is None)
        if self._fate is None:
            self.task.completed(ended, clock.now())
        elif self._fate == "end":
            self.task.completed(TERMINATED, clock.now())
        elif self._fate == "requeue":
            self.task.requeued(clock.now())

    async def _execute(self) -> Ended:
        if self._fate:
            return TERMINATED
        if self.task.spec.get("containerSettings") and not self._node.has_containers:
            return NO_CONTAINERS
        self._execution = Execution(self._command(), self._world.programs)
        limit = self.task.wall_clock_seconds
        timer = self._world.spawn(self._expire(limit)) if limit is not None else None
        try:
            return await self._execution.run()
        finally:
            self._execution = None
            if timer:
                timer.cancel()

    async def _expire(self, seconds: float) -> None:
        await self._world.clock.sleep(seconds)
        await self._kill("end")

    def _command(self) -> Command:
        spec = self.task.spec
        settings = [*self._job.environment, *(spec.get("environmentSettings") or ())]
        return Command(
            command_line=spec["commandLine"],
            environment={
                **self._node.environment(self.directory),
                "AZ_BATCH_JOB_ID": self._job.id,
                "AZ_BATCH_TASK_ID": self.task.id,
                **{setting["name"]: setting.get("value") or "" for setting in settings},
            },
            directory=self.directory,
            node_root=self._node.root,
            container=spec.get("containerSettings"),
            resource_files=spec.get("resourceFiles") or (),
            output_files=spec.get("outputFiles") or (),
        )
