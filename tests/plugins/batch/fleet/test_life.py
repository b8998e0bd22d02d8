"""The life of jobs, through the hooks."""

from __future__ import annotations

import logging

import pytest

from tesgw import Handle, State
from tests.plugins.batch.fake_batch.double import until
from tests.plugins.batch.fleet.account import ADD, Account, complete, garbage, run, said, silent

# A job's life


async def test_a_job_runs_and_its_runners_word_is_passed_on(account: Account) -> None:
    gateway = account.gateway()
    assert await gateway.submit("task-1") == Handle("task-1")
    seen = await gateway.until("task-1", State.COMPLETE)

    assert seen.metadata == {"pool_id": "theirs", "node": (await account.double.nodes("theirs"))[0].id}
    assert "task-1" in gateway.changed
    await gateway.cancel("task-1")
    assert (await account.blobs(), (await gateway.observe("task-1")).state) == ([], State.UNKNOWN)


async def test_who_waits_is_told_why_as_soon_as_it_is_known(account: Account) -> None:
    gateway = account.gateway(BATCH_OVERRIDE_POOL_ID="none")
    await gateway.submit("task-1")
    assert "task-1" in gateway.changed

    async def is_told() -> bool:
        seen = await gateway.observe("task-1")
        return (seen.state, seen.reason) == (
            State.QUEUED,
            "Waiting for a node of the pool none: it has none now, or does not exist.",
        )

    await until(is_told)


async def test_who_waits_is_told_that_batch_does_not_answer(account: Account) -> None:
    gateway = account.gateway()
    account.batch.faults.refusing(times=None)
    await gateway.submit("task-1")

    async def is_told() -> bool:
        return (await gateway.observe("task-1")).reason == "Waiting. Azure Batch cannot answer now: 500 InternalError."

    await until(is_told)
    account.batch.faults.lift()
    await gateway.until("task-1", State.COMPLETE)


async def test_a_repeated_submit_changes_nothing(account: Account) -> None:
    account.runners.parts["task-1"] = run
    gateway = account.gateway()
    await gateway.submit("task-1")
    await gateway.until("task-1", State.RUNNING)
    order = await account.read("orders/task-1")
    assert await gateway.submit("task-1") == Handle("task-1")
    gateway = await account.restarted(gateway)
    assert await gateway.submit("task-1") == Handle("task-1")

    assert await account.read("orders/task-1") == order
    assert (account.runners.started, await account.tasks()) == (["task-1"], ["task-1"])


async def test_documents_are_read_when_they_have_changed_only(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    account.runners.parts |= {"a-1": run, "b-1": run}
    gateway = account.gateway()
    for job_id in ("a-1", "b-1"):
        await gateway.submit(job_id)
        await gateway.until(job_id, State.RUNNING)
    caplog.set_level(logging.INFO, "azure.core.pipeline.policies.http_logging_policy")

    def reads(path: str) -> int:
        requests = [each.getMessage() for each in caplog.records if "Request method: 'GET'" in each.getMessage()]
        return sum(path in each for each in requests)

    async def is_listed() -> bool:
        return reads("comp=") >= 3

    await until(is_listed)
    assert reads("/status/") == 0
    account.runners.parts["c-1"] = run
    await gateway.submit("c-1")
    await gateway.until("c-1", State.RUNNING)
    assert (reads("/status/c-1") > 0, reads("/status/a-1")) == (True, 0)


# The end


async def test_a_runner_that_says_nothing_is_a_system_error_with_its_last_words(account: Account) -> None:
    account.runners.parts["task-1"] = silent
    gateway = account.gateway()
    await gateway.submit("task-1")
    seen = await gateway.until("task-1", State.SYSTEM_ERROR)

    assert "with exit code 3 before it could say how the task is" in seen.system_logs[-1]
    assert "Something is missing here." in seen.system_logs[-1]
    gateway = await account.restarted(gateway)
    assert await gateway.observe("task-1") == seen


async def test_a_task_that_batch_runs_again_was_preempted(account: Account) -> None:
    account.runners.parts["task-1"] = run
    gateway = account.gateway()
    await gateway.submit("task-1")
    await gateway.until("task-1", State.RUNNING)
    (node,) = account.batch.nodes
    object.__setattr__(account.batch.pace, "replacement_seconds", 1e9)
    await account.batch.faults.preempt(node.id)
    await end_lease(account, "task-1")  # of a runner that is no more

    seen = await gateway.until("task-1", State.PREEMPTED)
    assert seen.reason == f"The node {node.id} was preempted or lost."


async def end_lease(account: Account, job_id: str) -> None:
    from azure.storage.blob.aio import BlobLeaseClient

    await BlobLeaseClient(account.container.get_blob_client(f"status/{job_id}")).break_lease(lease_break_period=0)


async def test_a_document_that_nobody_can_read_hurts_no_other_job(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    account.runners.parts |= {"bad-1": garbage, "good-1": run}
    gateway = account.gateway()
    await gateway.submit("bad-1")

    async def is_noticed() -> bool:
        return "status document cannot be read" in said(caplog)

    await until(is_noticed)
    await gateway.submit("good-1")
    await gateway.until("good-1", State.RUNNING)
    account.runners.parts["other-1"] = complete
    await gateway.submit("other-1")
    await gateway.until("other-1", State.COMPLETE)

    await gateway.cancel("bad-1")
    await gateway.until("bad-1", State.CANCELED, State.UNKNOWN)


# Cancel


async def test_a_job_that_batch_does_not_have_yet_is_cancelled(account: Account) -> None:
    gateway = account.gateway()
    await gateway.observe("task-1")
    account.batch.faults.down()
    await gateway.submit("task-1")
    await gateway.cancel("task-1")
    await gateway.until("task-1", State.CANCELED)
    await account.until_left()

    account.batch.faults.lift()
    await gateway.submit("other-1")
    await gateway.until("other-1", State.COMPLETE)
    assert account.runners.started == ["other-1"]


async def test_a_job_that_is_being_added_is_cancelled(account: Account) -> None:
    account.runners.parts["task-1"] = run
    gateway = account.gateway()
    account.batch.faults.slow(ADD, seconds=0.5)
    await gateway.submit("task-1")

    async def is_asked() -> bool:
        return account.batch.requests[ADD] > 0

    await until(is_asked)
    await gateway.cancel("task-1")
    await gateway.until("task-1", State.CANCELED)
    await account.until_left()

    async def is_gone() -> bool:
        return not await account.tasks()

    await until(is_gone)


async def test_a_job_that_runs_is_cancelled(account: Account) -> None:
    account.runners.parts["task-1"] = run
    gateway = account.gateway()
    await gateway.submit("task-1")
    await gateway.until("task-1", State.RUNNING)
    await gateway.cancel("task-1")
    await gateway.cancel("task-1")

    seen = await gateway.until("task-1", State.CANCELED, State.UNKNOWN)
    assert seen.state is State.UNKNOWN or seen.system_logs[-1] == "Canceled."
    await account.until_left()
    assert account.runners.started == ["task-1"]


async def test_a_job_that_nobody_knows_is_cancelled_without_ado(account: Account) -> None:
    gateway = account.gateway()
    await gateway.cancel("task-1")
    assert (await gateway.observe("task-1")).state is State.UNKNOWN


async def test_an_order_of_a_job_that_is_not_known_is_removed(account: Account) -> None:
    """Its submit was cut off after storage had it."""
    gateway = account.gateway()
    await gateway.observe("task-1")
    await account.container.upload_blob("orders/task-1", b"{}")
    await gateway.cancel("task-1")
    assert await account.blobs() == []
