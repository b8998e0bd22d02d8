"""Any database that SQLAlchemy speaks to, through its own pool."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from tesgw.store.database import Connection, Statement, Values, upgrade


class Pooled:
    """Implements `Database`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @classmethod
    async def open(cls, url: sa.URL) -> Pooled:
        engine = create_async_engine(url, pool_pre_ping=True)
        try:
            await upgrade(engine)
        except BaseException:
            await engine.dispose()
            raise
        return cls(engine)

    async def fetch(self, statement: Statement, values: Values) -> Sequence[Any]:
        async with self._engine.connect() as connection:
            return await _Connection(connection).fetch(statement, values)

    fetch_list = fetch

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        async with self._engine.begin() as connection:
            yield _Connection(connection)

    async def close(self) -> None:
        await self._engine.dispose()


class _Connection:
    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def fetch(self, statement: Statement, values: Values) -> Sequence[Any]:
        return (await self._connection.execute(statement, dict(values))).all()

    async def execute_many(self, statement: Statement, rows: Sequence[Values]) -> None:
        await self._connection.execute(statement, [dict(row) for row in rows])
