"""What is made of what Batch says of jobs."""

from __future__ import annotations

from datetime import timedelta

import pytest
from azure.batch import models
from tesgw_batch import dispatch
from tesgw_batch.pools import JOB_SECONDS

from tesgw import BackendUnavailable, State
from tests.plugins.batch.dispatch.turns import ADD, LIST, THEIRS, Fleet, run, tasks
from tests.plugins.batch.fake_batch.double import Double
from tests.plugins.batch.gateway import DEDICATED, SPOT, entry

# After a restart


async def test_tasks_of_a_former_gateway_are_adopted(double: Double, fleet: Fleet, next_fleet: Fleet) -> None:
    fleet.take(entry("a-1"), entry("b-1", SPOT))
    await fleet.dispatch.add()
    added = double.batch.requests[ADD]

    next_fleet.take(entry("a-1"), entry("b-1", SPOT), entry("c-1"))
    await next_fleet.dispatch.look()  # too early: nothing is known
    await next_fleet.dispatch.add()
    assert double.batch.requests[ADD] == added + 1
    assert await tasks(double) == ["a-1", "b-1", "c-1"]
    assert {each.batch_job for each in next_fleet.entries.values()} == {each.batch_job for each in fleet.entries.values()}


async def test_nothing_is_added_before_all_that_is_there_is_known(double: Double, fleet: Fleet, next_fleet: Fleet) -> None:
    fleet.take(entry())
    await fleet.dispatch.add()
    next_fleet.take(entry())
    double.batch.faults.refusing(LIST)
    with pytest.raises(BackendUnavailable):
        await next_fleet.dispatch.add()
    assert double.batch.requests[ADD] == 1

    await next_fleet.dispatch.add()
    assert double.batch.requests[ADD] == 1


async def test_a_task_that_was_preempted_while_the_gateway_was_away_is_noticed(
    double: Double, fleet: Fleet, next_fleet: Fleet
) -> None:
    found = await run(double, fleet)
    object.__setattr__(double.batch.pace, "replacement_seconds", 1e9)
    await double.batch.faults.preempt(double.started[0][1])
    await double.until_task("active", "task-1", found.batch_job)

    next_fleet.take(again := entry("task-1", THEIRS))
    next_fleet.claim(again)
    await next_fleet.dispatch.add()
    await next_fleet.dispatch.look()
    assert next_fleet.ended == [("task-1", State.PREEMPTED, "The node tvm1 was preempted or lost.")]


# Looking


async def test_a_look_lists_what_has_changed_only(double: Double, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "OVERLAP", -timedelta(days=9))  # none
    fleet.take(*(entry(f"task{number}-1") for number in range(20)))
    await fleet.dispatch.add()
    double.clock.advance(60)
    fleet.take(entry("new-1"))
    await fleet.dispatch.add()
    await fleet.dispatch.look()
    asked, before = double.batch.requests[LIST], {each.job_id: each.task for each in fleet.entries.values()}
    assert None not in before.values()

    await fleet.dispatch.look()
    assert double.batch.requests[LIST] == asked + 1
    assert [each.job_id for each in fleet.entries.values() if each.task is not before[each.job_id]] == ["new-1"]


async def test_a_look_asks_once_for_each_batch_job_that_has_tasks(double: Double, fleet: Fleet) -> None:
    fleet.take(*(entry(f"task{number}-1", need) for number, need in enumerate([DEDICATED, SPOT] * 5)))
    await fleet.dispatch.add()
    double.clock.advance(JOB_SECONDS + 1)
    fleet.take(entry("new-1"))
    await fleet.dispatch.add()
    asked = double.batch.requests[LIST]
    await fleet.dispatch.look()
    assert double.batch.requests[LIST] == asked + 3

    for each in fleet.entries.values():
        fleet.claim(each, State.COMPLETE)
    fleet.entries.clear()
    await fleet.dispatch.look()
    assert double.batch.requests[LIST] == asked + 3


async def test_a_change_that_is_seen_after_a_later_one_is_seen(double: Double, fleet: Fleet) -> None:
    found = await run(double, fleet)
    double.clock.advance(30)
    fleet.take(other := entry("other-1", THEIRS))
    await fleet.dispatch.add()
    await fleet.dispatch.look()
    assert found.task is not None
    # Batch shows the later change first: that of `other`.
    stale = found.task = models.BatchTask({"id": "task-1", "state": "active"})
    await fleet.dispatch.look()

    assert found.task is not stale
    assert other.task is not None


async def test_a_runner_that_ends_without_a_word_is_a_system_error_with_batchs_reason(double: Double, fleet: Fleet) -> None:
    fleet.image = "failing"
    await run(double, fleet, state="completed")
    await fleet.dispatch.look()

    ((job_id, state, reason),) = fleet.ended
    assert (job_id, state) == ("task-1", State.SYSTEM_ERROR)
    assert "with exit code 7 before it could say how the task is. FailureExitCode: " in reason
    assert double.started[0][1] in reason


async def test_a_runner_that_ended_with_a_word_that_is_not_read_yet_is_believed(double: Double, fleet: Fleet) -> None:
    fleet.image = "quick"
    found = await run(double, fleet, state="completed")
    fleet.claim(found, State.COMPLETE)
    found.report = None
    await fleet.dispatch.look()

    assert fleet.ended == []
    assert found.is_over


async def test_a_claimed_task_that_goes_back_to_waiting_was_preempted(double: Double, fleet: Fleet) -> None:
    object.__setattr__(double.batch.pace, "replacement_seconds", 1e9)
    found = await run(double, fleet)
    fleet.claim(found)
    await fleet.dispatch.look()
    assert fleet.ended == []

    await double.batch.faults.preempt(double.started[0][1])
    await fleet.dispatch.look()
    assert fleet.ended == [("task-1", State.PREEMPTED, "The node tvm1 was preempted or lost.")]


async def test_a_task_that_nobody_claimed_may_go_back_to_waiting(double: Double, fleet: Fleet) -> None:
    object.__setattr__(double.batch.pace, "replacement_seconds", 1e9)
    found = await run(double, fleet)
    await double.batch.faults.preempt(double.started[0][1])
    await fleet.dispatch.look()

    assert fleet.ended == []
    assert found.batch_job


@pytest.mark.usefixtures("recounting")
async def test_a_claimed_job_whose_task_somebody_deleted_ends(double: Double, fleet: Fleet) -> None:
    found = await run(double, fleet)
    fleet.claim(found)
    await double.client.delete_task(found.batch_job, "task-1")
    await fleet.dispatch.look()

    assert [(job_id, state) for job_id, state, _ in fleet.ended] == [("task-1", State.SYSTEM_ERROR)]
    assert "Somebody deleted" in fleet.ended[0][2]


@pytest.mark.usefixtures("recounting")
async def test_a_waiting_job_whose_task_somebody_deleted_is_added_again(double: Double, fleet: Fleet) -> None:
    fleet.take(found := entry())
    await fleet.dispatch.add()
    await double.client.delete_task(found.batch_job, "task-1")
    await fleet.dispatch.look()
    await fleet.dispatch.add()

    assert await tasks(double) == ["task-1"]
    assert fleet.ended == []


async def test_all_tasks_are_counted_now_and_then_only(double: Double, fleet: Fleet) -> None:
    fleet.take(found := entry())
    await fleet.dispatch.add()
    await double.client.delete_task(found.batch_job, "task-1")
    await fleet.dispatch.look()
    assert found.batch_job


async def test_a_look_while_batch_does_not_answer_changes_nothing(double: Double, fleet: Fleet) -> None:
    found = await run(double, fleet)
    fleet.claim(found)
    double.batch.faults.down()
    with pytest.raises(BackendUnavailable):
        await fleet.dispatch.look()
    assert (found.is_ending, bool(found.batch_job)) == (False, True)
