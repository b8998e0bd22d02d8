"""Azure Batch as the gateway asks it: what may be repeated, what errors become, and what is wrong with the SDK."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from azure.batch import models
from tesgw_batch.client import Batch

from tesgw import BackendUnavailable
from tests.plugins.batch.client.service import ADD, answering, described, gone, problem, tasks
from tests.plugins.batch.fake_batch.double import FORMULA, Double, pool, until

# What is so already is success.


async def test_what_exists_already_is_made(double: Double, batch: Batch) -> None:
    for _ in range(2):
        await batch.create_pool(described())
        await batch.create_job("job", "pool")
        assert await batch.add("job", tasks("a", "b")) == {"a": None, "b": None}

    assert [each.id for each in await batch.pools("po")] == ["pool"]
    assert [(each.id, each.pool_info.pool_id) for each in await batch.jobs("j")] == [("job", "pool")]
    assert sorted(each.id or "" for each in await batch.tasks("job") or ()) == ["a", "b"]


async def test_what_is_gone_already_is_deleted(double: Double, batch: Batch) -> None:
    await batch.create_pool(described())
    await batch.create_job("job", "pool")
    await batch.add("job", tasks("a"))
    for _ in range(2):
        await batch.delete_task("job", "a")
        assert await batch.tasks("job") == []
    for _ in range(2):
        await batch.delete_job("job")
        await batch.delete_pool("pool")
    await until(lambda: gone(batch))

    await batch.delete_job("job")
    await batch.delete_pool("pool")
    await batch.delete_task("job", "a")
    await batch.remove_nodes("pool", ["tvmps_1_d"])


async def test_pools_and_jobs_are_found_by_the_beginning_of_their_ids(double: Double, batch: Batch) -> None:
    for name in ("tesgw-1-a", "tesgw-1-b", "tesgw-2-a", "x-tesgw-1-"):
        await batch.create_pool(described(name))
        await batch.create_job(name, name)

    assert {each.id for each in await batch.pools("tesgw-1-")} == {"tesgw-1-a", "tesgw-1-b"}
    assert {each.id for each in await batch.jobs("tesgw-1-")} == {"tesgw-1-a", "tesgw-1-b"}


async def test_a_pool_or_job_that_is_on_its_way_out_is_not_found(double: Double, batch: Batch) -> None:
    await batch.create_pool(described())
    await double.until_nodes("idle")
    await batch.create_job("job", "pool")
    await batch.create_job("ended", "pool")
    await batch.add("job", tasks("a", program="stubborn"))
    await double.until_task("running", "a")
    await double.client.begin_terminate_job("ended", {"terminateReason": "test"})  # type: ignore[arg-type]  # a wire form
    await batch.delete_pool("pool")
    await batch.delete_job("job")

    assert await gone(batch)
    assert (await double.client.get_pool("pool")).state == "deleting"  # it is still there
    double.gate.set()


CREATIONS: dict[str, tuple[str, Callable[[Batch], Awaitable[Any]]]] = {
    "pool": ("POST /pools", lambda batch: batch.create_pool(described("new"))),
    "job": ("POST /jobs", lambda batch: batch.create_job("new", "pool")),
    "tasks": (ADD, lambda batch: batch.add("job", tasks("new"))),
}


@pytest.mark.parametrize("what", CREATIONS)
async def test_a_creation_whose_answer_was_lost_is_repeated(double: Double, batch: Batch, what: str) -> None:
    route, create = CREATIONS[what]
    await batch.create_job("job", "pool")
    asked = double.batch.requests[route]
    double.batch.faults.loses_answers(route)

    with pytest.raises(BackendUnavailable, match="cannot be reached"):
        await create(batch)
    assert double.batch.requests[route] == asked + 1  # nobody repeats it behind our back
    await create(batch)


DELETIONS: dict[str, tuple[str, Callable[[Batch], Awaitable[Any]]]] = {
    "task": ("DELETE /jobs/{jobId}/tasks/{taskId}", lambda batch: batch.delete_task("job", "task")),
    "job": ("DELETE /jobs/{jobId}", lambda batch: batch.delete_job("job")),
    "pool": ("DELETE /pools/{poolId}", lambda batch: batch.delete_pool("pool")),
}


@pytest.mark.parametrize("what", DELETIONS)
async def test_a_deletion_whose_answer_was_lost_is_repeated(double: Double, batch: Batch, what: str) -> None:
    route, delete = DELETIONS[what]
    await batch.create_pool(described())
    await batch.create_job("job", "pool")
    await batch.add("job", tasks("task"))
    double.batch.faults.loses_answers(route, times=2)  # the first is repeated by aiohttp, which may do that for DELETE

    with pytest.raises(BackendUnavailable, match="cannot be reached"):
        await delete(batch)
    await delete(batch)


# Throttling


async def test_who_is_throttled_holds_everybody_up_as_long_as_the_service_asks(double: Double, batch: Batch) -> None:
    double.batch.faults.throttled("GET /nodecounts", retry_after=0.4)
    with pytest.raises(BackendUnavailable, match="429 TooManyRequests"):
        await batch.node_counts()
    begun = time.monotonic()

    await asyncio.gather(batch.jobs(""), batch.pools(""), batch.create_job("job", "pool"))
    assert time.monotonic() - begun > 0.35
    assert double.batch.requests["GET /nodecounts"] == 1

    begun = time.monotonic()
    await batch.jobs("")
    assert time.monotonic() - begun < 0.35


async def test_a_service_that_is_busy_and_does_not_say_how_long_is_left_alone_for_a_second() -> None:
    async with answering(503, problem("ServerBusy", "The server is busy.")) as batch:
        with pytest.raises(BackendUnavailable, match="503 ServerBusy"):
            await batch.jobs("")
        begun = time.monotonic()
        with pytest.raises(BackendUnavailable):
            await batch.pools("")
        assert time.monotonic() - begun > 0.9


async def test_an_error_of_the_service_holds_nobody_up(double: Double, batch: Batch) -> None:
    double.batch.faults.refusing("GET /nodecounts")
    with pytest.raises(BackendUnavailable, match="500 InternalError"):
        await batch.node_counts()
    begun = time.monotonic()

    await batch.jobs("")
    assert time.monotonic() - begun < 0.9


# Tasks


async def test_those_that_the_service_could_not_add_now_are_left_for_the_next_time() -> None:
    value = [
        {"status": "success", "taskId": "good"},
        {"status": "servererror", "taskId": "later", "error": problem("ServerBusy", "Busy.")},
        {"status": "clienterror", "taskId": "there", "error": problem("TaskExists", "It exists.")},
        {
            "status": "clienterror",
            "taskId": "bad",
            "error": problem("InvalidPropertyValue", "It is bad.", Reason="too long"),
        },
    ]
    async with answering(200, {"value": value}) as batch:
        outcomes = await batch.add("job", tasks("good", "later", "there", "bad"))

    refusal = outcomes.pop("bad")
    assert outcomes == {"good": None, "there": None}
    assert str(refusal) == "Azure Batch refused: InvalidPropertyValue: It is bad.; Reason: too long"


async def test_only_what_has_changed_since_is_listed(double: Double, batch: Batch) -> None:
    await batch.create_job("job", "pool")
    await batch.add("job", tasks("old"))
    double.clock.advance(100)
    await batch.add("job", tasks("new"))

    assert {each.id for each in await batch.tasks("job") or ()} == {"old", "new"}
    changed = await batch.tasks("job", double.clock.now().replace(microsecond=0) - timedelta(seconds=50))
    # No more than is needed is asked for.
    assert [(each.id, each.state, each.get("commandLine")) for each in changed or ()] == [("new", "active", None)]


async def test_a_job_that_is_gone_has_no_tasks(batch: Batch) -> None:
    assert await batch.tasks("job") is None


async def test_all_pages_of_a_list_are_read(double: Double, batch: Batch) -> None:
    for number in range(0, 1100, 100):
        await batch.create_job("job", "pool")
        await batch.add("job", tasks(*(f"t{number + each}" for each in range(100))))

    assert len(await batch.tasks("job") or ()) == 1100
    assert double.batch.requests["GET /jobs/{jobId}/tasks"] == 2


async def test_the_beginning_of_what_a_task_said_can_be_read(double: Double, batch: Batch) -> None:
    await batch.create_pool(described())
    await batch.create_job("job", "pool")
    talkative = {"id": "task", "commandLine": "/bin/sh -c 'seq 10000 >&2; exit 3'"}
    await batch.add("job", [models.BatchTaskCreateOptions(talkative)])
    await double.until_task("completed")

    said = await batch.stderr("job", "task")
    assert said.startswith("1\n2\n")
    assert len(said) <= 4096


# Pools


async def test_a_pool_evaluates_a_new_formula_at_once_but_not_twice_in_a_while(double: Double, batch: Batch) -> None:
    scaling: dict[str, Any] = {"enableAutoScale": True, "autoScaleFormula": FORMULA, "autoScaleEvaluationInterval": "PT5M"}
    await batch.create_pool(models.BatchPoolCreateOptions(pool(**scaling)))

    assert await batch.rescale("pool", "$TargetDedicatedNodes = 2;")
    await double.until_nodes("idle", "idle")
    assert not await batch.rescale("pool", "$TargetDedicatedNodes = 1;")
    double.clock.advance(31)
    assert await batch.rescale("pool", "$TargetDedicatedNodes = 1;")
    await double.until_nodes("idle")


async def test_a_pool_that_was_asked_too_often_holds_nobody_up() -> None:
    # https://learn.microsoft.com/rest/api/batchservice/batch-status-and-error-codes says 503.
    async with answering(503, problem("TooManyEnableAutoScaleRequests", "Wait for 30 s.")) as batch:
        begun = time.monotonic()
        assert not await batch.rescale("pool", "$TargetDedicatedNodes = 2;")
        assert not await batch.rescale("pool", "$TargetDedicatedNodes = 2;")
        assert time.monotonic() - begun < 0.9


async def test_nodes_are_counted_listed_and_removed(double: Double, batch: Batch) -> None:
    await batch.create_pool(described())
    (node,) = await double.until_nodes("idle")

    (counts,) = await batch.node_counts()
    assert (counts.pool_id, counts.dedicated.idle, counts.low_priority.total) == ("pool", 1, 0)  # type: ignore[union-attr]
    assert [each.id for each in await batch.nodes("pool", "idle")] == [node.id]
    assert await batch.nodes("pool", "unusable") == []
    await batch.remove_nodes("pool", [node.id])
    await double.until_nodes()


async def test_a_pool_that_is_being_resized_keeps_its_nodes(double: Double, batch: Batch) -> None:
    await batch.create_pool(described())
    (node,) = await double.until_nodes("idle")
    await batch.create_job("job", "pool")
    await batch.add("job", tasks("a", program="stubborn"))
    await double.until_task("running", "a")
    await batch.remove_nodes("pool", [node.id])

    await batch.remove_nodes("pool", [node.id])
    assert [each.id for each in await double.nodes()] == [node.id]
    double.gate.set()
