from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from tesgw import BackendRefused, BackendUnavailable, ExecutorLog, Handle, Job, State
from tesgw.backends import Backend, Context
from tesgw.model import Dialect, MissingOutputs, View
from tesgw.scheduler import MOST_ATTEMPTS, MOST_FAULTS, Scheduler
from tesgw.store import NewTask, TaskStore
from tests.core.scripted import Script, ScriptedBackend


class Bench:
    """A scheduler on a real store, stepped by hand, at a clock that the test turns."""

    def __init__(self, store: TaskStore, script: Script) -> None:
        self.store, self.script = store, script
        self.time = 1000.0
        self.scheduler = Scheduler(store, lambda: self.time)
        self.backend = Backend("b", ScriptedBackend(script), Context("b", {}, lambda handle: None))
        self.scheduler._backends = {"b": self.backend}

    async def add(self, task_id: str = "a" * 26, backend: str = "b", **document: Any) -> str:
        document = {"executors": [{"image": "busybox", "command": ["true"]}], **document}
        await self.store.add(
            NewTask(
                id=task_id,
                created=datetime(2026, 1, 1, tzinfo=UTC),
                backend=backend,
                document=document,
                missing_outputs=MissingOutputs.ERROR,
                warnings=(),
            )
        )
        return task_id

    async def steps(self, count: int = 1) -> None:
        """Step whatever is due, `count` times, an hour apart."""
        for _ in range(count):
            for due in await self.store.due(self.time):
                await self.scheduler.step(due.id)
            self.time += 3600

    async def poll(self) -> None:
        await self.scheduler.poll_all(self.backend)

    async def task(self, task_id: str = "a" * 26) -> dict[str, Any]:
        answer: dict[str, Any] = orjson.loads(await self.store.get(task_id, View.FULL, Dialect.TES_1_1))
        return answer

    async def state(self, task_id: str = "a" * 26) -> str:
        return str((await self.task(task_id))["state"])


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    store = await TaskStore.open(f"sqlite+aiosqlite:///{tmp_path}/tesgw.db")
    yield Bench(store, Script())
    await store.close()


JOB = "a" * 26 + "-1"


async def test_a_task_goes_from_queue_to_end_and_is_retired(bench: Bench) -> None:
    await bench.add()
    await bench.steps()
    bench.script.says(JOB, State.RUNNING, executors=(ExecutorLog(start_time=datetime(2026, 1, 1, tzinfo=UTC)),))
    await bench.poll()
    assert await bench.state() == "RUNNING"

    bench.script.says(JOB, State.COMPLETE, executors=(ExecutorLog(exit_code=0, stdout="hi"),))
    await bench.poll()
    await bench.steps(2)

    task = await bench.task()
    assert task["state"] == "COMPLETE"
    assert task["logs"][0]["logs"] == [{"exit_code": 0, "stdout": "hi"}]
    assert bench.script.count("submit") == 1
    assert bench.script.count("cancel") == 1
    assert await bench.store.due(bench.time) == []


async def test_one_call_polls_many(bench: Bench) -> None:
    for letter in "abcdefgh":
        await bench.add(letter * 26)
    await bench.steps()
    bench.script.polls.clear()

    await bench.poll()

    assert bench.script.polls == [8]


async def test_what_is_no_news_is_not_recorded_again(bench: Bench, tmp_path: Path) -> None:
    await bench.add()
    await bench.steps()
    bench.script.says(JOB, State.RUNNING)
    await bench.poll()
    # SQLite's own count of the commits that other connections made.
    with closing(sqlite3.connect(tmp_path / "tesgw.db")) as other:
        before = other.execute("PRAGMA data_version").fetchone()

        await bench.poll()

        assert other.execute("PRAGMA data_version").fetchone() == before
        bench.script.says(JOB, State.COMPLETE)
        await bench.poll()
        assert other.execute("PRAGMA data_version").fetchone() != before


async def test_a_refused_task_fails_with_the_reason(bench: Bench) -> None:
    bench.script.errors["submit"] = [BackendRefused("no machine has 1000 cores")]
    await bench.add()

    await bench.steps(2)

    task = await bench.task()
    assert task["state"] == "SYSTEM_ERROR"
    assert task["logs"][0]["system_logs"] == ["no machine has 1000 cores"]


async def test_an_unavailable_backend_is_asked_again_and_the_reason_is_visible(bench: Bench) -> None:
    bench.script.errors["submit"] = [BackendUnavailable("the service is down")] * 9
    await bench.add()

    await bench.steps()
    assert await bench.state() == "QUEUED"
    assert "the service is down" in (await bench.task())["logs"][0]["system_logs"][0]

    await bench.steps(9)
    assert bench.script.count("submit") == 10
    bench.script.says(JOB, State.COMPLETE)
    await bench.poll()
    assert await bench.state() == "COMPLETE"


async def test_a_backend_that_keeps_failing_ends_the_task(bench: Bench) -> None:
    bench.script.errors["submit"] = [RuntimeError("bug")] * MOST_FAULTS
    await bench.add()

    await bench.steps(MOST_FAULTS + 1)

    task = await bench.task()
    assert task["state"] == "SYSTEM_ERROR"
    assert "bug" in task["logs"][0]["system_logs"][-1]
    assert bench.script.count("submit") == MOST_FAULTS


async def test_cancel_before_the_submit_starts_nothing(bench: Bench) -> None:
    await bench.add()
    await bench.store.cancel("a" * 26)

    await bench.steps(2)

    assert await bench.state() == "CANCELED"
    assert bench.script.count("submit") == 0


async def test_cancel_while_submitting_leaves_nothing_running(bench: Bench) -> None:
    async def cancel(job: Job) -> None:
        await bench.store.cancel("a" * 26)

    bench.script.on_submit = cancel
    await bench.add()

    await bench.steps(3)

    assert ("cancel", JOB) in bench.script.calls
    assert await bench.state() == "CANCELED"


async def test_canceling_lasts_until_the_backend_has_stopped(bench: Bench) -> None:
    bench.script.on_cancel = None
    await bench.add()
    await bench.steps()
    bench.script.says(JOB, State.RUNNING)
    await bench.poll()
    await bench.store.cancel("a" * 26)

    await bench.steps(2)
    await bench.poll()
    assert await bench.state() == "CANCELING"

    bench.script.says(JOB, State.CANCELED)
    await bench.poll()
    assert await bench.state() == "CANCELED"


@pytest.mark.parametrize("late", [State.COMPLETE, State.EXECUTOR_ERROR, State.SYSTEM_ERROR])
async def test_a_job_that_ends_while_it_is_cancelled_ends_as_canceled(bench: Bench, late: State) -> None:
    bench.script.on_cancel = None
    await bench.add()
    await bench.steps()
    await bench.store.cancel("a" * 26)
    bench.script.says(JOB, late, executors=(ExecutorLog(exit_code=0),))
    await bench.poll()
    assert await bench.state() == "CANCELING"

    await bench.steps()

    task = await bench.task()
    assert task["state"] == "CANCELED"
    assert task["logs"][0]["logs"] == [{"exit_code": 0}]


async def test_a_preempted_job_is_tried_again_as_a_new_attempt(bench: Bench) -> None:
    await bench.add()
    await bench.steps()
    bench.script.says(JOB, State.PREEMPTED, reason="the node was reclaimed")
    await bench.poll()
    assert await bench.state() == "QUEUED"

    await bench.steps()
    second = "a" * 26 + "-2"
    bench.script.says(second, State.COMPLETE)
    await bench.poll()

    task = await bench.task()
    assert task["state"] == "COMPLETE"
    assert len(task["logs"]) == 2
    assert "the node was reclaimed" in task["logs"][0]["system_logs"][0]
    assert ("cancel", JOB) in bench.script.calls


async def test_a_job_that_is_preempted_again_and_again_ends_in_a_classic_state(bench: Bench) -> None:
    await bench.add()
    for attempt in range(1, MOST_ATTEMPTS + 1):
        await bench.steps()
        bench.script.says(f"{'a' * 26}-{attempt}", State.PREEMPTED, reason="reclaimed")
        await bench.poll()

    task = await bench.task()
    assert task["state"] == "SYSTEM_ERROR"
    assert len(task["logs"]) == MOST_ATTEMPTS


async def test_a_lost_job_fails_and_keeps_what_was_seen_of_it(bench: Bench) -> None:
    await bench.add()
    await bench.steps()
    bench.script.says(JOB, State.RUNNING, executors=(ExecutorLog(stdout="half"),))
    await bench.poll()
    bench.script.observations.clear()

    await bench.poll()

    task = await bench.task()
    assert task["state"] == "SYSTEM_ERROR"
    assert task["logs"][0]["logs"][0]["stdout"] == "half"
    assert "no longer knows" in task["logs"][0]["system_logs"][-1]


async def test_after_a_restart_open_tasks_are_submitted_again_and_adopted(bench: Bench) -> None:
    await bench.add()
    await bench.steps()
    bench.script.says(JOB, State.RUNNING)
    await bench.poll()

    await bench.store.reopen()
    assert await bench.store.handles("b") == ([], 0)
    await bench.steps()

    assert bench.script.count("submit") == 2
    assert (await bench.store.handles("b"))[0] == [Handle(JOB)]
    assert await bench.state() == "RUNNING"


async def test_a_task_at_a_backend_that_is_not_loaded_waits_and_says_so(bench: Bench) -> None:
    await bench.add(backend="slurm")

    await bench.steps()

    task = await bench.task()
    assert task["state"] == "QUEUED"
    assert "'slurm'" in task["logs"][0]["system_logs"][0]


async def test_a_backend_hears_of_the_start_although_no_task_asks_for_it(bench: Bench) -> None:
    await bench.scheduler.start({"b": bench.backend})
    while not bench.script.polls:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)
    await bench.scheduler.stop()

    assert bench.script.polls == [0]


async def test_a_failing_poll_changes_nothing(bench: Bench) -> None:
    await bench.add()
    await bench.steps()
    bench.script.says(JOB, State.RUNNING)
    await bench.poll()
    bench.script.errors["poll"] = [BackendUnavailable("down")]

    await bench.poll()

    assert await bench.state() == "RUNNING"
