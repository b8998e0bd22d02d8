"""The client on the double."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from tesgw_batch.client import Batch

from tests.plugins.batch.client.service import CREDENTIAL
from tests.plugins.batch.fake_batch.double import Double


@pytest_asyncio.fixture
async def batch(double: Double) -> AsyncIterator[Batch]:
    batch = Batch(double.batch.url, CREDENTIAL)
    yield batch
    await batch.close()
