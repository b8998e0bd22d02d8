"""A compute node: a directory of this machine, in which tasks run."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tesgw_batch.fake_batch.execution import Command, Ended, Execution, remove_node
from tesgw_batch.fake_batch.jobs import Job
from tesgw_batch.fake_batch.runs import Fate, Run
from tesgw_batch.fake_batch.tasks import Task
from tesgw_batch.fake_batch.wire import Wire, stamp
from tesgw_batch.fake_batch.world import World

ABSENT = ("preempted", "unknown")
"""Nodes in these states are none that the pool has."""


class Node:
    """`changed` is called when it can take tasks that it could not take before, or has gone idle."""

    def __init__(self, world: World, pool: Wire, *, is_dedicated: bool, changed: Callable[[], None]) -> None:
        self.world = world
        self.pool_id: str = pool["id"]
        self.is_dedicated = is_dedicated
        self.id = f"tvmps_{secrets.token_hex(12)}_{'d' if is_dedicated else 'p'}"
        self.root = world.directory / "nodes" / self.id
        self.runs: set[Run] = set()
        self.is_leaving = False
        self._pool = pool
        self._changed = changed
        now = stamp(world.clock.now())
        self.wire: Wire = {
            "id": self.id,
            "url": f"{world.url}/pools/{self.pool_id}/nodes/{self.id}",
            "state": "creating",
            "schedulingState": "enabled",
            "stateTransitionTime": now,
            "allocationTime": now,
            "lastBootTime": now,
            "ipAddress": "127.0.0.1",
            "ipv6Address": "::1",
            "affinityId": self.id,
            "vmSize": pool["vmSize"],
            "isDedicated": is_dedicated,
            "totalTasksRun": 0,
            "totalTasksSucceeded": 0,
            "runningTasksCount": 0,
            "runningTaskSlotsCount": 0,
            "nodeAgentInfo": {"version": "1.0", "lastUpdateTime": now},
            "virtualMachineInfo": {"imageReference": pool["virtualMachineConfiguration"]["imageReference"]},
        }
        self._booting = world.spawn(self._boot())

    @property
    def state(self) -> str:
        return str(self.wire["state"])

    @property
    def is_there(self) -> bool:
        """Whether it counts among the pool's nodes."""
        return self.state not in ABSENT

    @property
    def free_slots(self) -> int:
        if self.is_leaving or self.state not in ("idle", "running"):
            return 0
        return int(self._pool["taskSlotsPerNode"]) - int(self.wire["runningTaskSlotsCount"])

    def assign(self, task: Task, job: Job) -> None:
        run = Run(task, job, self)
        self.runs.add(run)
        self.wire["totalTasksRun"] += 1
        self._count(task.slots)

    def release(self, run: Run, *, succeeded: bool) -> None:
        self.runs.discard(run)
        self.wire["totalTasksSucceeded"] += succeeded
        self._count(-run.task.slots)
        self._changed()

    async def stop(self, fate: Fate) -> None:
        """End what it runs, and return when it has ended."""
        await asyncio.gather(*(run.stop(fate) for run in self.runs))

    @property
    def has_containers(self) -> bool:
        return bool(self._pool["virtualMachineConfiguration"].get("containerConfiguration"))

    def lost(self, state: str) -> None:
        """The service takes it for gone: what it ran will run elsewhere. Its processes are another matter."""
        self._booting.cancel()
        self._move(state)
        for run in self.runs:
            run.lost()
        self.wire["runningTasksCount"] = self.wire["runningTaskSlotsCount"] = 0

    async def remove(self) -> None:
        """The machine is no more, and no process or container of it."""
        self._booting.cancel()
        await remove_node(self.root)
        await asyncio.gather(self._gone(), *(run.abandon() for run in self.runs))
        self.runs.clear()

    def environment(self, task_directory: Path) -> dict[str, str]:
        """What Batch defines for a command on this node."""
        return {
            **self.world.variables,
            "AZ_BATCH_ACCOUNT_NAME": self.world.account,
            "AZ_BATCH_ACCOUNT_URL": f"{self.world.url}/",
            "AZ_BATCH_POOL_ID": self.pool_id,
            "AZ_BATCH_NODE_ID": self.id,
            "AZ_BATCH_NODE_IS_DEDICATED": str(self.is_dedicated).lower(),
            "AZ_BATCH_NODE_ROOT_DIR": str(self.root),
            "AZ_BATCH_NODE_SHARED_DIR": str(self.root / "shared"),
            "AZ_BATCH_NODE_MOUNTS_DIR": str(self.root / "mounts"),
            "AZ_BATCH_NODE_STARTUP_DIR": str(self.root / "startup"),
            "AZ_BATCH_NODE_STARTUP_WORKING_DIR": str(self.root / "startup" / "wd"),
            "AZ_BATCH_TASK_DIR": str(task_directory),
            "AZ_BATCH_TASK_WORKING_DIR": str(task_directory / "wd"),
        }

    async def _gone(self) -> None:
        await asyncio.wait([self._booting])

    async def _boot(self) -> None:
        await self.world.clock.sleep(self.world.pace.boot_seconds)
        self._move("starting")
        self._prepare()
        start_task = self._pool.get("startTask")
        if start_task and not await self._set_up(start_task) and start_task.get("waitForSuccess", True):
            self._move("starttaskfailed")
        else:
            self._move("idle")
        self._changed()

    def _prepare(self) -> None:
        for name in ("shared", "startup/wd", "workitems", "mounts"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        for mount in self._pool.get("mountConfiguration") or ():
            share = mount["azureFileShareConfiguration"]
            source = self.world.mounts / str(share["azureFileUrl"]).rstrip("/").rpartition("/")[2]
            source.mkdir(parents=True, exist_ok=True)
            source.chmod(0o1777)  # for any user of any image, as a share mounted with dir_mode=0777 is
            target = self.root / "mounts" / share["relativeMountPath"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(source)

    async def _set_up(self, start_task: Wire) -> bool:
        """Run the start task, as often as it may fail. Whether it succeeded."""
        if start_task.get("waitForSuccess", True):
            self._move("waitingforstarttask")
        info: Wire = {"state": "running", "startTime": stamp(self.world.clock.now()), "retryCount": 0}
        self.wire["startTask"], self.wire["startTaskInfo"] = start_task, info
        while (ended := await self._run_start_task(start_task)).failure and _retries(start_task, info):
            info["retryCount"] += 1
            info["lastRetryTime"] = stamp(self.world.clock.now())
        info.update({"state": "completed", "endTime": stamp(self.world.clock.now())})
        info["result"] = "failure" if ended.failure else "success"
        if ended.exit_code is not None:
            info["exitCode"] = ended.exit_code
        if ended.failure:
            info["failureInfo"] = dict(ended.failure)
        return not ended.failure

    async def _run_start_task(self, start_task: Wire) -> Ended:
        directory = self.root / "startup"
        if self.world.start_task_failure is not None:
            (directory / "stderr.txt").write_text(self.world.start_task_failure)
            failure = {"category": "usererror", "code": "FailureExitCode", "message": "The start task exited with code 1."}
            return Ended(exit_code=1, failure=failure)
        settings: Any = start_task.get("environmentSettings") or ()
        command = Command(
            command_line=start_task["commandLine"],
            environment={
                **self.environment(directory),
                **{setting["name"]: setting.get("value") or "" for setting in settings},
            },
            directory=directory,
            node_root=self.root,
            container=start_task.get("containerSettings"),
            resource_files=start_task.get("resourceFiles") or (),
        )
        return await Execution(command, self.world.programs).run()

    def _count(self, more_slots: int) -> None:
        self.wire["runningTasksCount"] = len(self.runs)
        self.wire["runningTaskSlotsCount"] += more_slots
        state = "running" if self.runs else "idle"
        if self.state in ("idle", "running") and self.state != state:
            self._move(state)

    def _move(self, state: str) -> None:
        self.wire["state"], self.wire["stateTransitionTime"] = state, stamp(self.world.clock.now())


def _retries(start_task: Wire, info: Wire) -> bool:
    most = start_task.get("maxTaskRetryCount") or 0
    return bool(most < 0 or info["retryCount"] < most)
