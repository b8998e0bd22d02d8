"""Tasks: what states they go through, and what they find on their nodes."""

from __future__ import annotations

import os

import pytest
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError

from tests.plugins.batch.fake_batch.double import VM, Double, code, holds, task, until


async def test_tasks_run_in_order_on_the_slots_that_there_are(double: Double) -> None:
    await double.pool(taskSlotsPerNode=2)
    await double.job()
    await double.add(*(task(f"t{number}", "gated") for number in range(3)))
    await double.until_task("running", "t1")

    assert await double.states() == {"t0": "running", "t1": "running", "t2": "active"}
    [node] = await double.nodes()
    assert (node.state, node.running_tasks_count) == ("running", 2)

    double.gate.set()
    await double.until_task("completed", "t2")
    assert double.started[-1][0] == "t2"
    await double.until_nodes("idle")


async def test_a_task_of_two_slots_waits_for_two(double: Double) -> None:
    await double.pool(taskSlotsPerNode=2)
    await double.job()
    await double.add(task("one", "gated"), task("two", requiredSlots=2))
    await double.until_task("running", "one")
    assert (await double.task("two")).state == "active"

    double.gate.set()
    await double.until_task("completed", "two")


async def test_jobs_of_higher_priority_go_first(double: Double) -> None:
    await double.job("low")
    await double.job("high", priority=10)
    await double.add(task("later"), job_id="low")
    await double.add(task("sooner"), job_id="high")
    await double.pool()
    await double.until_task("completed", "later", "low")

    assert [each for each, _ in double.started] == ["sooner", "later"]


async def test_a_job_runs_no_more_tasks_at_once_than_it_may(double: Double) -> None:
    await double.pool(taskSlotsPerNode=4)
    await double.job(maxParallelTasks=1)
    await double.add(task("a", "gated"), task("b"))
    await double.until_task("running", "a")
    assert (await double.task("b")).state == "active"

    double.gate.set()
    await double.until_task("completed", "b")


async def test_a_command_line_runs_with_what_batch_defines(double: Double) -> None:
    await double.pool()
    await double.job(commonEnvironmentSettings=[{"name": "A", "value": "job's"}, {"name": "B", "value": "job's"}])
    shell = "echo $AZ_BATCH_JOB_ID $AZ_BATCH_TASK_ID $A $B; pwd; exit 3"
    await double.add(
        {"id": "task", "commandLine": f"/bin/sh -c '{shell}'", "environmentSettings": [{"name": "B", "value": "task's"}]}
    )
    info = (await double.until_task("completed")).execution_info
    assert info
    assert (info.exit_code, info.result, info.failure_info and info.failure_info.code) == (3, "failure", "FailureExitCode")

    lines = await read(double, "stdout.txt")
    [node] = await double.nodes()
    assert lines.splitlines() == [
        "job task job's task's",
        str(double.batch.directory / "nodes" / node.id / "workitems/job/job-1/task/wd"),
    ]


async def test_the_files_of_a_task_are_listed_and_read_in_parts(double: Double) -> None:
    await double.pool()
    await double.job()
    await double.add({"id": "task", "commandLine": "/bin/sh -c 'echo hello; echo inner > made.txt'"})
    await double.until_task("completed")
    client = double.client

    names = [each.name async for each in client.list_task_files("job", "task", recursive=True)]
    assert names == ["stderr.txt", "stdout.txt", "wd", "wd/made.txt"]
    assert await read(double, "wd/made.txt") == "inner\n"
    chunks = await client.download_task_file("job", "task", "stdout.txt", ocp_range="bytes=1-3")
    assert b"".join([chunk async for chunk in chunks]) == b"ell"
    assert (await client.get_task_file_properties("job", "task", "stdout.txt")).content_length == 6
    for path in ("no.txt", "../../../shared/../../../secret"):
        with pytest.raises(ResourceNotFoundError):
            await client.download_task_file("job", "task", path)


async def test_a_failed_task_is_tried_again_as_often_as_it_may(double: Double) -> None:
    await double.pool()
    await double.job(constraints={"maxTaskRetryCount": 1})
    await double.add(
        task("job's", "failing") | {"id": "as-job"}, task("own", "failing", constraints={"maxTaskRetryCount": 2})
    )

    for task_id, retries in (("as-job", 1), ("own", 2)):
        info = (await double.until_task("completed", task_id)).execution_info
        assert info
        assert (info.retry_count, info.requeue_count, info.exit_code) == (retries, 0, 7)
    assert len(double.started) == 2 + 3


async def test_a_terminated_task_ends_and_is_done(double: Double) -> None:
    await double.pool()
    await double.job()
    await double.add(task("runs", "endless"), task("waits", "endless"))
    await double.until_task("running", "runs")

    for task_id in ("waits", "runs"):
        await double.client.terminate_task("job", task_id)
        info = (await double.until_task("completed", task_id)).execution_info
        assert info
        assert (info.result, info.failure_info and info.failure_info.code) == ("failure", "TaskEnded")
    await double.until_nodes("idle")
    with pytest.raises(ResourceExistsError) as caught:
        await double.client.terminate_task("job", "runs")
    assert code(caught.value) == "TaskCompleted"


async def test_terminate_ends_the_process_of_a_command_line(double: Double) -> None:
    await double.pool()
    await double.job()
    await double.add({"id": "task", "commandLine": "/bin/sh -c 'echo $$; sleep 1000 & wait'"})
    await double.until_task("running")

    async def has_begun() -> bool:
        return bool(await read(double, "stdout.txt"))

    await until(has_begun)
    pid = await read(double, "stdout.txt")
    await double.client.terminate_task("job", "task")
    await double.until_task("completed")

    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


async def test_a_pool_without_containers_runs_none(double: Double) -> None:
    await double.pool(virtualMachineConfiguration={**VM, "containerConfiguration": None})
    await double.job()
    await double.add(task())

    info = (await double.until_task("completed")).execution_info
    assert info
    assert (info.exit_code, info.failure_info and info.failure_info.code) == (None, "ContainerPoolNotSupported")
    assert double.started == []


async def test_a_task_that_takes_too_long_is_ended(double: Double) -> None:
    await double.pool()
    await double.job()
    await double.add(task(program="endless", constraints={"maxWallClockTime": "PT1H"}))
    await double.until_task("running")
    double.clock.advance(3599)
    assert (await double.task()).state == "running"

    double.clock.advance(2)
    info = (await double.until_task("completed")).execution_info
    assert info
    assert info.failure_info
    assert info.failure_info.code == "TaskEnded"


async def test_a_deleted_task_is_gone_at_once_and_its_slot_is_free(double: Double) -> None:
    await double.pool()
    await double.job()
    await double.add(task(program="endless"), task("next"))
    await double.until_task("running")

    await double.client.delete_task("job", "task")

    assert "task" not in await double.states()
    await double.until_task("completed", "next")


async def test_files_go_with_their_task_or_job(double: Double) -> None:
    await double.pool()
    await double.job()
    for task_id in ("one", "two"):
        await double.add(task(task_id))
        await double.until_task("completed", task_id)
    [node] = await double.nodes()
    jobs = double.batch.directory / "nodes" / node.id / "workitems"

    await double.client.delete_task("job", "one")
    await until(holds(jobs / "job" / "job-1", "two"))
    await double.client.begin_delete_job("job", force=True)
    await until(holds(jobs))


async def test_a_failed_task_can_be_activated_again(double: Double) -> None:
    await double.pool()
    await double.job()
    await double.add(task(program="failing"), task("good"))
    await double.until_task("completed")
    await double.until_task("completed", "good")

    await double.client.reactivate_task("job", "task")
    await double.until_task("completed")

    assert [each for each, _ in double.started] == ["task", "good", "task"]
    with pytest.raises(ResourceExistsError):
        await double.client.reactivate_task("job", "good")


async def read(double: Double, path: str) -> str:
    """The file of the task `task`; nothing while it is not there."""
    try:
        chunks = await double.client.download_task_file("job", "task", path)
    except ResourceNotFoundError:
        return ""
    return b"".join([chunk async for chunk in chunks]).decode()
