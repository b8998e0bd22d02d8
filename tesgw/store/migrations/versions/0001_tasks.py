"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables."""
    _make_tasks()
    _make_texts("basics")
    _make_texts("fulls")
    key, value = sa.Column("key", sa.Text, primary_key=True), sa.Column("value", sa.Text, primary_key=True)
    op.create_table("tags", key, value, _seq(), sqlite_with_rowid=False)
    op.create_index("tags_key", "tags", ["key", "seq"])


def _make_tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("seq", SEQ, primary_key=True, autoincrement=False),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("backend", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("handle", sa.Text),
        sa.Column("due", sa.Double),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("missing_outputs", sa.Text, nullable=False),
        sa.Column("warnings", sa.Text, nullable=False),
    )
    op.create_index("tasks_state", "tasks", ["state", "seq"])
    op.create_index("tasks_name", "tasks", ["name", "seq"])
    is_due, has_handle = sa.text("due IS NOT NULL"), sa.text("handle IS NOT NULL")
    op.create_index("tasks_due", "tasks", ["due", "seq"], sqlite_where=is_due, postgresql_where=is_due)
    op.create_index("tasks_handle", "tasks", ["backend", "seq"], sqlite_where=has_handle, postgresql_where=has_handle)


def _make_texts(name: str) -> None:
    op.create_table(
        name,
        _seq(),
        sa.Column("body_end", sa.Integer, nullable=False),
        sa.Column("tail_start", sa.Integer, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
    )


def _seq() -> sa.Column[int]:
    return sa.Column("seq", SEQ, sa.ForeignKey("tasks.seq", ondelete="CASCADE"), primary_key=True, autoincrement=False)
