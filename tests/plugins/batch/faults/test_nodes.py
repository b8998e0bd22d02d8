"""Nodes that are taken away, lost, cut off or hang, and people who delete things: nothing runs twice at once."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tesgw_batch.fake_batch.nodes import Node

from tests.plugins.batch.faults.beside import side_by_side
from tests.plugins.batch.faults.world import World, system_logs

pytestmark = pytest.mark.engine

# Waits for as many files `go` as it has been started; leaves a line of its machine and the time while it does.
TICKS = "while ! [ -e /tes-wd/shared-global/go ]; do echo $HOSTNAME $(cut -d' ' -f1 /proc/uptime) >> ticks; sleep 0.1; done"
EVALUATION_SECONDS = 300
WAIT = f"cd /tes-wd/shared-global; {TICKS}"


async def busy_node(world: World, times: int = 1) -> Node:
    """The node on which the task runs for the so many-th time."""
    await world.until(lambda: world.ran() == times)
    [node] = [node for node in world.batch.nodes if node.runs]
    return node


def let_go(world: World) -> None:
    (world.shared / "go").touch()


def runners(node: Node) -> list[int]:
    """The processes of runners on a node."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink().is_relative_to(node.root / "workitems"):
                found.append(int(process.name))
    assert found
    return found


def kinds(task: dict[str, Any]) -> list[str]:
    """The kind of node of each attempt."""
    return [log["metadata"]["vm_priority"] for log in task["logs"]]


@side_by_side()
async def test_a_task_whose_spot_nodes_are_taken_away_ends_up_on_a_dedicated_one(world: World) -> None:
    await world.start(BATCH_SPOT_ATTEMPTS=2, BATCH_POOL_MIN_NODES=1)
    task_id = await world.submit(WAIT, resources={"preemptible": True})
    for times in (1, 2):
        node = await busy_node(world, times)
        await world.batch.faults.preempt(node.id)
    await busy_node(world, 3)

    let_go(world)

    task = await world.ended(task_id)
    assert (task["state"], world.ran()) == ("COMPLETE", 3), task
    assert kinds(task) == ["spot", "spot", "dedicated"]
    for log in task["logs"][:2]:
        assert "reempted" in "\n".join(log["system_logs"]), log
    assert [log.get("logs", [{}])[0].get("exit_code") for log in task["logs"]][-1] == 0
    [last] = (await world.task(task_id, "/v1"))["logs"]
    assert last["metadata"]["vm_priority"] == "dedicated"
    await world.leaves_nothing(task_id)


@side_by_side()
async def test_a_task_whose_node_is_lost_runs_on_another_one_from_its_beginning(world: World) -> None:
    await world.start()
    task_id = await world.submit(WAIT)
    await busy_node(world)
    await world.batch.faults.lose_nodes()
    await busy_node(world, 2)

    let_go(world)

    task = await world.ended(task_id)
    assert (task["state"], world.ran(), len(task["logs"])) == ("COMPLETE", 2, 2), task
    assert "lost" in "\n".join(task["logs"][0]["system_logs"])
    await world.leaves_nothing(task_id)


@side_by_side()
async def test_a_task_on_a_node_that_is_cut_off_has_stopped_there_before_it_runs_elsewhere(world: World) -> None:
    await world.start()
    task_id = await world.submit(WAIT)
    node = await busy_node(world)
    await world.until(lambda: (world.shared / "ticks").exists())
    await world.batch.faults.partition(node.id)
    await world.until(lambda: world.ran() == 2)
    await world.until(lambda: len(ticks(world)) == 2)

    let_go(world)

    task = await world.ended(task_id)
    assert (task["state"], world.ran(), len(task["logs"])) == ("COMPLETE", 2, 2), task
    first, second = ticks(world).values()
    assert max(first) < min(second), "It ran twice at once."
    await world.leaves_nothing(task_id)


def ticks(world: World) -> dict[str, list[float]]:
    """When it ran, by container."""
    found: dict[str, list[float]] = {}
    for line in (world.shared / "ticks").read_text().splitlines():
        name, _, at = line.partition(" ")
        found.setdefault(name, []).append(float(at))
    return found


@side_by_side()
async def test_a_task_whose_runner_hangs_is_stopped_by_the_guard_and_runs_elsewhere(world: World) -> None:
    await world.start()
    task_id = await world.submit(WAIT)
    node = await busy_node(world)
    await world.until(lambda: (world.shared / "ticks").exists())
    for pid in runners(node):
        os.kill(pid, signal.SIGSTOP)
    await world.until(lambda: world.ran() == 2)
    await world.until(lambda: len(ticks(world)) == 2)

    let_go(world)

    task = await world.ended(task_id)
    assert (task["state"], world.ran(), len(task["logs"])) == ("COMPLETE", 2, 2), task
    first, second = ticks(world).values()
    assert max(first) < min(second), "It ran twice at once."
    assert node.id in "\n".join(task["logs"][0]["system_logs"])
    await world.leaves_nothing(task_id)


@side_by_side()
async def test_a_running_task_that_somebody_terminates_in_batch_fails_with_that_reason(world: World) -> None:
    await world.start()
    task_id = await world.submit(WAIT)
    await busy_node(world)

    [job_id] = await world.jobs()
    await world.account.terminate_task(job_id, f"{task_id}-1")

    task = await world.ended(task_id)
    assert not await world.containers(task_id)
    assert (task["state"], world.ran()) == ("SYSTEM_ERROR", 1), task
    assert "TaskEnded" in system_logs(task)
    # Nobody was left to remove its files: Batch removes a task's directory when it has kept it for as long as it was told.
    await world.until(lambda: only_files_are_left(world, task_id))


async def only_files_are_left(world: World, task_id: str) -> bool:
    return all(left.startswith("/") for left in await world.left(task_id))


@pytest.mark.parametrize("what", ["task", "job", "pool"])
@side_by_side()
async def test_a_running_task_that_somebody_deletes_in_batch_is_stopped_and_says_so(world: World, what: str) -> None:
    await world.start()
    task_id = await world.submit(WAIT)
    await busy_node(world)

    await delete(world, what, task_id)

    task = await world.ended(task_id)
    assert not await world.containers(task_id)
    assert (task["state"], world.ran()) == ("SYSTEM_ERROR", 1), task
    assert "Somebody deleted the task, its job or its pool" in system_logs(task)
    await world.leaves_nothing(task_id)


@pytest.mark.parametrize("what", ["job", "pool"])
@side_by_side()
async def test_a_waiting_task_whose_job_or_pool_somebody_deletes_runs_in_a_new_one(world: World, what: str) -> None:
    world.batch.faults.resize_fails("AllocationFailed", "There are no nodes.")
    await world.start()
    task_id = await world.submit()
    await world.says(task_id, "There are no nodes.")
    before = await world.jobs()

    await delete(world, what, task_id)
    world.batch.faults.lift()
    world.batch.clock.advance(EVALUATION_SECONDS)

    task = await world.ended(task_id)
    assert (task["state"], world.ran()) == ("COMPLETE", 1), task
    assert await world.jobs() != before
    await world.leaves_nothing(task_id)


async def delete(world: World, what: str, task_id: str) -> None:
    [job_id], [pool_id] = await world.jobs(), await world.pools()
    if what == "task":
        await world.account.delete_task(job_id, f"{task_id}-1")
    elif what == "job":
        await world.account.begin_delete_job(job_id)
    else:
        await world.account.begin_delete_pool(pool_id)
