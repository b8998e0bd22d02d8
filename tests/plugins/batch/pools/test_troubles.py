"""How pools grow, and what goes wrong with them."""

from __future__ import annotations

import pytest
from tesgw_batch.mapping import Need
from tesgw_batch.pools import NUDGE_SECONDS, POOL_DAYS, REPLACE_SECONDS, Pools

from tesgw import BackendUnavailable
from tests.plugins.batch.fake_batch.double import until
from tests.plugins.batch.gateway import DEDICATED, PLAN, SPOT, plan
from tests.plugins.batch.pools.world import DAY, RESCALE, World, busy, lived

# Growing


@pytest.mark.parametrize(("tasks", "nodes"), [(1, 1), (7, 7), (100, PLAN.most_dedicated)])
async def test_a_new_pool_begins_with_a_node_for_each_task(world: World, tasks: int, nodes: int) -> None:
    found = await world.gateway().ready(DEDICATED, tasks)

    assert (await world.double.client.get_pool(found.id)).target_dedicated_nodes == nodes


async def test_a_pool_with_fewer_nodes_than_tasks_is_told_at_most_every_31_seconds(world: World) -> None:
    pools = world.gateway()
    found = await pools.ready(DEDICATED)
    await pools.nudge(found, 5)
    assert world.requests[RESCALE] == 0  # just made, with a formula that says so

    for seconds, wanted, asked in [
        (NUDGE_SECONDS, 5, 1),
        (0, 9, 1),
        (NUDGE_SECONDS, 5, 1),  # it has as many, or gets them
        (0, 9, 2),
        (NUDGE_SECONDS, 100, 3),
        (NUDGE_SECONDS, 100, 3),  # it has as many as there may be
    ]:
        world.double.clock.advance(seconds)
        await pools.look({found.id: wanted})
        assert world.requests[RESCALE] == asked, (seconds, wanted)

    shown = await world.double.client.get_pool(found.id)
    assert shown.target_dedicated_nodes == PLAN.most_dedicated


async def test_a_pool_that_is_being_deleted_is_nudged_in_vain(world: World) -> None:
    pools = world.gateway()
    found = await pools.ready(DEDICATED)
    await world.double.client.begin_delete_pool(found.id)
    await world.until_gone(found.id)
    world.double.clock.advance(NUDGE_SECONDS)
    await pools.nudge(found, 5)


async def test_spot_pools_have_spot_nodes(world: World) -> None:
    pools = world.gateway()
    found = await pools.ready(SPOT)
    world.double.clock.advance(NUDGE_SECONDS)
    await pools.look({found.id: 99})

    shown = await world.double.client.get_pool(found.id)
    assert (shown.target_dedicated_nodes, shown.target_low_priority_nodes) == (0, PLAN.most_spot)


# What goes wrong


async def test_nodes_whose_start_task_failed_are_replaced_and_who_waits_is_told_why(quick: World) -> None:
    quick.double.batch.faults.start_task_fails("No route to host.")
    pools = quick.gateway()
    found = await pools.ready(DEDICATED)
    (failed,) = await quick.double.until_nodes("starttaskfailed", pool_id=found.id)
    await pools.look({})

    why = "The start task failed with exit code 1: FailureExitCode: The start task exited with code 1. (No route to host.)"
    assert pools.reason(DEDICATED).endswith(f"1 could not be set up. {why}")
    await quick.double.until_nodes(pool_id=found.id)
    assert failed.id not in [each.id for each in await quick.double.nodes(found.id)]
    await pools.look({})
    assert pools.reason(DEDICATED).endswith(why)  # as long as no node has come

    quick.double.batch.faults.lift()
    quick.double.clock.advance(NUDGE_SECONDS)
    await pools.look({found.id: 1})
    await quick.double.until_nodes("idle", pool_id=found.id)
    await pools.look({})
    assert "failed" not in pools.reason(DEDICATED)


async def test_nodes_that_fail_again_are_replaced_after_a_pause(quick: World) -> None:
    quick.double.batch.faults.start_task_fails("No route to host.")
    pools = quick.gateway()
    found = await pools.ready(DEDICATED)
    removed = "POST /pools/{poolId}/removenodes"
    await quick.double.until_nodes("starttaskfailed", pool_id=found.id)
    await pools.look({})
    await quick.double.until_nodes(pool_id=found.id)
    quick.double.clock.advance(NUDGE_SECONDS)
    await pools.look({found.id: 1})
    await quick.double.until_nodes("starttaskfailed", pool_id=found.id)
    await pools.look({})
    assert quick.requests[removed] == 1

    quick.double.clock.advance(REPLACE_SECONDS)
    await pools.look({})
    assert quick.requests[removed] == 2


async def test_why_azure_gives_no_nodes_is_told_and_forgotten(world: World) -> None:
    world.double.batch.faults.resize_fails("AccountCoreQuotaReached", "The account has reached its core quota.")
    pools = world.gateway()
    found = await pools.ready(DEDICATED)

    async def is_told() -> bool:
        await pools.look({})
        return "AccountCoreQuotaReached: The account has reached its core quota." in pools.reason(DEDICATED)

    await until(is_told)
    world.double.batch.faults.lift()
    world.double.clock.advance(300)

    async def is_forgotten() -> bool:
        await pools.look({})
        return pools.reason(DEDICATED) == f"Waiting for a node of the pool {found.id} ({DEDICATED})."

    await until(is_forgotten)


async def test_a_pool_that_somebody_deleted_is_made_anew(world: World) -> None:
    pools = world.gateway()
    old = await pools.ready(DEDICATED)
    await world.double.client.begin_delete_pool(old.id)
    await world.until_gone(old.id)
    world.double.clock.advance(1)

    assert await pools.look({old.id: 3}) == {old.job_id}
    new = await pools.ready(DEDICATED)
    assert new.id in await world.pools()
    await lived(pools, busy=busy(new))
    assert await world.jobs() == {new.job_id}


async def test_a_look_that_is_cut_off_does_not_forget_which_jobs_have_lost_their_pool(world: World) -> None:
    pools = world.gateway()
    old, other = await pools.ready(DEDICATED), await pools.ready(SPOT)
    await world.double.client.begin_delete_pool(old.id)
    await world.until_gone(old.id)
    world.double.clock.advance(NUDGE_SECONDS)
    world.double.batch.faults.refusing(RESCALE)
    with pytest.raises(BackendUnavailable):
        await pools.look({other.id: 3})

    assert await pools.look({}) == {old.job_id}


async def test_a_pool_that_was_deleted_while_the_gateway_was_away_is_made_anew(world: World) -> None:
    old = await world.gateway().ready(DEDICATED)
    await world.double.client.begin_delete_pool(old.id)
    await world.until_gone(old.id)

    pools = await world.restarted()
    assert list(pools.job_ids) == [old.job_id]
    assert await pools.look({}) == {old.job_id}
    world.double.clock.advance(1)
    new = await pools.ready(DEDICATED)
    assert new.id != old.id
    await lived(pools, busy=busy(new))
    assert await world.jobs() == {new.job_id}


@pytest.mark.parametrize(("code", "is_pool_kept"), [("JobNotFound", True), ("PoolBeingDeleted", False)])
async def test_what_batch_says_is_gone_is_not_used_again(world: World, code: str, is_pool_kept: bool) -> None:
    pools = world.gateway()
    found = await pools.ready(DEDICATED)
    old = found.job_id
    world.double.clock.advance(1)
    pools.forget(DEDICATED, code)

    again = await pools.ready(DEDICATED)
    assert again.job_id != old
    assert (again.id == found.id) is is_pool_kept


# Pools of others

THEIRS = Need(pool_id="theirs")


async def test_somebody_elses_pool_gets_jobs_and_nothing_else_is_done_to_it(quick: World) -> None:
    await quick.double.pool("theirs", targetDedicatedNodes=1)
    quick.double.batch.faults.start_task_fails("No.")
    pools = quick.gateway(plan(pool_id="theirs"))
    found = await pools.ready(THEIRS)
    before = sum(quick.requests.values())
    quick.double.clock.advance(POOL_DAYS * DAY)
    await lived(pools, wanted={"theirs": 50})

    assert found.id == "theirs"
    assert found.job_id.startswith(PLAN.prefix)
    assert await quick.pools() == {"theirs"}
    assert sum(quick.requests.values()) - before == 4  # three lists of ours, one of this test
    assert quick.requests[RESCALE] == quick.requests["POST /pools/{poolId}/removenodes"] == 0


async def test_jobs_in_somebody_elses_pool_are_found_again(world: World) -> None:
    await world.double.pool("theirs", targetDedicatedNodes=0)
    job_id = (await world.gateway().ready(THEIRS)).job_id
    assert (await (await world.restarted()).ready(THEIRS)).job_id == job_id


async def test_pools_with_long_names_do_not_share_a_job(world: World) -> None:
    pools = Pools(world.batch, None, PLAN, lambda: 1_790_000_000.0)
    names = [f"{'x' * 63}{last}" for last in "ab"]
    for name in names:
        await world.double.pool(name, targetDedicatedNodes=0)
    jobs = [(await pools.ready(Need(pool_id=name))).job_id for name in names]

    homes = [(await world.double.client.get_job(job_id)).pool_info.pool_id for job_id in jobs]
    assert homes == names


async def test_who_waits_for_a_pool_that_does_not_exist_is_told_so(world: World) -> None:
    pools = world.gateway()
    await pools.ready(THEIRS)
    await pools.look({"theirs": 1})
    assert pools.reason(THEIRS) == "Waiting for a node of the pool theirs: it has none now, or does not exist."


# Jobs that others end


@pytest.mark.parametrize("verb", ["terminate", "delete"])
async def test_a_job_that_somebody_ended_is_made_anew(world: World, verb: str) -> None:
    pools = world.gateway()
    found = await pools.ready(DEDICATED)
    old = found.job_id
    if verb == "delete":
        await world.double.client.begin_delete_job(old)
    else:
        await world.double.client.begin_terminate_job(old, {"terminateReason": "test"})  # type: ignore[arg-type]  # a wire form
    world.double.clock.advance(1)

    assert await pools.look({}) == {old}
    again = await pools.ready(DEDICATED)
    assert (again.id, again.job_id != old) == (found.id, True)
    await lived(pools, busy=busy(again))
    assert list(pools.job_ids) == [again.job_id]


async def test_a_job_that_somebody_disabled_is_waited_for(world: World) -> None:
    pools = world.gateway()
    found = await pools.ready(DEDICATED)
    await world.double.client.begin_disable_job(found.job_id, {"disableTasks": "requeue"})  # type: ignore[arg-type]  # a wire form

    assert await pools.look({}) == set()
    assert (await (await world.restarted()).ready(DEDICATED)).job_id == found.job_id
