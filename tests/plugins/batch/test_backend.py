"""What the backend asks of its settings, and how it comes up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from tesgw_batch import BatchBackend
from tesgw_batch.fake_batch.world import Pace
from tesgw_batch.settings import SETTINGS

from tesgw import BackendRefused, BackendUnavailable, Handle, State
from tesgw.backends import Context
from tesgw.conformance import Fault
from tesgw.conformance.door import Door
from tesgw.errors import SettingsError
from tests.plugins.batch.blobs import ACCOUNT, KEY, Blobs
from tests.plugins.batch.fake_batch.double import ACCOUNT as BATCH_ACCOUNT
from tests.plugins.batch.fake_batch.double import KEY as BATCH_KEY
from tests.plugins.batch.fake_batch.double import Double
from tests.plugins.batch.gateway import job

DEFAULTS: dict[str, Any] = {
    **{each.name: each.default for each in SETTINGS},
    **{f"PRIVATE_DOCKER_REGISTRY_{part}": "" for part in ("URL", "USERNAME", "PASSWORD")},
}
LEAST: dict[str, Any] = {
    **DEFAULTS,
    "BATCH_ACCOUNT_NAME": BATCH_ACCOUNT,
    "BATCH_ACCOUNT_URL": "https://testaccount.westeurope.batch.azure.com",
    "STORAGE_ACCOUNT_NAME": ACCOUNT,
    "FILETRANSFER_CONTAINER_IMAGE": "runner",
}


class Counted(Context):
    """Knows how much it has to do when it is closed."""

    closings = 0

    def on_close(self, callback: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.closings += 1
        super().on_close(callback)


Lend = Callable[..., tuple[BatchBackend, Counted]]


def test_what_has_to_be_set_is_asked_for_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        BatchBackend().check(DEFAULTS)
    for name in ("BATCH_ACCOUNT_NAME", "BATCH_ACCOUNT_URL", "STORAGE_ACCOUNT_NAME", "FILETRANSFER_CONTAINER_IMAGE"):
        assert name in str(caught.value)


def test_the_least_settings_will_do() -> None:
    BatchBackend().check(LEAST)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"BATCH_LEASE_SECONDS": 61}, "BATCH_LEASE_SECONDS"),
        ({"BATCH_NODE_IMAGE": "ubuntu"}, "BATCH_NODE_IMAGE"),
        ({"BATCH_NODE_IDENTITY": "/subscriptions/x"}, "BATCH_ACCOUNT_RESOURCE_ID"),
    ],
)
def test_what_cannot_be_is_refused_at_the_start(change: dict[str, Any], name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        BatchBackend().check({**LEAST, **change})


def test_the_storage_account_is_shown_to_clients() -> None:
    context = Context("batch", LEAST, lambda handle: None)
    assert list(BatchBackend().storage(context)) == [
        f"https://{ACCOUNT}.blob.core.windows.net/",
        f"az://{ACCOUNT}/",
        "file:///tes-wd/shared-global",
        "http://",
        "https://",
    ]


def test_secret_settings_are_marked() -> None:
    secret = {each.name for each in SETTINGS if each.secret}
    assert secret == {each.name for each in SETTINGS if each.name.endswith(("_KEY", "_PASSWORD"))}


@pytest_asyncio.fixture
async def door(azurite: Blobs) -> AsyncIterator[Door]:
    where = urlsplit(azurite.url)
    door = Door(lambda: asyncio.open_connection(where.hostname, where.port))
    await door.open()
    yield door
    await door.close()


@pytest_asyncio.fixture
async def account(tmp_path: Path) -> AsyncIterator[Double]:
    async with Double.running(tmp_path, pace=Pace(boot_seconds=1e9)) as double:
        yield double


@pytest_asyncio.fixture
async def lend(account: Double, door: Door, tmp_path: Path) -> AsyncIterator[Lend]:
    """A backend on the double and on storage behind the door."""
    contexts = []

    def lend(**settings: Any) -> tuple[BatchBackend, Counted]:
        given = {
            **LEAST,
            "BATCH_ACCOUNT_KEY": BATCH_KEY,
            "BATCH_ACCOUNT_URL": account.batch.url,
            "STORAGE_ACCOUNT_KEY": KEY,
            "STORAGE_ACCOUNT_URL": f"{door.url}/{ACCOUNT}",
            "BATCH_STORAGE_TMP_CONTAINER_NAME": f"test{abs(hash(tmp_path))}",
            **settings,
        }
        contexts.append(context := Counted("batch", given, lambda handle: None))
        return BatchBackend(), context

    yield lend
    for context in contexts:
        await context.close()


async def test_a_backend_whose_storage_is_away_comes_up_when_it_is_back(lend: Lend, door: Door) -> None:
    backend, context = lend()
    await door.stand(Fault.DOWN)
    for _ in range(3):
        with pytest.raises(BackendUnavailable, match="Azure Storage cannot be reached"):
            await backend.poll(ctx=context, handles=[Handle("task-1")])
    assert context.closings == 1  # of all that failed nothing is kept

    await door.stand(None)
    (seen,) = await backend.poll(ctx=context, handles=[Handle("task-1")])
    assert seen.state is State.UNKNOWN


async def test_an_opening_outlasts_the_hook_that_began_it(lend: Lend, door: Door) -> None:
    backend, context = lend()
    await door.stand(Fault.SLOW)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await backend.poll(ctx=context, handles=[])
    await door.stand(None)
    assert await backend.poll(ctx=context, handles=[]) == []


async def test_a_submit_that_storage_does_not_take_is_forgotten_and_may_be_repeated(lend: Lend, door: Door) -> None:
    backend, context = lend()
    await backend.poll(ctx=context, handles=[])
    await door.stand(Fault.DOWN)
    with pytest.raises(BackendUnavailable):
        await backend.submit(ctx=context, job=job())
    (seen,) = await backend.poll(ctx=context, handles=[Handle("task-1")])
    assert seen.state is State.UNKNOWN

    await door.stand(None)
    await backend.submit(ctx=context, job=job())
    (seen,) = await backend.poll(ctx=context, handles=[Handle("task-1")])
    assert (seen.state, bool(seen.reason)) == (State.QUEUED, True)


async def test_a_job_that_can_never_run_is_refused_and_leaves_nothing(lend: Lend) -> None:
    backend, context = lend(BATCH_REGION="westeurope")
    for resources in ({"cpu_cores": 5000}, {"zones": ("eastus",)}, {"backend_parameters": {"vm_size": "big"}}):
        with pytest.raises(BackendRefused):
            await backend.submit(ctx=context, job=job(resources=resources))
    (seen,) = await backend.poll(ctx=context, handles=[Handle("task-1")])
    assert seen.state is State.UNKNOWN


async def test_a_pool_is_made_before_the_first_task_needs_it(lend: Lend, account: Double) -> None:
    backend, context = lend()
    steps: list[str] = []
    for _ in range(2):
        wanted = {"vm_size": "Standard_D2ads_v5", "preemptible": True}
        assert await backend.provision(ctx=context, request=wanted, report=steps.append) == {}

    (pool,) = [each async for each in account.client.list_pools()]
    assert (pool.vm_size, pool.target_low_priority_nodes) == ("standard_d2ads_v5", 1)
    assert steps[:2] == ["connecting to Azure Batch", "making a pool of Standard_D2ads_v5"]


@pytest.mark.parametrize("request_", [{}, {"vm_size": 3}, {"vm_size": "standard_d2ads_v5", "nodes": 3}, {"vm_size": "big"}])
async def test_what_cannot_be_provided_is_refused(lend: Lend, request_: dict[str, Any]) -> None:
    backend, context = lend()
    with pytest.raises(BackendRefused):
        await backend.provision(ctx=context, request=request_, report=lambda step: None)
