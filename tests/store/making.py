"""What the tests of the store make: tasks and observations, with as little as they need."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

from tesgw.model import Dialect, ExecutorLog, Handle, MissingOutputs, Observation, View
from tesgw.states import State
from tesgw.store import NewTask, TaskQuery, TaskStore

NOON = dt.datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=dt.UTC)
EXECUTORS = [{"image": "busybox", "command": ["true"]}]


def new(task_id: str, warnings: tuple[str, ...] = (), backend: str = "local", **document: Any) -> NewTask:
    """A new task whose document holds the keywords."""
    document = {"executors": EXECUTORS} | document
    return NewTask(
        id=task_id, created=NOON, backend=backend, document=document, missing_outputs=MissingOutputs.ERROR, warnings=warnings
    )


def seen(job_id: str, state: State, **more: Any) -> Observation:
    """An observation of the job."""
    return Observation(handle=Handle(job_id, "token"), state=state, **more)


def complete(job_id: str) -> Observation:
    """The last observation of a job that wrote to both its streams."""
    log = ExecutorLog(start_time=NOON, end_time=NOON, exit_code=0, stdout="out", stderr="err")
    return seen(job_id, State.COMPLETE, start_time=NOON, end_time=NOON, executors=(log,), system_logs=("host a",))


async def get(store: TaskStore, task_id: str, view: View = View.FULL, dialect: Dialect = Dialect.TES_1_1) -> dict[str, Any]:
    """The task as a client sees it."""
    answer: dict[str, Any] = json.loads(await store.get(task_id, view, dialect))
    return answer


async def page(store: TaskStore, **query: Any) -> dict[str, Any]:
    """One page as a client sees it."""
    answer: dict[str, Any] = json.loads(b"".join(await store.page(TaskQuery(**{"dialect": Dialect.TES_1_1} | query))))
    return answer


async def listed(store: TaskStore, **query: Any) -> list[str]:
    """The ids of all pages."""
    ids: list[str] = []
    answer: Mapping[str, Any] = {"next_page_token": ""}
    while "next_page_token" in answer:
        answer = await page(store, page_token=answer["next_page_token"], **query)
        ids += [task["id"] for task in answer["tasks"]]
    return ids
