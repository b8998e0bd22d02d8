"""Lists: filters, selections, pages; and that each answer is one that the SDK's models describe in full."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.batch import models
from azure.core.exceptions import HttpResponseError
from tesgw_batch.fake_batch.strict import check

from tests.plugins.batch.fake_batch.double import Double, code, details, scaling, task


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("state eq 'completed'", ["done"]),
        ("state ne 'completed'", ["Waits", "runs"]),
        ("startswith(id,'ru')", ["runs"]),
        ("id gt 'e' and state eq 'running'", ["runs"]),
        ("state eq 'completed' or startswith(id, 'Wa')", ["Waits", "done"]),
        ("executionInfo/exitCode eq 0", ["done"]),
        ("executionInfo/result ne 'success'", ["Waits", "runs"]),
        ("nodeInfo/nodeId ne 'nowhere' and executionInfo/result eq 'success'", ["done"]),
        ("stateTransitionTime gt DateTime'2020-01-01T00:00:00Z'", ["Waits", "done", "runs"]),
        ("stateTransitionTime ge datetime'2120-01-01T00:00:00Z'", []),
    ],
)
async def test_a_filter_chooses_what_is_listed(double: Double, asked: str, expected: list[str]) -> None:
    await double.pool()
    await double.job()
    await double.add(task("done"))
    await double.until_task("completed", "done")
    await double.add(task("runs", "endless"))
    await double.until_task("running", "runs")
    await double.add(task("Waits"))

    assert [each.id async for each in double.client.list_tasks("job", filter=asked)] == expected


async def test_a_filter_by_time_finds_what_has_changed_since(double: Double) -> None:
    await double.pool()
    await double.job()
    await double.add(task("early"))
    await double.until_task("completed", "early")
    double.clock.advance(60)
    since = double.clock.now()
    await double.add(task("late"))
    await double.until_task("completed", "late")

    asked = f"stateTransitionTime gt DateTime'{since:%Y-%m-%dT%H:%M:%S.%fZ}'"
    assert [each.id async for each in double.client.list_tasks("job", filter=asked)] == ["late"]


@pytest.mark.parametrize(
    "asked",
    [
        "state",
        "state eq completed",
        "state gt 'active'",
        "contains(id,'x')",
        "endswith(id,'x')",
        "not state eq 'active'",
        "commandLine eq 'run'",
        "stateTransitionTime gt DateTime'yesterday'",
        "state eq 'active' state eq 'running'",
        "state eq 'active' and",
    ],
)
async def test_a_filter_that_azure_does_not_document_is_refused(double: Double, asked: str) -> None:
    await double.job()

    with pytest.raises(HttpResponseError) as caught:
        [each async for each in double.client.list_tasks("job", filter=asked)]

    assert (caught.value.status_code, code(caught.value)) == (400, "InvalidQueryParameterValue")
    assert details(caught.value)["QueryParameterValue"] == asked


async def test_pools_jobs_and_nodes_are_filtered_too(double: Double) -> None:
    await double.pool("big", targetDedicatedNodes=2)
    await double.pool("small", targetDedicatedNodes=0)
    await double.until_nodes("idle", "idle", pool_id="big")
    await double.job("in-big", "big")
    await double.job("in-small", "small", priority=5)
    client = double.client

    assert [each.id async for each in client.list_pools(filter="startswith(id,'b')")] == ["big"]
    assert [each.id async for each in client.list_jobs(filter="executionInfo/poolId eq 'big'")] == ["in-big"]
    assert [each.id async for each in client.list_jobs(filter="priority ge 1")] == ["in-small"]
    assert len([each async for each in client.list_nodes("big", filter="state eq 'idle'")]) == 2
    assert [each async for each in client.list_nodes("big", filter="state eq 'preempted'")] == []
    assert [each.pool_id async for each in client.list_pool_node_counts(filter="poolId eq 'big'")] == ["big"]


async def test_a_selection_leaves_out_the_rest_and_knows_what_there_is(double: Double) -> None:
    await double.job()
    await double.add(task())

    found = [each async for each in double.client.list_tasks("job", select=["id", "state"])]
    assert [dict(each.as_dict()) for each in found] == [{"id": "task", "state": "active"}]
    assert set((await double.client.get_task("job", "task", select=["id"])).as_dict()) - {"odata.metadata"} == {"id"}
    with pytest.raises(HttpResponseError) as caught:
        await double.client.get_task("job", "task", select=["id", "colour"])
    assert code(caught.value) == "InvalidQueryParameterValue"


async def test_pages_follow_one_another_until_all_is_listed(double: Double) -> None:
    await double.job()
    await double.add(*(task(f"t{number}") for number in range(5)))

    pages = double.client.list_tasks("job", filter="state eq 'active'", select=["id"], max_results=2).by_page()
    seen = [[each.id async for each in page] async for page in pages]

    assert seen == [["t0", "t1"], ["t2", "t3"], ["t4"]]


async def test_no_page_leaves_out_what_was_there_all_the_time(double: Double) -> None:
    await double.job()
    await double.add(*(task(f"t{number}") for number in range(4)))

    seen: list[str] = []
    async for page in double.client.list_tasks("job", max_results=2).by_page():
        seen += [each.id async for each in page]
        if len(seen) == 2:
            await double.client.delete_task("job", "t0")

    assert seen == ["t0", "t1", "t2", "t3"]


@pytest.mark.parametrize("size", [0, 1001])
async def test_a_page_has_from_1_to_1000_entries(double: Double, size: int) -> None:
    with pytest.raises(HttpResponseError):
        [each async for each in double.client.list_pools(max_results=size)]


async def test_answers_are_what_the_models_say(double: Double) -> None:
    """Nothing that they do not know, and nothing left out that they promise."""
    await double.pool(targetDedicatedNodes=1, startTask={"commandLine": "/bin/true"})
    await double.pool("scaling", **scaling())
    await double.job(constraints={"maxTaskRetryCount": 1})
    await double.add(task(), task("failed", "failing"))
    await double.until_task("completed")
    await double.until_task("completed", "failed")
    client = double.client

    for model, found in (
        (models.BatchPool, [each async for each in client.list_pools()]),
        (models.BatchNode, await double.nodes()),
        (models.BatchPoolNodeCounts, [each async for each in client.list_pool_node_counts()]),
        (models.BatchSupportedImage, [each async for each in client.list_supported_images()]),
        (models.BatchJob, [each async for each in client.list_jobs()]),
        (models.BatchTask, [each async for each in client.list_tasks("job")]),
        (models.BatchTaskCountsResult, [await client.get_job_task_counts("job")]),
    ):
        assert found
        for each in found:
            check(model, _told(each), is_request=False)


async def test_times_are_the_clocks(double: Double) -> None:
    double.clock.advance(86400)
    await double.job()

    created = (await double.client.get_job("job")).creation_time
    assert created - datetime.now(UTC) > timedelta(hours=23)


def _told(found: Any) -> dict[str, Any]:
    told: dict[str, Any] = found.as_dict()
    return told
