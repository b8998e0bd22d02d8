"""A store for each test. Where TESGW_TEST_POSTGRESQL names a database to be emptied, also one in there."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from tesgw.store import TaskStore

POSTGRESQL = os.environ.get("TESGW_TEST_POSTGRESQL", "")


@pytest.fixture(params=["sqlite://", *([POSTGRESQL] if POSTGRESQL else [])], ids=lambda uri: uri.partition(":")[0])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[TaskStore]:
    """An empty store."""
    uri: str = request.param
    if uri == POSTGRESQL:
        await _empty(uri)
    store = await TaskStore.open(uri)
    yield store
    await store.close()


async def _empty(uri: str) -> None:
    engine = create_async_engine(sa.make_url(uri).set(drivername="postgresql+asyncpg"))
    async with engine.begin() as connection:
        await connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        await connection.execute(sa.text("CREATE SCHEMA public"))
    await engine.dispose()
