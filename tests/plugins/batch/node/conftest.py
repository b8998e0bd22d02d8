from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from azure.storage.blob.aio import ContainerClient

from tests.plugins.batch.blobs import Blobs
from tests.plugins.batch.node.bench import Bench, open_bench


@pytest.fixture
async def bench(azurite: Blobs, container: ContainerClient, tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(azurite, container, tmp_path) as opened:
        yield opened
