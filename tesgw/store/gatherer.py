"""One fetch for many askers: who asks for a task's row while others are being fetched is answered by the next fetch.

To read a row costs the database little; to wake its thread, and then the event loop, costs more than all the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from tesgw.errors import TaskNotFound
from tesgw.store.database import Database

Row = Sequence[Any]

GROUP = 200


@dataclass(frozen=True, slots=True)
class _Batch:
    ids: set[str]
    """Still growing while the batch is `Gatherer._next`."""
    rows: asyncio.Task[dict[str, Row]]


class Gatherer:
    """Fetches one batch at a time, by a statement for the rows of the tasks in the JSON array `:ids`, each id first."""

    def __init__(self, database: Database, statement: sa.Select[Any]) -> None:
        self._database = database
        self._statement = statement
        self._turn = asyncio.Lock()
        self._next: _Batch | None = None

    async def get(self, task_id: str) -> Row:
        """The row, fetched after this call. Raises `TaskNotFound`, or what made the fetch fail."""
        batch = self._next
        if batch is None or len(batch.ids) == GROUP:
            ids: set[str] = set()
            batch = self._next = _Batch(ids, asyncio.create_task(self._fetch(ids), name="tesgw gatherer"))
        batch.ids.add(task_id)
        # Shielded: an asker that gives up takes nothing from the others.
        rows = await asyncio.shield(batch.rows)
        if task_id not in rows:
            raise TaskNotFound(task_id)
        return rows[task_id]

    async def _fetch(self, ids: set[str]) -> dict[str, Row]:
        async with self._turn:
            if self._next is not None and self._next.ids is ids:
                self._next = None
            rows = await self._database.fetch(self._statement, {"ids": orjson.dumps(list(ids)).decode()})
            return {row[0]: row for row in rows}
