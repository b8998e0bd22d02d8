"""Blob storage, a container of it for each test, and the double of Azure Batch."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from azure.storage.blob.aio import ContainerClient
from tesgw_batch.azurite import NoAzurite, running

from tests.plugins.batch.blobs import ACCOUNT, KEY, Blobs
from tests.plugins.batch.fake_batch.double import Double


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def azurite(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Blobs]:
    """Skips only where no Azurite can be had; where CI=true that is a failure."""
    try:
        async with running(tmp_path_factory.mktemp("azurite"), ACCOUNT, KEY) as url:
            yield Blobs(url)
    except NoAzurite as problem:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI has to run the tests that need Azurite. {problem}", pytrace=False)
        pytest.skip(str(problem))


@pytest_asyncio.fixture
async def container(azurite: Blobs) -> AsyncIterator[ContainerClient]:
    """A new container, which nobody else uses."""
    async with azurite.container(f"test{uuid4().hex}") as client:
        await client.create_container()
        yield client


@pytest_asyncio.fixture
async def double(tmp_path: Path) -> AsyncIterator[Double]:
    """A Batch account of its own, whose clock can be turned."""
    async with Double.running(tmp_path) as double:
        yield double
