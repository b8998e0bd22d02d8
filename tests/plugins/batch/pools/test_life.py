"""The life of pools and of the jobs in them, on the double and by its clock."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from tesgw_batch.client import Refused
from tesgw_batch.pools import IDLE_SECONDS, JOB_SECONDS, JOB_TASKS, POOL_DAYS

from tesgw import BackendUnavailable
from tests.plugins.batch.fake_batch.double import pool
from tests.plugins.batch.gateway import DEDICATED, SPOT, plan
from tests.plugins.batch.pools.world import DAY, World, busy, lived

# Making


async def test_tasks_with_one_need_share_a_pool_and_a_job_whoever_comes_first(world: World) -> None:
    pools = world.gateway()
    found = await asyncio.gather(*(pools.ready(DEDICATED) for _ in range(20)))

    assert len({each.id for each in found}) == len({each.job_id for each in found}) == 1
    assert (world.requests["POST /pools"], world.requests["POST /jobs"]) == (1, 1)


async def test_each_need_has_a_pool_of_its_own(world: World) -> None:
    pools = world.gateway()
    first, second = await asyncio.gather(pools.ready(DEDICATED), pools.ready(SPOT))

    assert await world.pools() == {first.id, second.id}
    assert await world.jobs() == {first.job_id, second.job_id}
    assert pools.pool_of(first.job_id) == first.id


async def test_a_pool_or_job_whose_creation_was_not_answered_is_not_made_twice(world: World) -> None:
    pools = world.gateway()
    for route in ("POST /pools", "POST /jobs"):
        world.double.batch.faults.loses_answers(route)
        with pytest.raises(BackendUnavailable):
            await pools.ready(DEDICATED)
        world.double.clock.advance(5)

    found = await pools.ready(DEDICATED)
    assert (await world.pools(), await world.jobs()) == ({found.id}, {found.job_id})


async def test_a_full_account_makes_who_needs_a_pool_wait(world: World) -> None:
    for number in range(3):
        await world.double.client.create_pool(pool(f"theirs{number}"))  # type: ignore[arg-type]  # a wire form
    pools = world.gateway()
    with pytest.raises(Refused) as caught:
        await pools.ready(DEDICATED)
    assert caught.value.code == "PoolQuotaReached"

    await world.double.client.begin_delete_pool("theirs0")
    await world.until_gone("theirs0")
    assert (await pools.ready(DEDICATED)).id in await world.pools()


# After a restart


async def test_a_restarted_gateway_uses_the_pools_and_jobs_that_are_there(world: World) -> None:
    before = [await (pools := world.gateway()).ready(DEDICATED), await pools.ready(SPOT)]
    pools = await world.restarted()
    after = [await pools.ready(DEDICATED), await pools.ready(SPOT)]

    assert [(each.id, each.job_id) for each in after] == [(each.id, each.job_id) for each in before]
    assert (world.requests["POST /pools"], world.requests["POST /jobs"]) == (2, 2)


async def test_a_restarted_gateway_remembers_all_jobs_and_adds_to_the_youngest(world: World) -> None:
    pools = world.gateway()
    old = (await pools.ready(DEDICATED)).job_id
    world.double.clock.advance(JOB_SECONDS + 1)
    new = (await pools.ready(DEDICATED)).job_id

    pools = await world.restarted()
    assert set(pools.job_ids) == {old, new}
    assert (await pools.ready(DEDICATED)).job_id == new != old


async def test_another_gateways_pools_are_left_alone(world: World) -> None:
    other = plan(owner="https://files.blob.core.windows.net/other")
    theirs = await world.gateway(other).ready(DEDICATED)
    ours = await (await world.restarted()).ready(DEDICATED)
    world.double.clock.advance(IDLE_SECONDS + 1)
    await lived(await world.restarted())
    world.double.clock.advance(IDLE_SECONDS + 1)
    await lived(pools := await world.restarted())

    assert theirs.id != ours.id
    assert theirs.job_id not in pools.job_ids
    assert await world.pools() == {theirs.id, ours.id}


async def test_changed_settings_mean_another_pool_and_the_old_one_goes_when_its_tasks_have_ended(world: World) -> None:
    old = await world.gateway().ready(DEDICATED)
    pools = await world.restarted(plan(image="newer"))
    new = await pools.ready(DEDICATED)
    assert new.id != old.id

    await lived(pools, busy=busy(old, new))
    assert await world.pools() == {old.id, new.id}
    await lived(pools, busy=busy(new))
    assert await world.pools() == {new.id}
    assert await world.jobs() == {new.job_id}


# Growing old


async def test_a_pool_takes_new_tasks_for_seven_days_and_stays_while_it_has_any(world: World) -> None:
    pools = world.gateway()
    old = await pools.ready(DEDICATED)
    world.double.clock.advance(POOL_DAYS * DAY - 60)
    assert (await pools.ready(DEDICATED)).id == old.id
    world.double.clock.advance(120)
    new = await pools.ready(DEDICATED)
    assert new.id != old.id

    await lived(pools, busy=busy(old, new))
    assert await world.pools() == {old.id, new.id}
    await lived(pools, busy=busy(new))
    assert await world.pools() == {new.id}


async def test_a_pool_that_nothing_needs_for_half_an_hour_is_deleted_with_its_jobs(world: World) -> None:
    pools = world.gateway()
    idle = await pools.ready(DEDICATED)
    world.double.clock.advance(IDLE_SECONDS - 60)
    await lived(pools)
    assert await world.pools() == {idle.id}

    world.double.clock.advance(120)
    await lived(pools)
    assert (await world.pools(), await world.jobs(), list(pools.job_ids)) == (set(), set(), [])
    assert (await pools.ready(DEDICATED)).id in await world.pools()


async def test_a_pool_is_idle_from_the_end_of_its_last_task_on(world: World) -> None:
    pools = world.gateway()
    found = await pools.ready(DEDICATED)
    world.double.clock.advance(10 * IDLE_SECONDS)
    await lived(pools, busy=busy(found))
    world.double.clock.advance(IDLE_SECONDS - 60)
    await lived(pools)
    assert await world.pools() == {found.id}


@pytest.mark.parametrize("change", [{"keeps_pools": True}, {"least": 1}])
async def test_idle_pools_are_kept_where_the_operator_wants_them(world: World, change: Mapping[str, Any]) -> None:
    pools = world.gateway(plan(**change))
    kept = await pools.ready(DEDICATED)
    world.double.clock.advance(10 * IDLE_SECONDS)
    await lived(pools)
    assert await world.pools() == {kept.id}


async def test_after_a_day_tasks_go_to_a_new_job_and_the_old_one_leaves_with_its_last_task(world: World) -> None:
    pools = world.gateway()
    old = (await pools.ready(DEDICATED)).job_id
    world.double.clock.advance(JOB_SECONDS + 1)
    found = await pools.ready(DEDICATED)
    assert found.job_id != old

    await lived(pools, busy={old})
    assert await world.jobs() == {old, found.job_id}
    await lived(pools, busy=busy(found))
    assert await world.jobs() == {found.job_id}
    assert list(pools.job_ids) == [found.job_id]


async def test_a_job_that_has_had_many_tasks_gets_no_more(world: World) -> None:
    pools = world.gateway()
    found = await pools.ready(DEDICATED)
    old = found.job_id
    pools.added(found, JOB_TASKS - 1)
    assert (await pools.ready(DEDICATED)).job_id == old
    pools.added(found, 1)
    world.double.clock.advance(1)
    assert (await pools.ready(DEDICATED)).job_id != old
