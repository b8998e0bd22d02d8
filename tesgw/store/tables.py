"""The tables as the code sees them; `migrations` makes them.

`tasks` is narrow: it alone answers MINIMAL views, filters and the scheduler. What BASIC and FULL show lies apart, each as
JSON from behind the state to the end, so that no view loads what it does not show and none is assembled to be read.
Every task has one row in each but `tags`.
"""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

_Seq = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# Prefix filters are ranges over code points, which is what SQLite compares by; PostgreSQL does so with this collation.
_Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _seq() -> sa.Column[int]:
    return sa.Column("seq", _Seq, sa.ForeignKey("tasks.seq", ondelete="CASCADE"), primary_key=True, autoincrement=False)


tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("seq", _Seq, primary_key=True, autoincrement=False),  # the order of creation
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("name", _Name, nullable=False),
    sa.Column("backend", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("handle", sa.Text),  # the backend's token; NULL until this attempt is known to be submitted
    sa.Column("due", sa.Double),  # when the scheduler has something to do, in epoch seconds; NULL: nothing
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("missing_outputs", sa.Text, nullable=False),
    sa.Column("warnings", sa.Text, nullable=False),  # a JSON array: the system logs known at creation
)
sa.Index("tasks_state", tasks.c.state, tasks.c.seq)
sa.Index("tasks_name", tasks.c.name, tasks.c.seq)
_is_due = tasks.c.due.is_not(None)
sa.Index("tasks_due", tasks.c.due, tasks.c.seq, sqlite_where=_is_due, postgresql_where=_is_due)
_has_handle = tasks.c.handle.is_not(None)
sa.Index("tasks_handle", tasks.c.backend, tasks.c.seq, sqlite_where=_has_handle, postgresql_where=_has_handle)


def _text_table(name: str) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        _seq(),
        sa.Column("body_end", sa.Integer, nullable=False),  # in characters: where the document ends and logs would begin
        sa.Column("tail_start", sa.Integer, nullable=False),  # in characters: where what earlier attempts left ends
        sa.Column("text", sa.Text, nullable=False),
    )


basics = _text_table("basics")
fulls = _text_table("fulls")

tags = sa.Table(
    "tags",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, primary_key=True),
    _seq(),
    sqlite_with_rowid=False,
)
sa.Index("tags_key", tags.c.key, tags.c.seq)
