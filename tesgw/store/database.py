"""What the store needs of a database, and the upgrade of its schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.ext.asyncio import AsyncEngine

Statement = sa.Select[Any] | sa.CompoundSelect[Any] | sa.Insert | sa.Update
Values = Mapping[str, Any]


class Connection(Protocol):
    """What runs statements, inside one transaction if it was given by `Database.transaction`."""

    async def fetch(self, statement: Statement, values: Values) -> Sequence[Any]:
        """The rows, as tuples."""

    async def execute_many(self, statement: Statement, rows: Sequence[Values]) -> None:
        """Run the statement once for each of `rows`."""


class Database(Protocol):
    """Reads from any number of callers at once, and transactions one at a time."""

    async def fetch(self, statement: Statement, values: Values) -> Sequence[Any]:
        """The rows of a read outside any transaction."""

    async def fetch_list(self, statement: Statement, values: Values) -> Sequence[Any]:
        """The same for a read that may take long."""

    def transaction(self) -> AbstractAsyncContextManager[Connection]:
        """Commits at the end of the block, durably; rolls back if it raises."""

    async def close(self) -> None:
        """Give everything back."""


async def upgrade(engine: AsyncEngine) -> None:
    """Run the migrations that this database has not seen, all or none of them where the database can."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))

    def run(connection: sa.Connection) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    async with engine.begin() as connection:
        await connection.run_sync(run)
