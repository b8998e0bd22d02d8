"""What the views of a task show."""

from __future__ import annotations

import datetime as dt

import pytest

from tesgw.errors import TaskNotFound
from tesgw.model import Dialect, ExecutorLog, FileType, Input, MissingOutputs, OutputFile, View
from tesgw.states import State
from tesgw.store import TaskStore
from tests.store.making import EXECUTORS, complete, get, new, page, seen

INPUT = {"path": "/in", "content": "secret", "type": "FILE"}


async def test_minimal_is_id_and_state(store: TaskStore) -> None:
    await store.add(new("a", name="n"))

    assert await get(store, "a", View.MINIMAL) == {"id": "a", "state": "QUEUED"}


async def test_new_task_echoes_its_document_and_has_no_logs(store: TaskStore) -> None:
    await store.add(new("a", name='ü "%s" \\ \U0001f680', tags={"k": "%s"}))

    assert await get(store, "a") == {
        "id": "a",
        "state": "QUEUED",
        "creation_time": "2026-01-02T12:00:00.123Z",
        "executors": EXECUTORS,
        "name": 'ü "%s" \\ \U0001f680',
        "tags": {"k": "%s"},
    }


async def test_creation_time_is_shown_in_utc(store: TaskStore) -> None:
    task = new("a")
    east = task.created.astimezone(dt.timezone(dt.timedelta(hours=5)))
    await store.add(
        type(task)(id="b", created=east, backend="local", document=task.document, missing_outputs=MissingOutputs.WARN)
    )

    assert (await get(store, "b"))["creation_time"] == "2026-01-02T12:00:00.123Z"


async def test_content_of_inputs_is_shown_in_full_only(store: TaskStore) -> None:
    await store.add(new("a", inputs=[INPUT]))

    assert (await get(store, "a", View.BASIC))["inputs"] == [{"path": "/in", "type": "FILE"}]
    assert (await get(store, "a", View.FULL))["inputs"] == [INPUT]


async def test_streams_and_system_logs_are_shown_in_full_only(store: TaskStore) -> None:
    await store.add(new("a", warnings=("zones have no effect",)))
    await store.record([complete("a-1")])

    time = "2026-01-02T12:00:00.123Z"
    executor = {"start_time": time, "end_time": time, "exit_code": 0}
    entry = {"logs": [executor], "outputs": [], "start_time": time, "end_time": time}
    assert (await get(store, "a", View.BASIC))["logs"] == [entry]
    full = entry | {"logs": [executor | {"stdout": "out", "stderr": "err"}]}
    assert (await get(store, "a"))["logs"] == [full | {"system_logs": ["zones have no effect", "host a"]}]


async def test_running_executor_has_a_start_and_no_exit_code(store: TaskStore) -> None:
    await store.add(new("a"))
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    await store.record([seen("a-1", State.RUNNING, executors=(ExecutorLog(start_time=start),))])

    answer = await get(store, "a")
    assert answer["state"] == "RUNNING"
    assert answer["logs"] == [{"logs": [{"start_time": "2026-01-01T00:00:00.000Z"}], "outputs": []}]


async def test_outputs_and_metadata_are_strings(store: TaskStore) -> None:
    await store.add(new("a"))
    file = OutputFile(url="file:///x", path="/x", size_bytes=2**40)
    await store.record([seen("a-1", State.COMPLETE, outputs=(file,), metadata={"host": "n1"})])

    [entry] = (await get(store, "a", View.BASIC))["logs"]
    assert entry["outputs"] == [{"url": "file:///x", "path": "/x", "size_bytes": "1099511627776"}]
    assert entry["metadata"] == {"host": "n1"}


async def test_reason_for_waiting_is_a_system_log_until_the_next_observation(store: TaskStore) -> None:
    await store.add(new("a"))
    await store.record([seen("a-1", State.QUEUED, reason="no cpu is free")])
    assert (await get(store, "a"))["logs"] == [{"logs": [], "outputs": [], "system_logs": ["no cpu is free"]}]
    assert (await get(store, "a", View.BASIC))["logs"] == [{"logs": [], "outputs": []}]

    await store.record([seen("a-1", State.RUNNING)])
    assert "system_logs" not in (await get(store, "a"))["logs"][0]


async def test_warnings_are_shown_before_anything_is_observed(store: TaskStore) -> None:
    await store.add(new("a", warnings=("w",)))

    assert (await get(store, "a"))["logs"] == [{"logs": [], "outputs": [], "system_logs": ["w"]}]
    assert (await get(store, "a", View.BASIC))["logs"] == [{"logs": [], "outputs": []}]


@pytest.mark.parametrize("view", [View.BASIC, View.FULL])
async def test_1_0_shows_the_last_attempt_and_1_1_all(store: TaskStore, view: View) -> None:
    await store.add(new("a"))
    await store.record([seen("a-1", State.RUNNING, metadata={"n": "1"})])
    await store.retry("a-1", "preempted")
    await store.record([seen("a-2", State.RUNNING, metadata={"n": "2"})])
    await store.retry("a-2", "preempted")
    await store.record([seen("a-3", State.RUNNING, metadata={"n": "3"})])

    def attempts(answer: dict[str, list[dict[str, dict[str, str]]]]) -> list[str]:
        return [entry["metadata"]["n"] for entry in answer["logs"]]

    assert attempts(await get(store, "a", view)) == ["1", "2", "3"]
    assert attempts(await get(store, "a", view, Dialect.TES_1_0)) == ["3"]
    [listed] = (await page(store, view=view, dialect=Dialect.TES_1_0))["tasks"]
    assert attempts(listed) == ["3"]


async def test_new_attempt_without_news_has_no_entry(store: TaskStore) -> None:
    await store.add(new("a"))
    await store.retry("a-1", "preempted")

    [entry] = (await get(store, "a"))["logs"]
    assert entry["system_logs"] == ["preempted"]
    assert "logs" not in await get(store, "a", dialect=Dialect.TES_1_0)


@pytest.mark.parametrize("view", [View.BASIC, View.FULL])
async def test_logs_are_replaced_and_added_behind_any_characters(store: TaskStore, view: View) -> None:
    await store.add(new("a", name="ü\U0001f680", inputs=[INPUT | {"path": "/é"}], warnings=("\U0001f680",)))
    for words in ("é" * 9, "\U0001f680", "é"):
        await store.record([seen("a-1", State.RUNNING, metadata={"n": words})])
    await store.retry("a-1", "à")
    await store.record([seen("a-2", State.RUNNING, metadata={"n": "è"})])
    await store.end("a-2", State.SYSTEM_ERROR, "ö")

    answer, last = await get(store, "a", view), await get(store, "a", view, Dialect.TES_1_0)
    assert answer["name"] == "ü\U0001f680"
    assert [entry["metadata"] for entry in answer["logs"]] == [{"n": "é"}, {"n": "è"}]
    assert last == answer | {"logs": answer["logs"][1:]}
    assert (await store.read("a")).inputs[0].path == "/é"


@pytest.mark.parametrize("view", View)
async def test_1_0_shows_canceling_as_canceled(store: TaskStore, view: View) -> None:
    await store.add(new("a"))
    await store.cancel("a")

    assert (await get(store, "a", view, Dialect.TES_1_0))["state"] == "CANCELED"
    assert (await get(store, "a", view, Dialect.TES_1_1))["state"] == "CANCELING"


@pytest.mark.parametrize("view", View)
async def test_page_shows_tasks_as_get_does(store: TaskStore, view: View) -> None:
    await store.add(new("a", warnings=("w",), inputs=[INPUT]))
    await store.add(new("b", name="x,y"))
    await store.record([complete("b-1")])

    assert (await page(store, view=view))["tasks"] == [await get(store, "b", view), await get(store, "a", view)]


async def test_unknown_task_is_not_found(store: TaskStore) -> None:
    with pytest.raises(TaskNotFound, match="'x'"):
        await store.get("x", View.MINIMAL, Dialect.TES_1_1)
    with pytest.raises(TaskNotFound):
        await store.read("x")
    with pytest.raises(TaskNotFound):
        await store.cancel("x")


async def test_what_runs_is_the_whole_task_of_the_current_attempt(store: TaskStore) -> None:
    executor = EXECUTORS[0] | {"env": {"K": "v"}, "ignore_error": True}
    await store.add(new("a", name="n", inputs=[INPUT], executors=[executor], resources={"cpu_cores": 2, "ram_gb": 0.5}))
    await store.retry("a-1", "preempted")

    task = await store.read("a")
    assert (task.id, task.job_id, task.name, task.missing_outputs) == ("a", "a-2", "n", MissingOutputs.ERROR)
    assert task.inputs == (Input(path="/in", content="secret", type=FileType.FILE),)
    assert task.executors[0].command == ("true",)
    assert task.executors[0].env == {"K": "v"}
    assert task.executors[0].ignore_error
    assert (task.resources.cpu_cores, task.resources.ram_gb) == (2, 0.5)


async def test_every_task_keeps_its_own_warnings(store: TaskStore) -> None:
    for name in ("a", "b", "c"):
        await store.add(new(name, warnings=(f"of {name}",)))

    await store.record([seen("a-1", State.RUNNING), seen("b-1", State.COMPLETE)])
    await store.retry("c-1", "preempted")
    await store.record([seen("c-2", State.RUNNING)])

    shown = [log["system_logs"] for name in ("a", "b", "c") for log in (await get(store, name))["logs"]]
    assert shown == [["of a"], ["of b"], ["of c", "preempted"], ["of c"]]
