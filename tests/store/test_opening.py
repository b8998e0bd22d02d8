"""Opening a database: what works, what is refused with a sentence, and what is there the next time."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from tesgw.errors import SettingsError
from tesgw.model import Handle
from tesgw.states import State
from tesgw.store import TaskStore
from tesgw.store.tables import metadata
from tests.store.making import get, listed, new, seen


async def reopened(store: TaskStore, uri: str) -> TaskStore:
    await store.close()
    return await TaskStore.open(uri)


async def test_reopened_file_holds_what_was_stored(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/ta%20sks.db"
    store = await TaskStore.open(uri)
    await store.add(new("a", name="n"))
    await store.submitted(Handle("a-1", "t"))
    await store.record([seen("a-1", State.RUNNING)])
    before = await get(store, "a")
    store = await reopened(store, uri)

    assert await get(store, "a") == before
    assert await store.due_one("a") is None
    await store.add(new("b"))
    assert await listed(store) == ["b", "a"]
    await store.close()


async def test_database_without_a_name_is_gone_after_it_is_closed() -> None:
    store = await TaskStore.open("sqlite+aiosqlite://")
    await store.add(new("a"))
    store = await reopened(store, "sqlite+aiosqlite://")

    assert await listed(store) == []
    await store.close()


async def test_migrations_make_the_tables_that_the_code_knows(tmp_path: Path) -> None:
    await (await TaskStore.open(f"sqlite:///{tmp_path}/tasks.db")).close()
    engine = sa.create_engine(f"sqlite:///{tmp_path}/tasks.db")
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
        tags = connection.scalar(sa.text("SELECT sql FROM sqlite_master WHERE name = 'tags'"))
    engine.dispose()

    assert differences == []
    assert "WITHOUT ROWID" in str(tags)


async def test_commits_are_durable(tmp_path: Path) -> None:
    store = await TaskStore.open(f"sqlite:///{tmp_path}/tasks.db")
    async with store._database.transaction() as writer:
        pragmas = [sa.func.pragma_journal_mode(), sa.func.pragma_synchronous(), sa.func.pragma_foreign_keys()]
        settings = [await writer.fetch(sa.select(sa.literal_column("*")).select_from(pragma), {}) for pragma in pragmas]
    await store.close()

    # 2 is FULL, which survives a loss of power: https://sqlite.org/pragma.html#pragma_synchronous
    assert settings == [[("wal",)], [(2,)], [(1,)]]


async def _ended_driver_threads() -> None:
    """Wait for them while their loop still runs: aiosqlite 0.22 does not, where it could not connect."""
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:
            await asyncio.to_thread(thread.join, 5)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("sqlite:////no/such/directory/tasks.db", "unable to open"),
        ("no uri", "no database URI"),
        ("mysql://u:secret@h/d", "'mysql' is not supported"),
        ("sqlite+nosuch:///x", "nosuch"),
        ("postgresql://u:secret@127.0.0.1:1/d", "cannot be opened"),
    ],
)
async def test_database_that_cannot_be_had_is_explained_without_its_password(uri: str, reason: str) -> None:
    with pytest.raises(SettingsError, match="SQLALCHEMY_DATABASE_URI") as refusal:
        await TaskStore.open(uri)
    await _ended_driver_threads()

    assert reason in str(refusal.value)
    assert "secret" not in str(refusal.value)


async def test_locked_file_is_explained(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "tasks.db") as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SettingsError, match="locked"):
            await TaskStore.open(f"sqlite:///{tmp_path}/tasks.db?timeout=0.05")
    other.close()


async def test_read_only_file_is_explained(tmp_path: Path) -> None:
    await (await TaskStore.open(f"sqlite:///{tmp_path}/tasks.db")).close()

    with pytest.raises(SettingsError, match="readonly"):
        await TaskStore.open(f"sqlite:///file:{tmp_path}/tasks.db?mode=ro&uri=true")


async def test_file_that_is_no_database_is_explained(tmp_path: Path) -> None:
    (tmp_path / "tasks.db").write_text("no database " * 100)

    with pytest.raises(SettingsError, match="not a database"):
        await TaskStore.open(f"sqlite:///{tmp_path}/tasks.db")


async def test_database_of_a_newer_gateway_is_explained(tmp_path: Path) -> None:
    await (await TaskStore.open(f"sqlite:///{tmp_path}/tasks.db")).close()
    with sqlite3.connect(tmp_path / "tasks.db") as file:
        file.execute("UPDATE alembic_version SET version_num = '9999'")
    file.close()

    with pytest.raises(SettingsError, match="9999"):
        await TaskStore.open(f"sqlite:///{tmp_path}/tasks.db")


async def test_upgrade_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "tasks.db") as file:
        file.execute("CREATE TABLE tags (x)")  # in the way of the migration's fourth table
    file.close()
    with pytest.raises(SettingsError, match="tags"):
        await TaskStore.open(f"sqlite:///{tmp_path}/tasks.db")
    with sqlite3.connect(tmp_path / "tasks.db") as file:
        tables = file.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    file.close()

    assert tables == [("tags",)]
