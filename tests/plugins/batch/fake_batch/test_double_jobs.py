"""Jobs: what states they go through, and their tasks with them."""

from __future__ import annotations

from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError

from tests.plugins.batch.fake_batch.double import Double, code, task, until


@pytest.mark.parametrize("state", ["completed", "deleting"])
async def test_a_job_that_is_over_takes_no_task(double: Double, state: str) -> None:
    await double.pool()
    await double.job()
    await double.add(task(program="endless"))
    await double.until_task("running")

    if state == "completed":
        await double.client.begin_terminate_job("job", {"terminateReason": "enough"})  # type: ignore[arg-type]  # a wire form
        info = (await double.until_task("completed")).execution_info
        assert info
        assert info.failure_info
        assert info.failure_info.code == "TaskEnded"
    else:
        await double.client.begin_delete_job("job", force=True)
    with pytest.raises(HttpResponseError) as caught:
        await double.add(task("late"))
    assert code(caught.value) in ("JobBeingTerminated", "JobCompleted", "JobBeingDeleted", "JobNotFound")


async def test_a_terminated_job_says_why_and_leaves_what_waits(double: Double) -> None:
    await double.job()
    await double.add(task())

    await double.client.begin_terminate_job("job", {"terminateReason": "enough"})  # type: ignore[arg-type]  # a wire form

    async def is_over() -> bool:
        return (await double.client.get_job("job")).state == "completed"

    await until(is_over)
    info = (await double.client.get_job("job")).execution_info
    assert info
    assert info.termination_reason == "enough"
    assert (await double.task()).state == "active"


async def test_a_job_can_end_with_its_tasks(double: Double) -> None:
    await double.pool()
    await double.job()
    await double.add(task())
    await double.until_task("completed")
    assert (await double.client.get_job("job")).state == "active"

    await double.client.update_job("job", {"onAllTasksComplete": "terminatejob"})  # type: ignore[arg-type]  # a wire form

    async def is_over() -> bool:
        return (await double.client.get_job("job")).state == "completed"

    await until(is_over)
    info = (await double.client.get_job("job")).execution_info
    assert info
    assert info.termination_reason == "AllTasksComplete"


async def test_the_sdk_can_wait_for_what_takes_long(double: Double) -> None:
    await double.pool()
    await double.job()
    await double.add(task(program="endless"))
    await double.until_task("running")
    client = double.client
    quickly: dict[str, Any] = {"polling_interval": 0.01}

    await (await client.begin_terminate_job("job", {"terminateReason": "x"}, **quickly)).result()  # type: ignore[arg-type]  # a wire form
    assert (await client.get_job("job")).state == "completed"
    await (await client.begin_delete_job("job", **quickly)).result()
    assert [each.id async for each in client.list_jobs()] == []
    await (await client.begin_resize_pool("pool", {"targetDedicatedNodes": 2}, **quickly)).result()  # type: ignore[arg-type]  # a wire form
    assert len(await double.nodes()) == 2
    await (await client.begin_delete_pool("pool", **quickly)).result()
    assert [each.id async for each in client.list_pools()] == []


async def test_a_deleted_job_is_gone_and_its_id_free(double: Double) -> None:
    await double.pool()
    await double.job()
    await double.add(task(program="endless"))
    await double.until_task("running")

    await double.client.begin_delete_job("job", force=True)

    async def is_gone() -> bool:
        return [each.id async for each in double.client.list_jobs()] == []

    await until(is_gone)
    await double.job()
    assert await double.states() == {}
    await double.until_nodes("idle")


@pytest.mark.parametrize(("option", "state"), [("requeue", "active"), ("terminate", "completed"), ("wait", "running")])
async def test_a_disabled_job_runs_nothing_until_it_is_enabled(double: Double, option: str, state: str) -> None:
    await double.pool()
    await double.job()
    await double.add(task("first", "gated"), task("second"))
    await double.until_task("running", "first")

    await double.client.begin_disable_job("job", {"disableTasks": option})  # type: ignore[arg-type]  # a wire form
    await double.until_task(state, "first")
    assert (await double.task("second")).state == "active"
    double.gate.set()

    async def is_disabled() -> bool:
        return (await double.client.get_job("job")).state == "disabled"

    await until(is_disabled)
    assert (await double.task("second")).state == "active"
    await double.client.begin_enable_job("job")
    await double.until_task("completed", "second")
