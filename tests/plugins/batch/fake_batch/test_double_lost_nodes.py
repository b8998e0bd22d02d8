"""What becomes of tasks when their nodes are lost."""

from __future__ import annotations

from pathlib import Path

from tesgw_batch.fake_batch import Pace

from tests.plugins.batch.fake_batch.double import Double, holds, task, until


async def test_a_preempted_node_gives_its_tasks_to_another(double: Double) -> None:
    await double.pool(targetDedicatedNodes=0, targetLowPriorityNodes=1)
    await double.job()
    await double.add(task(program="gated"))
    await double.until_task("running")
    [(_, node_id)] = double.started

    await double.batch.faults.preempt(node_id)
    await double.until_task("running")
    double.gate.set()
    done = await double.until_task("completed")

    [_, (_, other_id)] = double.started
    assert other_id != node_id
    assert other_id.endswith("_p")
    assert done.execution_info
    assert (done.execution_info.requeue_count, done.execution_info.retry_count, done.execution_info.exit_code) == (1, 0, 0)
    assert not (double.batch.directory / "nodes" / node_id).exists()


async def test_a_preempted_node_is_seen_until_another_has_taken_its_place(tmp_path: Path) -> None:
    async with Double.running(tmp_path, pace=Pace(replacement_seconds=600)) as double:
        await double.pool(targetDedicatedNodes=0, targetLowPriorityNodes=1)
        [node] = await double.until_nodes("idle")

        await double.batch.faults.preempt(node.id)
        assert [each.state for each in await double.nodes()] == ["preempted"]
        assert (await double.client.get_pool("pool")).current_low_priority_nodes == 0

        double.clock.advance(601)
        [other] = await double.until_nodes("idle")
        assert other.id != node.id


async def test_what_ran_on_a_lost_node_goes_before_what_waits(double: Double) -> None:
    await double.pool()
    await double.job()
    await double.add(task("first", "gated"), task("second"))
    await double.until_task("running", "first")

    await double.batch.faults.lose_nodes()
    double.gate.set()
    await double.until_task("completed", "second")

    assert [each for each, _ in double.started] == ["first", "first", "second"]


async def test_a_partitioned_node_goes_on_but_its_task_is_anothers(double: Double) -> None:
    await double.pool()
    await double.job()
    shell = "echo > here; while [ ! -e go ]; do sleep 0.05; done; echo > gone; exit $(cat go)"
    await double.add({"id": "task", "commandLine": f"/bin/sh -c '{shell}'"})
    first = await _directory(double)
    [node] = await double.nodes()

    await double.batch.faults.partition(node.id)
    second = await _directory(double)
    assert first != second
    assert node.id not in [each.id for each in await double.nodes()]

    (first / "go").write_text("5")
    await until(holds(first, "here", "go", "gone"))
    assert (await double.task()).state == "running"

    (second / "go").write_text("0")
    info = (await double.until_task("completed")).execution_info
    assert info
    assert (info.exit_code, info.failure_info, info.requeue_count) == (0, None, 1)


async def test_what_was_terminated_does_not_run_again_when_its_node_is_lost(double: Double) -> None:
    await double.pool()
    await double.job()
    await double.add(task(program="stubborn"))
    await double.until_task("running")
    [(_, node_id)] = double.started

    await double.client.terminate_task("job", "task")
    await double.batch.faults.partition(node_id)

    info = (await double.task()).execution_info
    assert info
    assert (info.failure_info and info.failure_info.code, info.requeue_count) == ("TaskEnded", 0)
    double.gate.set()


async def test_all_nodes_can_be_lost_at_once(double: Double) -> None:
    await double.pool(targetDedicatedNodes=2)
    await double.job()
    await double.add(task("a", "gated"), task("b", "gated"))
    for task_id in ("a", "b"):
        await double.until_task("running", task_id)

    await double.batch.faults.lose_nodes()
    double.gate.set()

    for task_id in ("a", "b"):
        info = (await double.until_task("completed", task_id)).execution_info
        assert info
        assert info.requeue_count == 1
    assert len(double.started) == 4


async def _directory(double: Double) -> Path:
    """Where the task `task` runs now, once it does."""
    found: list[Path] = []

    async def look() -> bool:
        where = (await double.task()).node_info
        found[:] = [double.batch.directory / f"nodes/{where.node_id}/workitems/job/job-1/task/wd"] if where else []
        return bool(found) and (found[0] / "here").exists()

    await until(look)
    return found[0]
