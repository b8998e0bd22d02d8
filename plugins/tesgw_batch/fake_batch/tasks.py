"""A task of a job and its states: https://learn.microsoft.com/rest/api/batchservice/task/get#taskstate."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tesgw_batch.fake_batch.execution import Ended
from tesgw_batch.fake_batch.wire import Wire, duration, move, resource, stamp

if TYPE_CHECKING:
    from tesgw_batch.fake_batch.runs import Run

FOR_EVER = -1

TERMINATED = Ended(
    exit_code=None,
    failure={
        "category": "usererror",
        "code": "TaskEnded",
        "message": "Task Was Ended by User Request",
        "details": [{"name": "Message", "value": "The task was terminated, or ran longer than it may."}],
    },
)


class Task:
    """`moved` is called after each change of its state. `run` is the one that counts, if there is one."""

    def __init__(self, spec: Wire, job_url: str, now: datetime, moved: Callable[[Task], None]) -> None:
        self.id: str = spec["id"]
        self.spec = spec
        self.run: Run | None = None
        self.wire = resource(spec, f"{job_url}/tasks/{self.id}", "active", now)
        self.wire["executionInfo"] = {"retryCount": 0, "requeueCount": 0}
        self.wire.setdefault("requiredSlots", 1)
        self._moved = moved

    @property
    def state(self) -> str:
        return str(self.wire["state"])

    @property
    def slots(self) -> int:
        return int(self.wire["requiredSlots"])

    @property
    def has_failed(self) -> bool:
        return bool(self.wire["executionInfo"].get("result") == "failure")

    @property
    def wall_clock_seconds(self) -> float | None:
        limit = self._constraint("maxWallClockTime")
        return duration(limit).total_seconds() if limit else None

    def assigned(self, run: Run, now: datetime) -> None:
        self.run = run
        self.wire["nodeInfo"] = run.node_info()
        self._move("preparing", now)

    def started(self, now: datetime) -> None:
        """Also when it is tried again."""
        self._info["startTime"] = stamp(now)
        if self.state != "running":
            self._move("running", now)

    def may_retry(self, ended: Ended, most: int) -> bool:
        """Whether this failure is one more than it may have; `most` is what its job allows."""
        own = self._constraint("maxTaskRetryCount")
        limit = most if own is None else own
        return ended.failure is not None and (limit == FOR_EVER or self._info["retryCount"] < limit)

    def retried(self, now: datetime) -> None:
        self._info["retryCount"] += 1
        self._info["lastRetryTime"] = stamp(now)

    def requeued(self, now: datetime) -> None:
        """Its node is gone, or given up. That is no retry."""
        self.run = None
        self.wire.pop("nodeInfo", None)
        self._info.pop("startTime", None)
        self._info["requeueCount"] += 1
        self._info["lastRequeueTime"] = stamp(now)
        self._move("active", now)

    def completed(self, ended: Ended, now: datetime) -> None:
        self._info["endTime"] = stamp(now)
        if ended.exit_code is not None:
            self._info["exitCode"] = ended.exit_code
        if ended.failure is not None:
            self._info["failureInfo"] = dict(ended.failure)
        self._info["result"] = "success" if ended.failure is None else "failure"
        self._move("completed", now)

    def reactivated(self, now: datetime) -> None:
        """Once more from the start."""
        self.run = None
        self.wire.pop("nodeInfo", None)
        self.wire["executionInfo"] = {"retryCount": 0, "requeueCount": self._info["requeueCount"]}
        self._move("active", now)

    @property
    def _info(self) -> Wire:
        info: Wire = self.wire["executionInfo"]
        return info

    def _constraint(self, name: str) -> Any:
        return (self.wire.get("constraints") or {}).get(name)

    def _move(self, state: str, now: datetime) -> None:
        move(self.wire, state, now)
        self._moved(self)
