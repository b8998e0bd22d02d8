"""How writes are grouped, and what becomes of those that fail."""

from __future__ import annotations

import asyncio
import datetime as dt
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from tesgw.errors import StoreUnavailable, TesgwError
from tesgw.states import State
from tesgw.store import TaskStore
from tests.store.making import complete, get, listed, new


async def test_what_is_written_together_is_all_there(store: TaskStore) -> None:
    names = [f"t{n}" for n in range(500)]
    await asyncio.gather(*(store.add(new(name, tags={"k": name})) for name in names))

    assert await listed(store, page_size=2047) == names[::-1]
    assert await listed(store, tags=(("k", "t77"),)) == ["t77"]


async def test_bad_write_of_a_group_fails_alone(store: TaskStore) -> None:
    await store.add(new("taken"))
    names = ["a", "taken", "b", "c"]
    results = await asyncio.gather(*(store.add(new(name)) for name in names), return_exceptions=True)

    assert [isinstance(result, Exception) for result in results] == [False, True, False, False]
    assert await listed(store) == ["c", "b", "a", "taken"]


async def test_writes_of_a_group_happen_in_their_order(store: TaskStore) -> None:
    adding = store.add(new("a"))
    _, state, took = await asyncio.gather(adding, store.cancel("a"), store.record([complete("a-1")]))

    assert (state, took) == (State.CANCELING, [False])


async def test_caller_that_gave_up_harms_nobody(store: TaskStore) -> None:
    impatient = asyncio.create_task(store.add(new("a")))
    other = asyncio.create_task(store.add(new("b")))
    await asyncio.sleep(0)
    impatient.cancel()
    await other

    assert "b" in await listed(store)


async def test_close_finishes_what_is_queued_and_refuses_the_rest(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/tasks.db"
    store = await TaskStore.open(uri)
    adding = [asyncio.create_task(store.add(new(f"t{n}"))) for n in range(3)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*adding)

    with pytest.raises(TesgwError, match="closed"):
        await store.add(new("late"))
    again = await TaskStore.open(uri)
    assert await listed(again) == ["t2", "t1", "t0"]
    await again.close()


async def test_locked_database_fails_the_write_and_not_the_store(tmp_path: Path) -> None:
    store = await TaskStore.open(f"sqlite:///{tmp_path}/tasks.db?timeout=0.05")
    with sqlite3.connect(tmp_path / "tasks.db") as other:
        other.execute("BEGIN IMMEDIATE")
        adding = [store.add(new(name)) for name in "ab"]
        results = await asyncio.gather(*adding, return_exceptions=True)
    other.close()
    await store.add(new("c"))

    assert all(isinstance(result, StoreUnavailable) for result in results)
    assert results[0] is results[1], "they waited for the lock together, not one after the other"
    assert await listed(store) == ["c"]
    await store.close()


async def test_writes_survive_a_failed_transaction_half_way(store: TaskStore) -> None:
    # The rows of the second task conflict after those of the first are in: none of a failed write may stay.
    await store.add(new("a", tags={"k": "v"}))
    with pytest.raises((sqlite3.IntegrityError, sa.exc.IntegrityError)):
        await store.add(new("a", tags={"other": "v"}))

    assert await listed(store, tags=(("other", ""),)) == []
    assert (await get(store, "a"))["tags"] == {"k": "v"}


async def test_time_of_an_end_is_now(store: TaskStore) -> None:
    await store.add(new("a"))
    before = dt.datetime.now(dt.UTC).replace(microsecond=0)
    await store.end("a-1", State.SYSTEM_ERROR, "x")

    [entry] = (await get(store, "a"))["logs"]
    assert before <= dt.datetime.fromisoformat(entry["end_time"]) <= dt.datetime.now(dt.UTC)
