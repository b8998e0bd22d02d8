"""From a database URI to an open database."""

from __future__ import annotations

import aiosqlite
import sqlalchemy as sa
from alembic.util import CommandError

from tesgw.errors import SettingsError
from tesgw.store.database import Database
from tesgw.store.pooled import Pooled
from tesgw.store.sqlite import Sqlite

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}


async def open_database(uri: str) -> Database:
    """Connect and bring the schema up to date. Raises `SettingsError` where that cannot be done.

    A SQLite database without a name lives in a temporary file and is gone after `close`.
    """
    url = _url(uri)
    try:
        if url.get_backend_name() == "sqlite":
            return await Sqlite.open(url)
        return await Pooled.open(url)
    except (sa.exc.SQLAlchemyError, aiosqlite.Error, CommandError, OSError, ImportError) as error:
        reason = getattr(error, "orig", None) or error
        text = f"SQLALCHEMY_DATABASE_URI: the database {url.render_as_string()} cannot be opened: {reason}."
        raise SettingsError(text) from error


def _url(uri: str) -> sa.URL:
    try:
        url = sa.make_url(uri)
    except sa.exc.ArgumentError:
        # Not chained, and not quoted: the text may hold a password.
        raise SettingsError("SQLALCHEMY_DATABASE_URI is no database URI, like sqlite:///path/to/file.db.") from None
    if url.get_backend_name() not in DRIVERS:
        raise SettingsError(f"SQLALCHEMY_DATABASE_URI: {url.drivername!r} is not supported; use sqlite or postgresql.")
    return url.set(drivername=DRIVERS.get(url.drivername, url.drivername))
