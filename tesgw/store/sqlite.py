"""SQLite, by one call of its driver for each statement.

With SQLite the time goes into switching threads, of which SQLAlchemy makes five for a read and eight for a small
transaction; so its statements are compiled to text once and handed to the driver's one-call methods.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import lru_cache
from typing import Any

import aiosqlite
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tesgw.store.database import Connection, Statement, Values, upgrade

BUSY_SECONDS = 10.0
# Most tasks fill two pages of the default size, one of which is read by itself: a list of them takes twice as long.
# The size of a page is set before anything is in the file, and has no effect later.
PRAGMAS = ("page_size=16384", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")
# What is read is seven tenths of the work of a list; from a mapping it takes no call and no copy. SQLite maps 2 GB at most.
READING = (*PRAGMAS, f"mmap_size={2**31}")


class Sqlite:
    """Implements `Database`: three connections, held from `open` to `close`.

    One writes, one reads lists and one all else, so that nobody waits for a long list who does not ask for one. More would
    take the interpreter lock from each other: two that read lists answer a tenth fewer than one.
    """

    def __init__(self, writer: aiosqlite.Connection, readers: Sequence[aiosqlite.Connection], held: AsyncExitStack) -> None:
        self._driver = writer
        self._writer = _Connection(writer)
        self._reader, self._lister = map(_Connection, readers)
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
            writer = await _hold(held, engine, PRAGMAS)
            await upgrade(engine)
            readers = [await _hold(held, engine, READING) for _ in range(2)]
            # Writes nothing new: a file that cannot be written is noticed now, not at the first task.
            await writer.execute("PRAGMA user_version=0")
            return cls(writer, readers, held.pop_all())

    async def fetch(self, statement: Statement, values: Values) -> Sequence[Any]:
        return await self._reader.fetch(statement, values)

    async def fetch_list(self, statement: Statement, values: Values) -> Sequence[Any]:
        return await self._lister.fetch(statement, values)

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

    async def fetch(self, statement: Statement, values: Values) -> Sequence[Any]:
        sql, constants = _compiled(statement)
        return await self._driver.execute_fetchall(sql, {**constants, **values})  # type: ignore[return-value]  # it is a list

    async def execute_many(self, statement: Statement, rows: Sequence[Values]) -> None:
        sql, constants = _compiled(statement)
        await self._driver.executemany(sql, [{**constants, **row} for row in rows])


async def _hold(held: AsyncExitStack, engine: AsyncEngine, pragmas: Sequence[str]) -> aiosqlite.Connection:
    connection = await held.enter_async_context(engine.connect())
    driver = (await connection.get_raw_connection()).driver_connection
    assert isinstance(driver, aiosqlite.Connection)
    for pragma in pragmas:
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
