"""A job: the tasks of a pool that belong together, in the order in which they run."""

from __future__ import annotations

import asyncio
import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from tesgw_batch.fake_batch.problems import Problem, absent, conflict
from tesgw_batch.fake_batch.runs import Fate
from tesgw_batch.fake_batch.tasks import TERMINATED, Task
from tesgw_batch.fake_batch.wire import Wire, duration, move, resource, stamp, touch
from tesgw_batch.fake_batch.world import World

REFUSALS = {
    "completed": ("JobCompleted", "The specified job is already in a completed state."),
    "terminating": ("JobBeingTerminated", "The specified job has been marked for termination."),
    "deleting": ("JobBeingDeleted", "The specified job has been marked for deletion."),
}


class Job:
    """`changed` is called when there may be more to run, or more room to run it. Ids of tasks differ not by case alone."""

    def __init__(self, world: World, spec: Wire, changed: Callable[[], None]) -> None:
        now = world.clock.now()
        self.id: str = spec["id"]
        self.tasks: dict[str, Task] = {}
        self.waiting: OrderedDict[str, Task] = OrderedDict()
        self.running: dict[str, Task] = {}
        self.wire = resource(spec, f"{world.url}/jobs/{self.id}", "active", now)
        defaults = {"priority": 0, "maxParallelTasks": -1, "onAllTasksComplete": "noaction", "onTaskFailure": "noaction"}
        self.wire.update({name: value for name, value in defaults.items() if self.wire.get(name) is None})
        self.wire["executionInfo"] = {"startTime": stamp(now), "poolId": self.pool_id}
        self._world = world
        self._changed = changed
        self._expiry: asyncio.Task[None] | None = None

    @property
    def state(self) -> str:
        return str(self.wire["state"])

    @property
    def pool_id(self) -> str:
        return str(self.wire["poolInfo"]["poolId"])

    @property
    def is_open(self) -> bool:
        """Whether it counts against the account's quota."""
        return self.state not in REFUSALS

    @property
    def environment(self) -> list[Wire]:
        return self.wire.get("commonEnvironmentSettings") or []

    @property
    def most_retries(self) -> int:
        return int((self.wire.get("constraints") or {}).get("maxTaskRetryCount") or 0)

    def open(self) -> None:
        """It counts from now on. One without tasks is done already, for what that is worth."""
        self._watch()
        self._finish_if_done()

    def task(self, task_id: str) -> Task:
        task = self.tasks.get(task_id.lower())
        if task is None:
            raise absent("Task")
        return task

    def check_open(self) -> None:
        """Raises `Problem` if it is over."""
        if self.state in REFUSALS:
            raise conflict(*REFUSALS[self.state])

    def add(self, spec: Wire) -> Task:
        self.check_open()
        key = spec["id"].lower()
        if key in self.tasks:
            raise conflict("TaskExists", "The specified task already exists.")
        task = Task(spec, self.wire["url"], self._world.clock.now(), self._moved)
        self.tasks[key] = self.waiting[key] = task
        self._changed()
        return task

    def next(self) -> Task | None:
        """The task to run next, if one may."""
        most = self.wire["maxParallelTasks"]
        if self.state != "active" or (most != -1 and len(self.running) >= most):
            return None
        return next(iter(self.waiting.values()), None)

    def end(self, task: Task) -> None:
        """Terminate it; what it runs is ended beside."""
        self._check_kept()
        if task.state == "completed":
            raise conflict("TaskCompleted", "The specified task is already in a completed state.")
        self._stop(task, "end")

    def remove(self, task: Task) -> None:
        """Delete it; what it runs is ended beside."""
        self._check_kept()
        key = task.id.lower()
        for tasks in (self.tasks, self.waiting, self.running):
            tasks.pop(key, None)
        self._stop(task, "drop")
        self._finish_if_done()

    def reactivate(self, task: Task) -> None:
        if task.state != "completed" or not task.has_failed:
            raise conflict("TaskNotCompleted", "Only tasks that have failed can be activated again.")
        task.reactivated(self._world.clock.now())

    def terminate(self, reason: str) -> None:
        """Terminate it; what it runs is ended beside. What waits will wait for ever, as it does in Azure."""
        self.check_open()
        self._move("terminating")
        self._world.spawn(self._complete(reason))

    def disable(self, tasks: str) -> None:
        """Run nothing more; what runs is left alone, or ended, or will run again, beside."""
        self.check_open()
        self._move("disabling")
        self._world.spawn(self._come_to_rest(tasks))

    def enable(self) -> None:
        self.check_open()
        if self.state not in ("disabling", "disabled"):
            raise conflict("JobNotDisabled", "The specified job is not disabled.")
        self._move("active")

    async def delete(self) -> None:
        """Mark it and end what it runs; returns when nothing of it is left."""
        if self._expiry:
            self._expiry.cancel()
        self._move("deleting")
        await self._stop_all("drop")
        for directory in {task.run.directory.parents[1] for task in self.tasks.values() if task.run}:
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    def update(self, changes: Wire) -> None:
        self.check_open()
        if "poolInfo" in changes and changes["poolInfo"] != self.wire["poolInfo"] and self.state != "disabled":
            raise Problem(409, "JobNotDisabled", "The pool of a job can only be changed while it is disabled.")
        self.wire.update(changes)
        self.wire["executionInfo"]["poolId"] = self.pool_id
        touch(self.wire, self._world.clock.now())
        self._watch()
        self._finish_if_done()
        self._changed()

    def counts(self) -> Wire:
        """In tasks and in slots."""
        groups: dict[str, list[Task]] = {
            "active": list(self.waiting.values()),
            "running": list(self.running.values()),
            "completed": list(self._completed()),
            "succeeded": [task for task in self._completed() if not task.has_failed],
            "failed": [task for task in self._completed() if task.has_failed],
        }
        return {
            "taskCounts": {name: len(tasks) for name, tasks in groups.items()},
            "taskSlotCounts": {name: sum(task.slots for task in tasks) for name, tasks in groups.items()},
        }

    def _check_kept(self) -> None:
        if self.state == "deleting":
            raise conflict(*REFUSALS["deleting"])

    def _completed(self) -> Iterator[Task]:
        return (task for task in self.tasks.values() if task.state == "completed")

    def _watch(self) -> None:
        """Keep to its wall clock time, which may have changed."""
        if self._expiry:
            self._expiry.cancel()
        limit = (self.wire.get("constraints") or {}).get("maxWallClockTime")
        self._expiry = self._world.spawn(self._expire(duration(limit).total_seconds())) if limit else None

    def _stop(self, task: Task, fate: Fate) -> None:
        if task.run:
            self._world.spawn(task.run.stop(fate))
        elif fate == "end":
            task.completed(TERMINATED, self._world.clock.now())

    def _moved(self, task: Task) -> None:
        key = task.id.lower()
        if key not in self.tasks:
            return
        self.waiting.pop(key, None)
        self.running.pop(key, None)
        if task.state == "active":
            self.waiting[key] = task
            self.waiting.move_to_end(key, last=False)  # it has waited for its turn once
        elif task.state != "completed":
            self.running[key] = task
        else:
            self._finish_if_done()
        self._changed()

    def _finish_if_done(self) -> None:
        is_done = not self.waiting and not self.running and self.state == "active"
        if is_done and self.wire["onAllTasksComplete"] == "terminatejob":
            self.terminate("AllTasksComplete")

    async def _complete(self, reason: str) -> None:
        await self._stop_all("end")
        if self.state == "terminating":
            self._move("completed")
            self.wire["executionInfo"].update({"endTime": stamp(self._world.clock.now()), "terminateReason": reason})

    async def _come_to_rest(self, tasks: str) -> None:
        fates: dict[str, Fate] = {"requeue": "requeue", "terminate": "end"}
        if tasks in fates:
            await self._stop_all(fates[tasks])
        while self.running and self.state == "disabling":
            await self._world.clock.sleep(0.05)
        if self.state == "disabling":
            self._move("disabled")

    async def _expire(self, seconds: float) -> None:
        await self._world.clock.sleep(seconds)
        if self.is_open:
            self.terminate("MaxWallClockTimeExpiry")

    async def _stop_all(self, fate: Fate) -> None:
        runs: list[Any] = [task.run for task in self.running.values() if task.run]
        await asyncio.gather(*(run.stop(fate) for run in runs))

    def _move(self, state: str) -> None:
        now = self._world.clock.now()
        move(self.wire, state, now)
        touch(self.wire, now)
        self._changed()
