"""Gets that come together: what they share, and what they must not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import orjson
import pytest
import sqlalchemy as sa

from tesgw.errors import TaskNotFound
from tesgw.model import Dialect, View
from tesgw.states import State
from tesgw.store import TaskStore, queries
from tesgw.store.database import Connection, Database, Statement, Values
from tesgw.store.gatherer import GROUP
from tesgw.store.sqlite import _compiled
from tesgw.store.uri import open_database
from tests.store.making import get, new


class Busy:
    """A database whose reads wait until they may go on, and fail if they are told to."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.is_asked = asyncio.Event()
        self.may_go_on = asyncio.Event()
        self.fetched: list[set[str]] = []
        self.failure: Exception | None = None

    async def fetch(self, statement: Statement, values: Values) -> Sequence[Any]:
        self.is_asked.set()
        self.fetched.append(set(orjson.loads(values["ids"])))
        failure, self.failure = self.failure, None
        rows = await self._database.fetch(statement, values)  # as old as the call, however late it returns
        await self.may_go_on.wait()
        if failure is not None:
            raise failure
        return rows

    async def fetch_list(self, statement: Statement, values: Values) -> Sequence[Any]:
        return await self._database.fetch_list(statement, values)

    def transaction(self) -> AbstractAsyncContextManager[Connection]:
        return self._database.transaction()

    async def close(self) -> None:
        await self._database.close()


@pytest.fixture
async def database() -> Busy:
    return Busy(await open_database("sqlite://"))


@pytest.fixture
async def busy(database: Busy) -> AsyncIterator[TaskStore]:
    """A store of the tasks a, b and c, with a get of `a` under way."""
    store = TaskStore(database)
    for task_id in "abc":
        await store.add(new(task_id))
    first = await _started(get(store, "a", View.MINIMAL))
    await database.is_asked.wait()
    yield store
    database.may_go_on.set()
    await asyncio.gather(first, return_exceptions=True)
    await store.close()


async def _started(call: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    task = asyncio.create_task(call)
    await asyncio.sleep(0)
    return task


async def test_gets_that_come_while_one_is_under_way_are_one_fetch(busy: TaskStore, database: Busy) -> None:
    asking = [await _started(get(busy, task_id, View.MINIMAL)) for task_id in "abcb"]
    database.may_go_on.set()

    assert [answer["id"] for answer in await asyncio.gather(*asking)] == ["a", "b", "c", "b"]
    assert database.fetched == [{"a"}, {"a", "b", "c"}]


async def test_unknown_task_is_not_found_by_its_asker_alone(busy: TaskStore, database: Busy) -> None:
    asking = [await _started(get(busy, task_id, View.MINIMAL)) for task_id in ("b", "x", "c")]
    database.may_go_on.set()
    answers: list[Any] = await asyncio.gather(*asking, return_exceptions=True)
    b, x, c = answers

    assert (b["id"], c["id"]) == ("b", "c")
    assert isinstance(x, TaskNotFound)
    assert "'x'" in str(x)


async def test_failed_fetch_reaches_its_askers_and_no_others(busy: TaskStore, database: Busy) -> None:
    failing = [await _started(get(busy, task_id, View.MINIMAL)) for task_id in "bc"]
    database.failure = OSError("disk")
    database.may_go_on.set()

    assert [str(failure) for failure in await asyncio.gather(*failing, return_exceptions=True)] == ["disk", "disk"]
    assert (await get(busy, "b", View.MINIMAL))["id"] == "b"


async def test_asker_that_gives_up_disturbs_nobody(busy: TaskStore, database: Busy) -> None:
    impatient, patient = [await _started(get(busy, task_id, View.MINIMAL)) for task_id in "bc"]
    impatient.cancel()
    await asyncio.wait([impatient])
    database.may_go_on.set()

    assert (await patient)["id"] == "c"
    assert impatient.cancelled()


async def test_get_after_a_write_sees_it_though_an_older_one_is_under_way(busy: TaskStore, database: Busy) -> None:
    await busy.cancel("a")
    asking = await _started(get(busy, "a", View.MINIMAL))
    database.may_go_on.set()

    assert (await asking)["state"] == State.CANCELING


async def test_one_fetch_is_for_so_many_tasks_only(busy: TaskStore, database: Busy) -> None:
    names = [f"t{n}" for n in range(GROUP + 1)]
    await asyncio.gather(*(busy.add(new(name)) for name in names))
    asking = [await _started(get(busy, name, View.MINIMAL)) for name in names]
    database.may_go_on.set()

    assert [answer["id"] for answer in await asyncio.gather(*asking)] == names
    assert [len(fetched) for fetched in database.fetched] == [1, GROUP, 1]


@pytest.mark.parametrize("view", View)
async def test_tasks_are_looked_up_and_not_searched_for(database: Busy, view: View) -> None:
    sql, values = _compiled(queries.several(view, Dialect.TES_1_1))
    plan = sa.text(f"EXPLAIN QUERY PLAN {sql}").bindparams(**{**values, "ids": "[]"})
    async with database.transaction() as connection:
        steps = [step for *_, step in await connection.fetch(plan, {})]  # type: ignore[arg-type]  # no select
    await database.close()

    assert any(step.startswith("SEARCH tasks USING INDEX") for step in steps), steps
