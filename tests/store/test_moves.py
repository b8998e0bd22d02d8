"""Which changes of a task take, and what is due after them."""

from __future__ import annotations

import pytest

from tesgw.model import Handle, View
from tesgw.states import TERMINAL, State
from tesgw.store import TaskStore
from tests.store.making import NOON, complete, get, new, seen

FAR = 1e12


async def state_of(store: TaskStore, task_id: str) -> str:
    return str((await get(store, task_id, View.MINIMAL))["state"])


async def due_ids(store: TaskStore, now: float = FAR, limit: int = 200) -> list[str]:
    return [due.id for due in await store.due(now, limit)]


async def test_late_running_does_not_undo_cancel(store: TaskStore) -> None:
    await store.add(new("a"))
    await store.cancel("a")

    assert await store.record([seen("a-1", State.RUNNING)]) == [False]
    assert await state_of(store, "a") == "CANCELING"


@pytest.mark.parametrize("end", sorted(TERMINAL - {State.CANCELED}))
async def test_what_is_being_cancelled_ends_as_canceled_only(store: TaskStore, end: State) -> None:
    await store.add(new("a"))
    await store.cancel("a")

    assert await store.record([seen("a-1", end)]) == [False]
    assert await store.record([seen("a-1", State.CANCELED)]) == [True]
    assert await state_of(store, "a") == "CANCELED"


@pytest.mark.parametrize("late", [state for state in State if state is not State.COMPLETE])
async def test_nothing_late_undoes_an_end(store: TaskStore, late: State) -> None:
    await store.add(new("a"))
    await store.record([complete("a-1")])
    before = await get(store, "a")

    assert await store.record([seen("a-1", late, system_logs=("late",))]) == [False]
    assert await store.end("a-1", State.SYSTEM_ERROR, "late") is False
    assert await store.retry("a-1", "late") is False
    assert await store.cancel("a") is State.COMPLETE
    assert await get(store, "a") == before


async def test_end_is_recorded_once(store: TaskStore) -> None:
    await store.add(new("a"))

    assert await store.record([complete("a-1"), complete("a-1")]) == [True, False]


async def test_states_do_not_go_back(store: TaskStore) -> None:
    await store.add(new("a"))

    assert await store.record([seen("a-1", State.RUNNING), seen("a-1", State.INITIALIZING)]) == [True, False]
    assert await state_of(store, "a") == "RUNNING"


async def test_observation_of_an_earlier_attempt_is_ignored(store: TaskStore) -> None:
    await store.add(new("a"))
    assert await store.retry("a-1", "preempted")
    before = await get(store, "a")

    assert await store.record([complete("a-1")]) == [False]
    assert await store.submitted(Handle("a-1", "t")) is False
    assert await store.end("a-1", State.SYSTEM_ERROR) is False
    assert await store.retry("a-1", "again") is False
    assert await get(store, "a") == before


@pytest.mark.parametrize("job_id", ["", "a", "a-", "a-x", "-1", "b-1", "a-²"])
async def test_observation_of_an_unknown_job_is_ignored(store: TaskStore, job_id: str) -> None:
    await store.add(new("a"))

    assert await store.record([complete(job_id), complete("a-1")]) == [False, True]


async def test_cancel_is_due_at_once_and_may_be_repeated(store: TaskStore) -> None:
    await store.add(new("a"))
    await store.submitted(Handle("a-1", "t"))
    assert await store.due_one("a") is None

    assert await store.cancel("a") is State.CANCELING
    assert await store.cancel("a") is State.CANCELING
    [due] = await store.due(0.0)
    assert (due.id, due.job_id, due.attempt, due.state, due.backend) == ("a", "a-1", 1, State.CANCELING, "local")
    assert due.is_submitted


async def test_submit_that_meets_a_cancel_is_refused_and_stays_due(store: TaskStore) -> None:
    await store.add(new("a"))
    await store.cancel("a")

    assert await store.submitted(Handle("a-1", "t")) is False
    assert await due_ids(store) == ["a"]


async def test_submitted_task_is_polled_and_not_due(store: TaskStore) -> None:
    await store.add(new("a"))
    assert await due_ids(store) == ["a"]

    assert await store.submitted(Handle("a-1", "t")) is True
    assert await due_ids(store) == []
    assert (await store.handles("local"))[0] == [Handle("a-1", "t")]


async def test_end_is_due_until_it_is_retired(store: TaskStore) -> None:
    await store.add(new("a"))
    await store.submitted(Handle("a-1", "t"))
    await store.record([complete("a-1")])
    assert [(due.state, due.is_submitted) for due in await store.due(0.0)] == [(State.COMPLETE, True)]
    assert (await store.handles("local"))[0] == []
    assert await store.backends_in_use() == ["local"]

    await store.retired("a")
    assert await store.due_one("a") is None
    assert await store.backends_in_use() == []


async def test_open_task_cannot_be_retired(store: TaskStore) -> None:
    await store.add(new("a"))
    await store.retired("a")

    assert await due_ids(store) == ["a"]


async def test_retry_keeps_the_attempt_as_an_earlier_entry(store: TaskStore) -> None:
    await store.add(new("a", warnings=("w",)))
    await store.submitted(Handle("a-1", "t"))
    await store.record([seen("a-1", State.RUNNING, start_time=NOON, system_logs=("host a",))])

    assert await store.retry("a-1", "preempted") is True
    answer = await get(store, "a")
    assert answer["state"] == "QUEUED"
    earlier, current = answer["logs"]
    assert earlier["system_logs"] == ["w", "host a", "preempted"]
    assert earlier["end_time"] >= "2026-11"
    assert current == {"logs": [], "outputs": [], "system_logs": ["w"]}
    basic_earlier, basic_current = (await get(store, "a", View.BASIC))["logs"]
    assert basic_earlier == {key: value for key, value in earlier.items() if key != "system_logs"}
    assert basic_current == {"logs": [], "outputs": []}
    [due] = await store.due(0.0)
    assert (due.job_id, due.is_submitted, due.tries) == ("a-2", False, 0)


async def test_cancelled_task_is_not_tried_again(store: TaskStore) -> None:
    await store.add(new("a"))
    await store.cancel("a")

    assert await store.retry("a-1", "preempted") is False
    assert await state_of(store, "a") == "CANCELING"


async def test_ending_keeps_what_was_logged_and_says_why(store: TaskStore) -> None:
    await store.add(new("a"))
    await store.record([seen("a-1", State.RUNNING, system_logs=("host a",))])

    assert await store.end("a-1", State.SYSTEM_ERROR, "lost") is True
    answer = await get(store, "a")
    assert answer["state"] == "SYSTEM_ERROR"
    [entry] = answer["logs"]
    assert entry.pop("end_time").endswith("Z")
    assert entry == {"logs": [], "outputs": [], "system_logs": ["host a", "lost"]}
    assert await due_ids(store, now=0.0) == ["a"]


async def test_deferred_task_is_due_later_and_at_a_hint(store: TaskStore) -> None:
    await store.add(new("a"))
    await store.defer("a", 1000.0, 3)

    assert await due_ids(store, now=999.0) == []
    assert await due_ids(store, now=1000.0) == ["a"]
    one = await store.due_one("a")
    assert one is not None
    assert one.tries == 3


async def test_deferring_makes_nothing_due(store: TaskStore) -> None:
    await store.add(new("a"))
    await store.submitted(Handle("a-1", "t"))
    await store.defer("a", 0.0, 1)

    assert await store.due_one("a") is None


async def test_cancel_undoes_a_deferral(store: TaskStore) -> None:
    await store.add(new("a"))
    await store.defer("a", FAR, 9)
    await store.cancel("a")

    assert [(due.id, due.tries) for due in await store.due(0.0)] == [("a", 0)]


async def test_oldest_is_due_first(store: TaskStore) -> None:
    for task_id in "cab":
        await store.add(new(task_id))

    assert await due_ids(store, limit=2) == ["c", "a"]


async def test_handles_are_paged_by_backend(store: TaskStore) -> None:
    for n in range(5):
        await store.add(new(f"t{n}", backend="other" if n == 2 else "local"))
        await store.submitted(Handle(f"t{n}-1", f"token {n}"))

    first, after = await store.handles("local", limit=3)
    rest, end = await store.handles("local", after, limit=3)
    assert [handle.job_id for handle in first + rest] == ["t0-1", "t1-1", "t3-1", "t4-1"]
    assert await store.handles("local", end) == ([], end)
    assert await store.backends_in_use() == ["local", "other"]


async def test_reopening_makes_open_tasks_due_unsubmitted(store: TaskStore) -> None:
    for task_id in ("queued", "running", "canceling", "ended", "retired"):
        await store.add(new(task_id))
        await store.submitted(Handle(f"{task_id}-1", "t"))
    await store.record([seen("running-1", State.RUNNING), complete("ended-1"), complete("retired-1")])
    await store.cancel("canceling")
    await store.retired("retired")
    await store.defer("ended", 500.0, 1)

    await store.reopen()
    now = {due.id: due.is_submitted for due in await store.due(0.0)}
    assert now == {"queued": False, "running": False, "canceling": False}
    assert await due_ids(store, now=500.0) == ["queued", "running", "canceling", "ended"]
    assert (await store.handles("local"))[0] == []
    assert await state_of(store, "running") == "RUNNING"
