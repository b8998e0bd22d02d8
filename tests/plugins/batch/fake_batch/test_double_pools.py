"""Pools: how they grow and shrink, by themselves or as told, and what their nodes go through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from azure.batch import models
from azure.core.exceptions import HttpResponseError, ResourceExistsError
from tesgw_batch.fake_batch import Pace, Quotas

from tests.plugins.batch.fake_batch.double import Double, code, scaling, task, until

SPOT = "$TargetLowPriorityNodes = min(2, max($PendingTasks.GetSample(TimeInterval_Second * 90)));"


def rescale(double: Double, formula: str | None = None) -> Any:
    options = models.BatchPoolEnableAutoScaleOptions(auto_scale_formula=formula)
    return double.client.enable_pool_auto_scale("pool", options)


async def test_a_formula_is_evaluated_when_it_is_set_and_at_each_interval(double: Double) -> None:
    await double.pool(**scaling(SPOT))
    await double.job()
    await double.until_nodes()
    await double.add(*(task(f"t{number}", "gated") for number in range(3)))
    assert await double.nodes() == []

    double.clock.advance(301)
    nodes = await double.until_nodes("running", "running")
    assert not any(node.is_dedicated for node in nodes)
    double.gate.set()
    await double.until_task("completed", "t2")
    double.clock.advance(301)
    await double.until_nodes()

    run = (await double.client.get_pool("pool")).auto_scale_run
    assert run
    assert run.results == "$TargetLowPriorityNodes=0"
    assert run.timestamp.timestamp() == pytest.approx(double.clock.now().timestamp(), abs=30)


async def test_enabling_scaling_again_evaluates_the_formula_at_once(double: Double) -> None:
    await double.pool(**scaling())
    await double.job()
    await double.add(task())

    await rescale(double)

    await double.until_task("completed")


async def test_scaling_is_enabled_at_most_once_in_30_s(double: Double) -> None:
    await double.pool(**scaling())
    await rescale(double)
    double.clock.advance(29)

    with pytest.raises(ResourceExistsError) as caught:
        await rescale(double)
    assert code(caught.value) == "TooManyEnableAutoScaleRequests"
    double.clock.advance(1)
    await rescale(double)


async def test_scaling_is_not_enabled_while_nodes_are_allocated(tmp_path: Path) -> None:
    async with Double.running(tmp_path, pace=Pace(allocation_seconds=60)) as double:
        await double.pool(targetDedicatedNodes=1)

        with pytest.raises(ResourceExistsError) as caught:
            await rescale(double, "$TargetDedicatedNodes = 0;")
        assert code(caught.value) == "PoolBeingResized"
        assert (await double.client.get_pool("pool")).allocation_state == "resizing"

        double.clock.advance(61)
        await double.until_nodes("idle")
        await rescale(double, "$TargetDedicatedNodes = 0;")


async def test_a_formula_that_fails_leaves_the_pool_as_it_is(tmp_path: Path) -> None:
    async with Double.running(tmp_path, pace=Pace(sample_seconds=60)) as double:
        await double.pool(**scaling("$TargetDedicatedNodes = 1 + max($PendingTasks.GetSample(TimeInterval_Minute));"))
        run = (await double.client.get_pool("pool")).auto_scale_run
        assert run
        assert run.error
        assert run.error.code == "AutoScalingFormulaEvaluationError"
        assert await double.nodes() == []

        double.clock.advance(60)
        await rescale(double)
        await double.until_nodes("idle")


async def test_a_formula_can_be_tried_without_being_followed(double: Double) -> None:
    await double.pool(**scaling())
    await double.job()
    await double.add(task(), task("other"))

    options = models.BatchPoolEvaluateAutoScaleOptions(auto_scale_formula="$TargetDedicatedNodes = 2 * 3; x = 1.5;")
    run = await double.client.evaluate_pool_auto_scale("pool", options)

    assert run.results == "$TargetDedicatedNodes=6;x=1.5"
    assert await double.nodes() == []


async def test_nodes_take_their_time_by_the_clock(tmp_path: Path) -> None:
    async with Double.running(tmp_path, pace=Pace(allocation_seconds=60, boot_seconds=90)) as double:
        await double.pool()
        assert await double.nodes() == []

        double.clock.advance(61)
        await double.until_nodes("creating")
        double.clock.advance(91)
        await double.until_nodes("idle")


async def test_a_pool_is_resized_as_told(double: Double) -> None:
    await double.pool(targetDedicatedNodes=2)
    await double.until_nodes("idle", "idle")

    await double.client.begin_resize_pool("pool", models.BatchPoolResizeOptions(target_dedicated_nodes=1))
    await double.until_nodes("idle")
    await double.client.begin_resize_pool("pool", models.BatchPoolResizeOptions(target_low_priority_nodes=1))
    nodes = await double.until_nodes("idle", "idle")

    assert sorted(str(node.is_dedicated) for node in nodes) == ["False", "True"]


@pytest.mark.parametrize(
    ("option", "state"), [("requeue", "active"), ("terminate", "completed"), ("taskcompletion", "running")]
)
async def test_nodes_that_go_do_with_their_tasks_as_they_are_told(double: Double, option: str, state: str) -> None:
    await double.pool()
    await double.job()
    await double.add(task(program="gated"), task("next"))
    await double.until_task("running")
    [node] = await double.nodes()

    options = models.BatchPoolResizeOptions(target_dedicated_nodes=0, node_deallocation_option=option)
    await double.client.begin_resize_pool("pool", options)
    await double.until_task(state)
    if option == "taskcompletion":
        assert (await double.client.get_pool("pool")).allocation_state == "resizing"
        double.gate.set()

    await double.until_nodes()
    states = {"requeue": "active", "terminate": "completed", "taskcompletion": "completed"}
    assert await double.states() == {"task": states[option], "next": "active"}
    assert not (double.batch.directory / "nodes" / node.id).exists()


async def test_idle_nodes_go_first(double: Double) -> None:
    await double.pool(targetDedicatedNodes=2)
    await double.job()
    await double.until_nodes("idle", "idle")
    await double.add(task(program="endless"))
    await double.until_task("running")
    [(_, busy)] = double.started

    await double.client.begin_resize_pool("pool", models.BatchPoolResizeOptions(target_dedicated_nodes=1))

    [left] = await double.until_nodes("running")
    assert left.id == busy


async def test_named_nodes_are_removed(double: Double) -> None:
    await double.pool(targetDedicatedNodes=3)
    nodes = await double.until_nodes("idle", "idle", "idle")
    gone = [nodes[0].id, nodes[2].id]

    await double.client.begin_remove_nodes("pool", models.BatchNodeRemoveOptions(node_ids=gone))

    [left] = await double.until_nodes("idle")
    assert left.id == nodes[1].id
    assert (await double.client.get_pool("pool")).target_dedicated_nodes == 1
    with pytest.raises(HttpResponseError) as caught:
        await double.client.begin_remove_nodes("pool", models.BatchNodeRemoveOptions(node_ids=["n"] * 101))
    assert caught.value.status_code == 400


async def test_cores_are_given_as_far_as_quotas_go(tmp_path: Path) -> None:
    quotas = Quotas(dedicated_cores=24, family_cores={"standardDADSv5Family": 9}, spot_cores=4)
    async with Double.running(tmp_path, quotas=quotas) as double:
        await double.pool(targetDedicatedNodes=3, targetLowPriorityNodes=2)
        await double.until_nodes("idle", "idle", "idle")
        await double.pool("other", vmSize="standard_e16ads_v5", targetDedicatedNodes=2)
        await double.until_nodes("idle", pool_id="other")

        errors = (await double.client.get_pool("pool")).resize_errors or []
        assert [error.code for error in errors] == ["AccountVMSeriesCoreQuotaReached", "AccountSpotCoreQuotaReached"]
        errors = (await double.client.get_pool("other")).resize_errors or []
        assert [error.code for error in errors] == ["AccountCoreQuotaReached"]


async def test_a_resize_that_fails_is_tried_again_when_the_formula_is_evaluated(double: Double) -> None:
    double.batch.faults.resize_fails("AllocationFailed", "There is no capacity in this region.")
    await double.pool(**scaling("$TargetDedicatedNodes = 1;"))
    await double.until_nodes()
    [error] = (await double.client.get_pool("pool")).resize_errors or []
    assert (error.code, error.message) == ("AllocationFailed", "There is no capacity in this region.")

    double.batch.faults.lift()
    double.clock.advance(301)

    await double.until_nodes("idle")
    assert not (await double.client.get_pool("pool")).resize_errors


async def test_a_start_task_runs_first_and_its_files_can_be_read(double: Double) -> None:
    share = {
        "accountName": "storage",
        "accountKey": "key",
        "azureFileUrl": "https://storage.file.core.windows.net/global",
        "relativeMountPath": "azfiles",
    }
    shell = (
        "echo hello > $AZ_BATCH_NODE_MOUNTS_DIR/azfiles/greeting; echo $AZ_BATCH_NODE_ID $WHO > $AZ_BATCH_NODE_SHARED_DIR/x"
    )
    start_task = {
        "commandLine": f"/bin/sh -c '{shell}'",
        "waitForSuccess": True,
        "environmentSettings": [{"name": "WHO", "value": "me"}],
    }
    await double.pool(startTask=start_task, mountConfiguration=[{"azureFileShareConfiguration": share}])
    [node] = await double.until_nodes("idle")

    chunks = await double.client.download_node_file("pool", node.id, "shared/x")
    assert b"".join([chunk async for chunk in chunks]).decode() == f"{node.id} me\n"
    assert (double.mounts / "global" / "greeting").read_text() == "hello\n"
    assert node.start_task_info
    assert (node.start_task_info.state, node.start_task_info.exit_code) == ("completed", 0)


@pytest.mark.parametrize(("waits", "state"), [(True, "starttaskfailed"), (False, "idle")])
async def test_a_node_whose_start_task_fails_is_of_no_use_if_it_has_to_succeed(
    double: Double, waits: bool, state: str
) -> None:
    start_task = {"commandLine": "/bin/sh -c 'exit 4'", "waitForSuccess": waits, "maxTaskRetryCount": 2}
    await double.pool(startTask=start_task)
    [node] = await double.until_nodes(state)

    info = node.start_task_info
    assert info
    assert info.failure_info
    assert (info.exit_code, info.retry_count, info.failure_info.code) == (4, 2, "FailureExitCode")


async def test_start_tasks_fail_on_demand_and_say_why(double: Double) -> None:
    double.batch.faults.start_task_fails("No package was found.")
    await double.pool(startTask={"commandLine": "/bin/true", "waitForSuccess": True})
    [node] = await double.until_nodes("starttaskfailed")

    chunks = await double.client.download_node_file("pool", node.id, "startup/stderr.txt")
    assert b"".join([chunk async for chunk in chunks]) == b"No package was found."
    [counts] = [each async for each in double.client.list_pool_node_counts()]
    assert counts.dedicated
    assert (counts.dedicated.start_task_failed, counts.dedicated.total) == (1, 1)


async def test_a_deleted_pool_gives_its_tasks_back(double: Double) -> None:
    await double.pool()
    await double.job()
    await double.add(task(program="gated"))
    await double.until_task("running")

    await double.client.begin_delete_pool("pool")

    async def is_gone() -> bool:
        return [each.id async for each in double.client.list_pools()] == []

    await until(is_gone)
    assert await double.states() == {"task": "active"}
    await double.pool()
    double.gate.set()
    await double.until_task("completed")


async def test_no_process_outlives_its_pool(double: Double) -> None:
    await double.pool()
    await double.job()
    await double.add({"id": "task", "commandLine": "/bin/sleep 1000"})
    await double.until_task("running")
    [node] = await double.nodes()
    await double.batch.faults.partition(node.id)

    await double.client.begin_delete_pool("pool")

    async def is_gone() -> bool:
        return [each.id async for each in double.client.list_pools()] == []

    await until(is_gone)
    assert list((double.batch.directory / "nodes").iterdir()) == []


async def test_a_pool_is_changed_as_far_as_its_nodes_allow(double: Double) -> None:
    await double.pool(metadata=[{"name": "a", "value": "1"}])
    await double.until_nodes("idle")

    await double.client.update_pool(
        "pool", models.BatchPoolUpdateOptions(metadata=[models.BatchMetadataItem(name="a", value="2")])
    )
    [item] = (await double.client.get_pool("pool")).metadata or []
    assert item.value == "2"
    with pytest.raises(ResourceExistsError):
        await double.client.update_pool("pool", models.BatchPoolUpdateOptions(task_slots_per_node=2))


async def test_what_runs_on_nodes_ends_with_the_double(tmp_path: Path) -> None:
    async with Double.running(tmp_path) as double:
        await double.pool()
        await double.job()
        await double.add({"id": "task", "commandLine": "/bin/sleep 1000"})
        await double.until_task("running")
        nodes = double.batch.directory / "nodes"
        assert list(nodes.iterdir())

    assert not list(nodes.iterdir())
