"""The storage account is away for a while, or loses answers: tasks end right, and run once."""

from __future__ import annotations

import pytest

from tests.plugins.batch.faults.beside import side_by_side
from tests.plugins.batch.faults.world import World

pytestmark = pytest.mark.engine

WAIT = "until [ -e /tes-wd/shared-global/go ]; do sleep 0.1; done; echo done"
ENDLESS = "trap 'exit 9' TERM; sleep 1000 & wait"


@side_by_side()
async def test_a_task_that_ends_while_the_storage_is_away_is_told_of_when_it_is_back(world: World) -> None:
    await world.start(BATCH_LEASE_SECONDS=60)
    task_id = await world.submit(WAIT)
    await world.ended(task_id, "RUNNING")

    await world.storage.shut()
    (world.shared / "go").touch()
    await world.until(lambda: no_container(world, task_id))
    assert (await world.task(task_id))["state"] == "RUNNING"
    world.storage.reopen()

    task = await world.ended(task_id)
    assert (task["state"], world.ran()) == ("COMPLETE", 1), task
    assert task["logs"][0]["logs"][0]["stdout"] == "done\n"
    await world.leaves_nothing(task_id)


@side_by_side()
async def test_a_task_that_is_posted_while_the_storage_is_away_says_so_and_runs_when_it_is_back(world: World) -> None:
    await world.start()
    await world.storage.shut()
    task_id = await world.submit()
    await world.says(task_id, "Azure Storage cannot be reached")

    world.storage.reopen()

    task = await world.ended(task_id)
    assert (task["state"], world.ran()) == ("COMPLETE", 1), task
    await world.leaves_nothing(task_id)


@side_by_side()
async def test_a_task_that_is_canceled_while_the_storage_is_away_is_stopped_when_it_is_back(world: World) -> None:
    await world.start()
    task_id = await world.submit(ENDLESS)
    await world.until(lambda: world.ran() == 1)

    await world.storage.shut()
    await world.cancel(task_id)
    await world.until(lambda: "end put off" in world.log())
    assert (await world.task(task_id))["state"] == "CANCELING"
    world.storage.reopen()

    task = await world.ended(task_id)
    assert not await world.containers(task_id)
    assert (task["state"], world.ran()) == ("CANCELED", 1), task
    await world.leaves_nothing(task_id)


@side_by_side()
async def test_a_task_whose_storage_is_away_for_too_long_is_stopped_and_runs_again(world: World) -> None:
    await world.start(BATCH_LEASE_SECONDS=30)
    task_id = await world.submit(WAIT)
    await world.until(lambda: world.ran() == 1)

    await world.storage.shut()
    await world.until(lambda: no_container(world, task_id))
    world.storage.reopen()
    await world.until(lambda: world.ran() == 2)
    (world.shared / "go").touch()

    task = await world.ended(task_id)
    assert (task["state"], world.ran(), len(task["logs"])) == ("COMPLETE", 2, 2), task
    assert "could not reach the storage account" in "\n".join(task["logs"][0]["system_logs"])
    await world.leaves_nothing(task_id)


@side_by_side()
async def test_a_task_whose_submission_was_lost_on_the_way_back_runs_once(world: World) -> None:
    lost = world.storage.rule(r"^PUT \S+/orders/", "lose its answer", 2)
    await world.start()
    task_id = await world.submit()
    await world.until(lost.came.is_set)

    task = await world.ended(task_id)
    assert (task["state"], world.ran()) == ("COMPLETE", 1), task
    await world.leaves_nothing(task_id)


@side_by_side()
async def test_a_task_whose_submission_was_lost_on_the_way_back_can_be_canceled(world: World) -> None:
    lost = world.storage.rule(r"^PUT \S+/orders/", "lose its answer", 1000)
    await world.start()
    task_id = await world.submit()
    await world.until(lost.came.is_set)

    await world.cancel(task_id)

    task = await world.ended(task_id)
    assert (task["state"], world.ran()) == ("CANCELED", 0), task
    await world.leaves_nothing(task_id)


async def no_container(world: World, task_id: str) -> bool:
    return not await world.containers(task_id)
