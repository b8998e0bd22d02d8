"""Answers are stored bytes that nothing validates on the way out, so every stored form is held against the specification."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import orjson
import pytest

from tesgw.model import Dialect, ExecutorLog, Handle, Observation, OutputFile, View
from tesgw.states import State
from tesgw.store import TaskQuery
from tests.api.conftest import NOW, Gateway, executor, task
from tests.api.specification import faults
from tests.api.test_create import FULL_TASK, HINTS

LATER = NOW + dt.timedelta(seconds=1.5)
DONE = ExecutorLog(start_time=NOW, end_time=LATER, exit_code=1, stdout="out\0\n", stderr="ü")
RUNNING = ExecutorLog(start_time=NOW, stdout="so far")
OUTPUT = OutputFile(url="file:///out/a", path="/work/a", size_bytes=2**40)

SEEN: dict[str, dict[str, Any]] = {
    "nothing yet": {"state": State.QUEUED, "reason": "Waiting for 4 cores."},
    "initializing": {"state": State.INITIALIZING, "start_time": NOW},
    "running": {"state": State.RUNNING, "start_time": NOW, "executors": (DONE, RUNNING), "metadata": {"host": "a"}},
    "complete": {
        "state": State.COMPLETE,
        "start_time": NOW,
        "end_time": LATER,
        "executors": (DONE, DONE),
        "outputs": (OUTPUT,),
        "system_logs": ("one", "two"),
    },
    "failed": {"state": State.SYSTEM_ERROR, "system_logs": ("The image 'x' does not exist.",)},
}


def _nulls(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_nulls(item) for item in value.values())
    return any(_nulls(item) for item in value) if isinstance(value, list) else value is None


async def _check_forms(gateway: Gateway, task_id: str, *, is_running: bool) -> dict[str, Any]:
    """Hold every form of a task against the specification; answers with the fullest one."""
    for dialect in Dialect:
        for view in (View.BASIC, View.FULL):
            shown = orjson.loads(await gateway.store.get(task_id, view, dialect))
            assert faults("tesTask", shown, is_running=is_running) == []
            assert not _nulls(shown)
            page = orjson.loads(b"".join(await gateway.store.page(TaskQuery(view=view, dialect=dialect))))
            assert page == {"tasks": [shown]}
        assert set(orjson.loads(await gateway.store.get(task_id, View.MINIMAL, dialect))) == {"id", "state"}
    full: dict[str, Any] = orjson.loads(await gateway.store.get(task_id, View.FULL, Dialect.TES_1_1))
    for time in re.findall(r'_time":"([^"]*)"', orjson.dumps(full).decode()):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z", time)
    return full


@pytest.mark.parametrize("sent", [task(), FULL_TASK, HINTS], ids=["least", "all", "hints"])
async def test_every_form_of_a_new_task_is_that_of_the_specification(gateway: Gateway, sent: dict[str, Any]) -> None:
    task_id = await gateway.create(sent)

    await _check_forms(gateway, task_id, is_running=False)


@pytest.mark.parametrize("seen", SEEN.values(), ids=SEEN)
async def test_every_form_of_an_observed_task_is_that_of_the_specification(gateway: Gateway, seen: dict[str, Any]) -> None:
    task_id = await gateway.create({"executors": [executor(), executor()]})
    handle = Handle((await gateway.store.read(task_id)).job_id, "token")
    assert await gateway.store.submitted(handle)
    assert await gateway.store.record([Observation(handle=handle, **seen)]) == [True]

    full = await _check_forms(gateway, task_id, is_running=seen["state"] is State.RUNNING)

    assert full["state"] == seen["state"]
    assert all({"logs", "outputs"} <= set(log) for log in full["logs"])


async def test_every_attempt_of_a_retried_task_is_that_of_the_specification(gateway: Gateway) -> None:
    task_id = await gateway.create(task())
    handle = Handle((await gateway.store.read(task_id)).job_id)
    await gateway.store.submitted(handle)
    await gateway.store.record([Observation(handle=handle, state=State.RUNNING, start_time=NOW, executors=(RUNNING,))])
    assert await gateway.store.retry(handle.job_id, "The machine was taken away.")

    full = await _check_forms(gateway, task_id, is_running=True)

    assert "The machine was taken away." in full["logs"][0]["system_logs"]
