"""The one writer: what is queued together is committed together, and nobody is answered before the commit.

A commit has to reach the disk, which costs the same for one change as for two hundred.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Any, TypeVar

import sqlalchemy as sa

from tesgw.errors import StoreUnavailable, TesgwError
from tesgw.store.database import Connection, Database

A = TypeVar("A")
R = TypeVar("R")
Operation = Callable[[Connection, Sequence[A]], Awaitable[Sequence[R]]]
"""Changes the database for each argument, in order, and returns a result for each."""

GROUP = 200
_OPERATIONAL = (sqlite3.OperationalError, sa.exc.OperationalError)


@dataclass(frozen=True, slots=True)
class _Write:
    operation: Operation[Any, Any]
    argument: Any
    result: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Writer:
    """Runs operations in the order they came, in as few transactions as it can."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[_Write] = deque()
        self._news = asyncio.Event()
        self._is_closing = False
        self._task = asyncio.create_task(self._run(), name="tesgw writer")

    async def write(self, operation: Operation[A, R], argument: A) -> R:
        """Run `operation` and return its result for `argument` after the commit; raises what made it fail."""
        if self._is_closing or self._task.done():
            raise TesgwError("The store is closed: nothing can be written any more.")
        write = _Write(operation, argument)
        self._waiting.append(write)
        self._news.set()
        result: R = await write.result
        return result

    async def close(self) -> None:
        """Commit what is queued and stop."""
        self._is_closing = True
        self._news.set()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while self._waiting or not self._is_closing:
                await self._news.wait()
                self._news.clear()
                while self._waiting:
                    await self._commit([self._waiting.popleft() for _ in range(min(len(self._waiting), GROUP))])
        finally:
            _fail(self._waiting, TesgwError("The store stopped before this was written."))

    async def _commit(self, group: Sequence[_Write]) -> None:
        try:
            async with self._database.transaction() as connection:
                results = await _apply(connection, group)
        except Exception as error:
            if len(group) == 1 or isinstance(error, _OPERATIONAL):
                _fail(group, _unavailable(error))
                return
            for write in group:
                await self._commit([write])
            return
        except BaseException:
            _fail(group, TesgwError("The store stopped while it was writing."))
            raise
        for write, result in zip(group, results, strict=True):
            if not write.result.done():
                write.result.set_result(result)


async def _apply(connection: Connection, group: Sequence[_Write]) -> list[Any]:
    results: list[Any] = []
    for operation, writes in groupby(group, key=attrgetter("operation")):
        results += await operation(connection, [write.argument for write in writes])
    return results


def _unavailable(error: Exception) -> Exception:
    """An error of this kind is a full disk or a lock: no single write is to blame, and it may pass."""
    if not isinstance(error, _OPERATIONAL):
        return error
    cause = getattr(error, "orig", None) or error  # SQLAlchemy's own text holds the statement and its values
    unavailable = StoreUnavailable(f"The database cannot be written: {cause}. Nothing was changed; try again later.")
    unavailable.__cause__ = error
    return unavailable


def _fail(group: Iterable[_Write], error: Exception) -> None:
    for write in group:
        if not write.result.done():
            write.result.set_exception(error)
