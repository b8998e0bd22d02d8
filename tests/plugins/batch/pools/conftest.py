"""Accounts by how soon nodes are ready."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from azure.core.credentials import AzureNamedKeyCredential
from tesgw_batch.client import Batch
from tesgw_batch.fake_batch.world import Pace, Quotas

from tests.plugins.batch.fake_batch.double import ACCOUNT, KEY, Double
from tests.plugins.batch.pools.world import NEVER, World


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Its nodes are never ready."""
    async for each in made(tmp_path, Pace(boot_seconds=NEVER)):
        yield each


@pytest_asyncio.fixture
async def quick(tmp_path: Path) -> AsyncIterator[World]:
    """Its nodes are ready at once."""
    async for each in made(tmp_path, Pace()):
        yield each


async def made(tmp_path: Path, pace: Pace) -> AsyncIterator[World]:
    quotas = Quotas(pools=3, active_jobs=4)
    async with Double.running(tmp_path, pace=pace, quotas=quotas) as double:
        batch = Batch(double.batch.url, AzureNamedKeyCredential(ACCOUNT, KEY))
        yield World(double, batch)
        await batch.close()
