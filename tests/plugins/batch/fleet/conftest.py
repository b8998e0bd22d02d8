"""The double and Azurite, and gateways whose loops are quick."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from azure.storage.blob.aio import ContainerClient
from tesgw_batch import fleet

from tests.plugins.batch.blobs import Blobs
from tests.plugins.batch.fake_batch.double import Double, pool
from tests.plugins.batch.fleet.account import Account, Runners


@pytest_asyncio.fixture
async def account(
    tmp_path: Path, azurite: Blobs, container: ContainerClient, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Account]:
    for name in ("ADD_SECONDS", "WATCH_SECONDS", "LOOK_SECONDS", "RENEW_SECONDS"):
        monkeypatch.setattr(fleet, name, 0.1)
    runners = Runners()
    async with Double.running(tmp_path) as double:
        programs: Any = double.batch.programs
        programs["runner"] = runners
        account = Account(double, runners, azurite, container)
        await double.client.create_pool(pool("theirs", targetDedicatedNodes=1, taskSlotsPerNode=16))  # type: ignore[arg-type]  # a wire form
        yield account
        await account.close()
