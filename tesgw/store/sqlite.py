"""SQLite, by one call of its driver for each statement.

With SQLite the time goes into switching threads, of which SQLAlchemy makes five for a read and eight for a small
transaction; so its statements are compiled to text once and handed to the driver's one-call methods.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import lru_cache
from operator import attrgetter
from typing import Any

import aiosqlite
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tesgw.store.database import Connection, Statement, Values, upgrade

READERS = 2  # gets that come together are one call, so more would only take the interpreter lock from each other
BUSY_SECONDS = 10.0
# Most tasks fill two pages of the default size, one of which is read by itself: a list of them takes twice as long.
# The size of a page is set before anything is in the file, and has no effect later.
PRAGMAS = ("page_size=16384", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")


class Sqlite:
    """Implements `Database`: one connection that writes and a few that read, held from `open` to `close`."""

    def __init__(self, writer: aiosqlite.Connection, readers: Sequence[aiosqlite.Connection], held: AsyncExitStack) -> None:
        self._driver = writer
        self._writer = _Connection(writer)
        self._readers = [_Connection(reader) for reader in readers]
        self._held = held

    @classmethod
    async def open(cls, url: sa.URL) -> Sqlite:
        async with AsyncExitStack() as held:
            if url.database in (None, "", ":memory:"):
                # Connections share no database in memory without also sharing locks and uncommitted rows.
                directory = held.enter_context(tempfile.TemporaryDirectory(prefix="tesgw-"))
                url = url.set(database=f"{directory}/tesgw.db")
            engine = _engine_of(url)
            held.push_async_callback(engine.dispose)
            writer = await _hold(held, engine)
            await upgrade(engine)
            readers = [await _hold(held, engine) for _ in range(READERS)]
            # Writes nothing new: a file that cannot be written is noticed now, not at the first task.
            await writer.execute("PRAGMA user_version=0")
            return cls(writer, readers, held.pop_all())

    async def fetch(self, statement: Statement, values: Values) -> Sequence[Any]:
        reader = min(self._readers, key=attrgetter("pending"))
        return await reader.fetch(statement, values)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        await self._driver.execute("BEGIN IMMEDIATE")
        try:
            yield self._writer
            await self._driver.commit()
        except BaseException:
            await self._driver.rollback()
            raise

    async def close(self) -> None:
        await self._held.aclose()


class _Connection:
    def __init__(self, driver: aiosqlite.Connection) -> None:
        self._driver = driver
        self.pending = 0

    async def fetch(self, statement: Statement, values: Values) -> Sequence[Any]:
        sql, constants = _compiled(statement)
        self.pending += 1
        try:
            return await self._driver.execute_fetchall(sql, {**constants, **values})  # type: ignore[return-value]  # it is a list
        finally:
            self.pending -= 1

    async def execute_many(self, statement: Statement, rows: Sequence[Values]) -> None:
        sql, constants = _compiled(statement)
        await self._driver.executemany(sql, [{**constants, **row} for row in rows])


async def _hold(held: AsyncExitStack, engine: AsyncEngine) -> aiosqlite.Connection:
    connection = await held.enter_async_context(engine.connect())
    driver = (await connection.get_raw_connection()).driver_connection
    assert isinstance(driver, aiosqlite.Connection)
    for pragma in PRAGMAS:
        await driver.execute(f"PRAGMA {pragma}")
    return driver


def _engine_of(url: sa.URL) -> AsyncEngine:
    # Without an isolation level the driver begins nothing by itself: all transactions are ours, also around migrations.
    arguments = {"isolation_level": None} | ({} if "timeout" in url.query else {"timeout": BUSY_SECONDS})
    engine = create_async_engine(url, connect_args=arguments)

    @sa.event.listens_for(engine.sync_engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


@lru_cache(maxsize=1000)
def _compiled(statement: Statement) -> tuple[str, Values]:
    compiled = statement.compile(dialect=sqlite.dialect(paramstyle="named"))
    return str(compiled), compiled.params
