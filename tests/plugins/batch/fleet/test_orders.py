"""What is in storage: orders that outlive gateways and signatures, and secrets."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from tesgw_batch.archive import Label
from tesgw_batch.documents import Order, decode

from tesgw import Input, State
from tests.plugins.batch.fake_batch.double import KEY as BATCH_KEY
from tests.plugins.batch.fake_batch.double import until
from tests.plugins.batch.fleet.account import ADD, REGISTRY, Account, complete, run, said, silent

# Restarts and attempts


async def test_jobs_of_a_former_gateway_are_adopted(account: Account) -> None:
    account.runners.parts |= {"running-1": run, "ended-1": complete}
    gateway = account.gateway()
    for job_id in ("running-1", "ended-1"):
        await gateway.submit(job_id)
    await gateway.until("running-1", State.RUNNING)
    ended = await gateway.until("ended-1", State.COMPLETE)
    account.batch.faults.down()
    await gateway.submit("waiting-1")
    gateway = await account.restarted(gateway)
    account.batch.faults.lift()

    await gateway.until("waiting-1", State.COMPLETE)
    assert (await gateway.observe("running-1")).state is State.RUNNING
    assert await gateway.observe("ended-1") == ended
    assert sorted(account.runners.started) == ["ended-1", "running-1", "waiting-1"]


async def test_the_next_attempt_removes_what_is_left_of_the_ones_before(account: Account) -> None:
    gateway = account.gateway()
    for attempt in ("task-1", "task-2"):
        await gateway.submit(attempt)
        await gateway.until(attempt, State.COMPLETE)
    gateway = await account.restarted(gateway)
    await gateway.submit("task-3")
    await gateway.until("task-3", State.COMPLETE)
    await account.until_left("orders/task-3", "status/task-3")


# Signatures


async def test_orders_whose_signatures_have_aged_are_signed_anew_after_every_restart(account: Account) -> None:
    account.runners.parts["task-1"] = run
    gateway = account.gateway()
    await gateway.submit("task-1")
    await gateway.until("task-1", State.RUNNING)
    for _ in range(2):
        await gateway.context.close()
        order, old = await account.read("orders/task-1"), await account.age("task-1")
        gateway = account.gateway()
        await gateway.observe("task-1")

        async def is_fresh(old: Label = old) -> bool:
            return (await account.label("task-1")).signed_at > old.signed_at + 86_400

        await until(is_fresh)
        renewed = decode(await account.read("orders/task-1"), Order)
        assert renewed.job == decode(order, Order).job
        await asyncio.sleep(1.01)  # signatures are alike within a second
    assert account.runners.started == ["task-1"]


async def test_a_job_that_still_waits_is_added_again_with_fresh_urls(account: Account) -> None:
    gateway = account.gateway(BATCH_OVERRIDE_POOL_ID="none")
    await gateway.submit("task-1")

    async def is_added() -> bool:
        return await account.tasks() == ["task-1"]

    await until(is_added)
    await gateway.context.close()
    await account.age("task-1")
    account.batch.faults.refusing("DELETE *")  # then it is tried again
    gateway = account.gateway(BATCH_OVERRIDE_POOL_ID="none")
    await gateway.observe("task-1")

    async def is_added_again() -> bool:
        return account.batch.requests[ADD] == 2 and await account.tasks() == ["task-1"]

    await until(is_added_again)


async def test_an_order_that_cannot_be_renewed_hurts_no_other(account: Account) -> None:
    account.runners.parts |= {"a-1": run, "b-1": run}
    gateway = account.gateway()
    for job_id in ("a-1", "b-1"):
        await gateway.submit(job_id)
        await gateway.until(job_id, State.RUNNING)
    await gateway.context.close()
    old = await account.age("a-1")
    label = old.as_metadata()
    await account.container.upload_blob("orders/a-1", b"{", overwrite=True, metadata=label)
    old = await account.age("b-1")
    gateway = account.gateway()
    await gateway.observe("b-1")

    async def is_fresh() -> bool:
        return (await account.label("b-1")).signed_at > old.signed_at

    await until(is_fresh)


# Secrets


async def test_secrets_are_in_the_secrets_document_and_nowhere_else(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    account.runners.parts |= {"task-1": run, "bad-1": silent}
    registry = {f"PRIVATE_DOCKER_REGISTRY_{part}": value for part, value in REGISTRY.items()}
    gateway = account.gateway(**registry, BATCH_NODE_ADMIN_PASSWORD="admin-password")
    await gateway.submit("task-1", inputs=(Input(path="/in", url="https://example.org/x?sig=their-signature"),))
    await gateway.submit("bad-1")
    await gateway.until("task-1", State.RUNNING)
    bad = await gateway.until("bad-1", State.SYSTEM_ERROR)

    holding = [name for name in await account.blobs() if b"registry-password" in await account.read(name)]
    assert holding == ["secrets/bad-1", "secrets/task-1"]
    jobs = [each.id async for each in account.double.client.list_jobs()]
    shown = json.dumps([each.as_dict() for each_job in jobs async for each in account.double.client.list_tasks(each_job)])
    key = account._settings["STORAGE_ACCOUNT_KEY"]
    for secret in ("registry-password", "admin-password", "their-signature", key, BATCH_KEY):
        assert secret not in shown
        assert secret not in said(caplog)
        assert secret not in repr(bad)
    assert "sig=" in shown  # the order's own
    assert "sig=" not in said(caplog).replace("sig=REDACTED", "")

    await gateway.cancel("bad-1")
    assert "secrets/bad-1" not in await account.blobs()


async def test_secrets_that_a_runner_has_taken_are_not_written_again(account: Account) -> None:
    registry = {f"PRIVATE_DOCKER_REGISTRY_{part}": value for part, value in REGISTRY.items()}
    account.runners.parts["task-1"] = run
    gateway = account.gateway(**registry)
    await gateway.submit("task-1")
    await gateway.until("task-1", State.RUNNING)
    await gateway.context.close()
    await account.container.delete_blob("secrets/task-1")
    old = await account.age("task-1")
    gateway = account.gateway(**registry)
    await gateway.observe("task-1")

    async def is_fresh() -> bool:
        return (await account.label("task-1")).signed_at > old.signed_at

    await until(is_fresh)
    assert await account.blobs() == ["orders/task-1", "status/task-1"]
