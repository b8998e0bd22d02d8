"""Azure Batch answers wrongly or not at all, or cannot give what it is asked for: tasks wait, say why, and run once."""

from __future__ import annotations

import pytest
from azure.batch import models

from tests.plugins.batch.faults.beside import side_by_side
from tests.plugins.batch.faults.world import World

pytestmark = pytest.mark.engine

EVALUATION_SECONDS = 300  # after which Batch tries again
SCARCE = "Azure has no cores for you."


def trouble(world: World, route: str) -> None:
    """The next requests fail, each in another way."""
    faults = world.batch.faults
    faults.throttled(route, retry_after=0.1)
    faults.refusing(route)
    faults.down(route, times=1)
    faults.loses_answers(route)


@pytest.mark.parametrize("route", ["POST /pools", "POST /jobs", "POST /jobs/*/addtaskcollection"])
@side_by_side()
async def test_a_task_waits_while_batch_does_not_take_it_and_is_not_added_twice(world: World, route: str) -> None:
    world.batch.faults.refusing(route, times=None)
    await world.start()
    task_id = await world.submit()
    await world.says(task_id, "Azure Batch cannot answer now: 500 InternalError.")

    world.batch.faults.lift()
    trouble(world, route)

    task = await world.ended(task_id)
    assert (task["state"], world.ran()) == ("COMPLETE", 1), task
    assert (len(await world.pools()), len(await world.jobs())) == (1, 1)
    await world.leaves_nothing(task_id)


@side_by_side()
async def test_a_task_runs_whose_state_batch_does_not_tell(world: World) -> None:
    for route in ("GET /pools", "GET /jobs", "GET /jobs/*/tasks"):
        trouble(world, route)
    await world.start()

    task_id = await world.submit()

    task = await world.ended(task_id)
    assert (task["state"], world.ran()) == ("COMPLETE", 1), task
    await world.leaves_nothing(task_id)


@side_by_side()
async def test_a_task_is_canceled_although_batch_does_not_delete_it(world: World) -> None:
    world.batch.faults.resize_fails("AccountCoreQuotaReached", SCARCE)
    await world.start()
    task_id = await world.submit()
    await world.says(task_id, SCARCE)

    trouble(world, "DELETE /jobs/*/tasks/*")
    await world.cancel(task_id)

    task = await world.ended(task_id)
    assert (task["state"], world.ran()) == ("CANCELED", 0), task
    await world.leaves_nothing(task_id)


@side_by_side()
async def test_a_task_tells_that_start_tasks_fail_and_runs_once_they_do_not(world: World) -> None:
    world.batch.faults.start_task_fails("no route to host")
    await world.start()
    task_id = await world.submit()
    await world.says(task_id, "could not be set up", "The start task failed with exit code 1")

    world.batch.faults.lift()

    task = await world.ended(task_id)
    assert (task["state"], world.ran()) == ("COMPLETE", 1), task
    await world.leaves_nothing(task_id)


@pytest.mark.parametrize("code", ["AccountCoreQuotaReached", "AllocationFailed"])
@side_by_side()
async def test_a_task_tells_that_there_are_no_nodes_and_runs_once_there_are(world: World, code: str) -> None:
    world.batch.faults.resize_fails(code, SCARCE)
    await world.start()
    task_id = await world.submit()
    task = await world.says(task_id, "Waiting for nodes of the pool", f"{code}: {SCARCE}")
    assert task["state"] == "QUEUED"

    world.batch.faults.lift()
    world.batch.clock.advance(EVALUATION_SECONDS)

    task = await world.ended(task_id)
    assert (task["state"], world.ran()) == ("COMPLETE", 1), task
    await world.leaves_nothing(task_id)


@side_by_side(pools=1)
async def test_a_task_tells_that_the_account_has_too_many_pools_and_runs_once_it_has_not(world: World) -> None:
    await world.account.create_pool(a_pool())
    await world.start()
    task_id = await world.submit()
    await world.says(task_id, "PoolQuotaReached")

    await world.account.begin_delete_pool("other")

    task = await world.ended(task_id)
    assert (task["state"], world.ran()) == ("COMPLETE", 1), task
    await world.leaves_nothing(task_id)


@side_by_side(active_jobs=1)
async def test_a_task_tells_that_the_account_has_too_many_jobs_and_runs_once_it_has_not(world: World) -> None:
    await world.account.create_pool(a_pool())
    await world.account.create_job(models.BatchJobCreateOptions(id="other", pool_info=models.BatchPoolInfo(pool_id="other")))
    await world.start()
    task_id = await world.submit()
    await world.says(task_id, "ActiveJobAndScheduleQuotaReached")

    await world.account.begin_delete_job("other")

    task = await world.ended(task_id)
    assert (task["state"], world.ran()) == ("COMPLETE", 1), task
    assert len(await world.pools()) == 2, "The pool that was made is used."
    await world.leaves_nothing(task_id)


def a_pool() -> models.BatchPoolCreateOptions:
    """Of somebody else's, without nodes."""
    image = models.BatchVmImageReference(publisher="microsoft-dsvm", offer="ubuntu-hpc", sku="2404", version="latest")
    machine = models.VirtualMachineConfiguration(image_reference=image, node_agent_sku_id="batch.node.ubuntu 24.04")
    return models.BatchPoolCreateOptions(id="other", vm_size="standard_d2ads_v5", virtual_machine_configuration=machine)
