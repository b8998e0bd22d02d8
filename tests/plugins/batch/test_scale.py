"""What many tasks cost at Azure: a small edition of `make bench-batch`."""

from __future__ import annotations

import asyncio
from pathlib import Path

from azure.storage.blob.aio import ContainerClient
from tesgw_batch import BatchBackend

from benchmarks.batch_world import Nothing, account, settings
from tesgw import Handle, State
from tesgw.backends import Backend, Context
from tesgw.settings import SETTINGS, of_values
from tests.plugins.batch.blobs import Blobs
from tests.plugins.batch.gateway import job

TASKS = 300
AT_ONCE = 16  # as the scheduler does


async def test_a_task_costs_hardly_more_than_one_call_of_azure_batch(
    azurite: Blobs, container: ContainerClient, tmp_path: Path
) -> None:
    async with account(tmp_path, Nothing(container, is_held=False), TASKS) as batch:
        storage = {
            "STORAGE_ACCOUNT_NAME": azurite.account,
            "STORAGE_ACCOUNT_KEY": azurite.key,
            "BATCH_STORAGE_TMP_CONTAINER_NAME": container.container_name,
        }
        values = of_values((*SETTINGS, *BatchBackend.settings), {**settings(batch, azurite.url), **storage})
        backend = Backend("batch", BatchBackend(), Context("batch", values, lambda handle: None))
        slots = asyncio.Semaphore(AT_ONCE)

        async def submit(number: int) -> Handle:
            async with slots:
                return await backend.submit(job(f"task{number}-1"))

        try:
            handles = await asyncio.gather(*map(submit, range(TASKS)))
            while {seen.state for seen in await backend.poll(handles)} != {State.COMPLETE}:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
            await asyncio.gather(*map(backend.cancel, handles[:AT_ONCE]))  # as the scheduler lets go of what has ended
        finally:
            await backend.close()

        assert batch.requests.total() <= 1.2 * TASKS, batch.requests
        assert not any(route.startswith("DELETE") for route in batch.requests), batch.requests
