"""How jobs come to Batch, and are taken away from there."""

from __future__ import annotations

import asyncio

import pytest
from tesgw_batch.client import Batch
from tesgw_batch.mapping import Need

from tesgw import BackendUnavailable, State
from tests.plugins.batch.dispatch.turns import ADD, THEIRS, Fleet, run, tasks
from tests.plugins.batch.fake_batch.double import Double, pool, until
from tests.plugins.batch.gateway import DEDICATED, PLAN, entry

# Adding


async def test_jobs_go_to_batch_a_hundred_at_a_time_and_once(double: Double, fleet: Fleet) -> None:
    fleet.take(*(entry(f"task{number}-1") for number in range(250)))
    await fleet.dispatch.add()
    await fleet.dispatch.add()

    assert double.batch.requests[ADD] == 3
    assert double.batch.requests["POST /jobs"] == double.batch.requests["POST /pools"] == 1
    assert len({each.batch_job for each in fleet.entries.values()} - {""}) == 1
    assert len(await tasks(double)) == 250


async def test_a_new_pool_begins_with_a_node_for_each_job_that_waits(double: Double, fleet: Fleet) -> None:
    fleet.take(*(entry(f"task{number}-1") for number in range(7)))
    await fleet.dispatch.add()

    [made] = [each async for each in double.client.list_pools()]
    assert made.target_dedicated_nodes == 7


async def test_a_job_whose_order_is_not_written_or_that_is_over_is_not_added(double: Double, fleet: Fleet) -> None:
    unwritten, over, ending = entry("a-1"), entry("b-1"), entry("c-1")
    unwritten.is_written = False
    fleet.claim(over, State.CANCELED)
    ending.is_ending = True
    fleet.take(unwritten, over, ending)
    await fleet.dispatch.add()
    assert double.batch.requests["POST /pools"] == 0

    unwritten.is_written = True
    await fleet.dispatch.add()
    assert await tasks(double) == ["a-1"]


async def test_jobs_whose_addition_was_not_answered_are_added_again(double: Double, fleet: Fleet) -> None:
    fleet.take(entry("a-1"), entry("b-1"))
    double.batch.faults.loses_answers(ADD)
    with pytest.raises(BackendUnavailable):
        await fleet.dispatch.add()
    await fleet.dispatch.add()

    assert await tasks(double) == ["a-1", "b-1"]
    assert "" not in {each.batch_job for each in fleet.entries.values()}
    assert fleet.ended == []


async def test_a_job_that_ended_while_it_was_added_leaves_no_task(double: Double, fleet: Fleet) -> None:
    fleet.take(found := entry())
    double.batch.faults.slow(ADD, seconds=0.3)
    adding = asyncio.create_task(fleet.dispatch.add())

    async def is_asked() -> bool:
        return double.batch.requests[ADD] > 0

    await until(is_asked)
    fleet.claim(found, State.CANCELED)
    await fleet.dispatch.withdraw(found)  # too early: it is nowhere yet
    await adding
    assert await tasks(double) == []


async def test_a_job_that_batch_refuses_ends_with_the_reason_and_the_others_run(double: Double, fleet: Fleet) -> None:
    fleet.take(entry("good-1"), entry("bad.1-1"))
    await fleet.dispatch.add()

    ((job_id, state, reason),) = fleet.ended
    assert (job_id, state) == ("bad.1-1", State.SYSTEM_ERROR)
    assert reason.startswith("Azure Batch refused: InvalidPropertyValue: ")
    assert await tasks(double) == ["good-1"]


async def test_jobs_whose_pool_cannot_be_made_end_with_the_reason(account: tuple[Double, Batch]) -> None:
    fleet = Fleet(*account, PLAN)
    fleet.take(wrong := entry("wrong-1", Need("standard_none_v9")), entry("right-1"))
    await fleet.dispatch.add()

    ((job_id, state, reason),) = fleet.ended
    assert (job_id, state) == (wrong.job_id, State.SYSTEM_ERROR)
    assert "standard_none_v9" in reason
    assert await tasks(account[0]) == ["right-1"]


async def test_a_full_account_makes_jobs_wait_with_the_reason(double: Double, fleet: Fleet) -> None:
    for number in range(2):
        await double.client.create_pool(pool(f"other{number}"))  # type: ignore[arg-type]  # a wire form
    fleet.take(entry())
    await fleet.dispatch.add()
    assert fleet.dispatch.reason(DEDICATED).startswith(f"Waiting for {DEDICATED}: Azure Batch refused: PoolQuotaReached: ")
    assert fleet.ended == []

    await double.client.begin_delete_pool("other0")

    async def is_added() -> bool:
        await fleet.dispatch.add()
        return bool(fleet.entries["task-1"].batch_job)

    await until(is_added)
    assert "Quota" not in fleet.dispatch.reason(DEDICATED)


@pytest.mark.parametrize("verb", ["terminate", "delete"])
async def test_jobs_of_a_batch_job_that_somebody_ended_go_to_another_one(double: Double, fleet: Fleet, verb: str) -> None:
    fleet.take(found := entry("a-1"))
    await fleet.dispatch.add()
    old = found.batch_job
    if verb == "delete":
        await double.client.begin_delete_job(old)
    else:
        await double.client.begin_terminate_job(old, {"terminateReason": "test"})  # type: ignore[arg-type]  # a wire form
    double.clock.advance(1)
    fleet.take(entry("b-1"))
    await fleet.dispatch.add()  # is told that the job is gone
    await fleet.dispatch.look()
    await fleet.dispatch.add()

    assert {each.batch_job for each in fleet.entries.values()} != {old}
    assert await tasks(double) == ["a-1", "b-1"]
    assert fleet.ended == []


async def test_jobs_of_a_pool_that_somebody_deleted_go_to_another_one(double: Double, fleet: Fleet) -> None:
    fleet.take(found := entry())
    await fleet.dispatch.add()
    old = found.batch_job
    async for each in double.client.list_pools():
        await double.client.begin_delete_pool(each.id)
    double.clock.advance(1)
    await fleet.dispatch.look()
    await fleet.dispatch.add()

    assert found.batch_job not in ("", old)
    assert await tasks(double) == ["task-1"]


# Taking away


async def test_an_ended_jobs_task_is_taken_away(double: Double, fleet: Fleet) -> None:
    fleet.take(found := entry())
    await fleet.dispatch.add()
    await fleet.dispatch.withdraw(found)
    await fleet.dispatch.withdraw(found)
    assert await tasks(double) == []


async def test_a_completed_task_is_left_to_be_looked_at(double: Double, fleet: Fleet) -> None:
    fleet.image = "quick"
    found = await run(double, fleet, state="completed")
    await fleet.dispatch.look()
    await fleet.dispatch.withdraw(found)
    assert await tasks(double) == ["task-1"]


async def test_a_job_that_waits_is_added_again_with_a_fresh_url(double: Double, fleet: Fleet) -> None:
    fleet.take(found := entry())
    await fleet.dispatch.add()
    await fleet.dispatch.renew(found)
    assert await tasks(double) == []
    await fleet.dispatch.add()
    assert await tasks(double) == ["task-1"]


async def test_a_job_that_runs_is_not_added_again(double: Double, fleet: Fleet) -> None:
    found = await run(double, fleet)
    fleet.claim(found)
    await fleet.dispatch.renew(found)
    assert found.batch_job
    assert await tasks(double) == ["task-1"]


async def test_a_pool_can_be_had_before_the_first_job(double: Double, fleet: Fleet) -> None:
    await asyncio.gather(*(fleet.dispatch.warm(DEDICATED) for _ in range(3)))
    fleet.take(entry())
    await fleet.dispatch.add()
    assert double.batch.requests["POST /pools"] == 1


async def test_a_batch_job_that_is_ending_takes_no_jobs_and_refuses_none_for_good(double: Double, fleet: Fleet) -> None:
    fleet.image = "stubborn"
    old = await run(double, fleet)
    await double.client.begin_terminate_job(old.batch_job, {"terminateReason": "test"})  # type: ignore[arg-type]  # a wire form
    assert (await double.client.get_job(old.batch_job)).state == "terminating"
    fleet.take(found := entry("next-1", THEIRS))
    await fleet.dispatch.add()
    assert (fleet.ended, found.batch_job) == ([], "")

    double.clock.advance(1)
    await fleet.dispatch.add()
    assert found.batch_job not in ("", old.batch_job)
    double.gate.set()
