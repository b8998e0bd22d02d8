"""A fleet, and the one after a restart, on an account whose nodes take for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from azure.core.credentials import AzureNamedKeyCredential
from tesgw_batch import dispatch
from tesgw_batch.client import Batch
from tesgw_batch.fake_batch.world import Pace, Quotas

from tests.plugins.batch.dispatch.turns import Fleet
from tests.plugins.batch.fake_batch.double import ACCOUNT, KEY, Double


@pytest_asyncio.fixture
async def account(tmp_path: Path) -> AsyncIterator[tuple[Double, Batch]]:
    """Nodes of our own pools are never ready, and `theirs` has one that is."""
    async with Double.running(tmp_path, pace=Pace(boot_seconds=1e9), quotas=Quotas(pools=2)) as double:
        batch = Batch(double.batch.url, AzureNamedKeyCredential(ACCOUNT, KEY))
        yield double, batch
        await batch.close()


@pytest.fixture
def double(account: tuple[Double, Batch]) -> Double:
    return account[0]


@pytest.fixture
def fleet(account: tuple[Double, Batch]) -> Fleet:
    return Fleet(*account)


@pytest.fixture
def next_fleet(account: tuple[Double, Batch]) -> Fleet:
    """After a restart."""
    return Fleet(*account)


@pytest.fixture
def recounting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "RECOUNT_SECONDS", 0.0)
