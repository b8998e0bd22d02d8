"""The runner: inputs, executors one by one, outputs, and the verdict. START HERE to see how a job runs."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from typing import Any

from tesgw.model import Job, MissingOutputs, Observation
from tesgw.runner import cleanup, links, mounts, probe
from tesgw.runner.execute import Execution, container_name
from tesgw.runner.faults import explain
from tesgw.runner.inputs import stage_in
from tesgw.runner.outputs import Delivery, Ran, stage_out
from tesgw.runner.progress import Progress
from tesgw.runner.settle import together
from tesgw.runner.world import JobDir, World
from tesgw.states import TERMINAL, State


class Runner:
    """Runs one job to its end. Any number of runners may do so one after another, each going on where the last one was
    when it was cancelled or killed: no executor is started twice, and inputs are not fetched again."""

    def __init__(self, job: Job, world: World, changed: Callable[[], None]) -> None:
        self._job = job
        self._world = world
        self._dir = JobDir.of(world.work_dir, job.id)
        self._progress = Progress(self._dir, changed)
        self._volumes = {path: source for path, source in world.volumes.items() if source.is_dir()}
        self._plans: dict[str, mounts.Plan] = {}

    def observe(self) -> Observation:
        """How the job is now, from memory."""
        return self._progress.observation

    async def run(self) -> None:
        """Bring the job to a terminal observation, then remove its containers and files.

        Cancelled, it leaves everything in place for the next runner. Raises `EngineGone` if only the removal failed.
        """
        if self.observe().state not in TERMINAL:
            await self._finish(**await self._verdict())
        await cleanup.remove_containers(self._world, self._job.id)
        await cleanup.remove_files(self._world, self._job.id)

    async def _verdict(self) -> dict[str, Any]:
        """What the end changes in the observation."""
        try:
            await self._stage_in()
            failed = await self._execute_all()
            delivery = await self._stage_out()
        except Exception as error:  # whatever it is: the task must end, and say why
            return {"state": State.SYSTEM_ERROR, "system_logs": [explain(error, self._job.id)]}
        sentences = _sentences(delivery)
        return {"state": self._judge(failed, delivery), "system_logs": sentences, "outputs": tuple(delivery.files)}

    def _judge(self, failed: bool, delivery: Delivery) -> State:
        if failed:
            return State.EXECUTOR_ERROR
        lacks = delivery.missing and self._job.missing_outputs is MissingOutputs.ERROR
        return State.SYSTEM_ERROR if lacks or delivery.failures else State.COMPLETE

    async def _finish(self, *, system_logs: list[str], **changes: Any) -> None:
        logs = (*self.observe().system_logs, *system_logs)
        changes |= {"system_logs": logs, "end_time": dt.datetime.now(dt.UTC), "reason": ""}
        try:
            await self._progress.finish(**changes)
        except OSError:  # no room even for the status; the task's own files may be what fills the disk
            await cleanup.remove_files(self._world, self._job.id)
            await self._progress.finish(**changes)

    async def _stage_in(self) -> None:
        if self._progress.status.is_staged:
            return
        self._progress.show(state=State.INITIALIZING, start_time=dt.datetime.now(dt.UTC))
        for path in sorted(self._world.volumes.keys() - self._volumes.keys()):
            self._progress.say(f"{path} is not mounted: the machine of this gateway has no such directory.")
        await asyncio.to_thread(self._dir.make, len(self._job.executors))
        found = await self._links()
        if self._job.inputs:
            self._progress.show(reason=f"fetching {len(self._job.inputs)} inputs")
        await stage_in(self._job, self._dir, self._volumes, found, self._world.transfers)
        self._progress.show(reason="")
        await self._progress.keep(is_staged=True, links=found)

    async def _links(self) -> links.Links:
        """Those of all images, pulled if they are missing: where inputs belong depends on them."""
        images = dict.fromkeys(executor.image for executor in self._job.executors)
        if len(images) == 1 and not mounts.are_named(self._job, self._volumes):
            return {}  # nor is a lone image looked for: making the container tells
        await together(*(self._pull_missing(image) for image in images))
        engine = self._world.engine
        found = [await probe.find_links(engine, self._job, self._volumes, image) for image in images]
        return links.merge(found, self._job.inputs)

    async def _pull_missing(self, image: str) -> None:
        if await self._world.engine.image_id(image) is None:
            await self._pull(image)

    async def _pull(self, image: str) -> None:
        self._progress.show(reason=f"pulling image {image}")
        await self._world.engine.pull(image)
        self._progress.show(reason="")

    async def _execute_all(self) -> bool:
        """Run the executors that have not run yet. Whether one failed that the task cannot do without."""
        for index, executor in enumerate(self._job.executors):
            code = self._progress.executor(index).exit_code
            if code is None:
                plan = await self._plan(executor.image)
                code = await Execution(self._job, index, self._world, plan, self._progress).run(self._pull)
            if code and not executor.ignore_error:
                return True
        return False

    async def _stage_out(self) -> Delivery:
        if not self._job.outputs:
            return Delivery()
        await cleanup.own(self._world, self._job.id, self._dir.tree)
        ran = [
            Ran(container_name(self._job.id, index), await self._plan(self._job.executors[index].image))
            for index in range(len(self.observe().executors))
        ]
        return await stage_out(self._job.outputs, ran, self._dir, self._world.engine, self._world.transfers)

    async def _plan(self, image: str) -> mounts.Plan:
        if image not in self._plans:
            places = self._progress.status.links
            self._plans[image] = await probe.plan(self._world.engine, self._job, self._volumes, image, places)
        return self._plans[image]


def _sentences(delivery: Delivery) -> list[str]:
    missing = [
        f"The output {path} does not exist, or is neither a file nor a directory, after the executors have run."
        for path in delivery.missing
    ]
    unmatched = [f"The output {path} matches nothing." for path in delivery.unmatched]
    return [*missing, *unmatched, *delivery.failures]
