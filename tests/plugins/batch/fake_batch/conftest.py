"""The double and its client for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.plugins.batch.fake_batch.double import Double


@pytest_asyncio.fixture
async def double(tmp_path: Path) -> AsyncIterator[Double]:
    async with Double.running(tmp_path) as double:
        yield double
